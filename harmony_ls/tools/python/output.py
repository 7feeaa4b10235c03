"""The output of a program as a model gets it: its beginning and its end, whatever its length, and nothing invisible.

Nothing is collected beyond what is kept.
"""

from harmony_ls.edits.diff import visible

__all__ = ["N_HEAD", "N_TAIL", "HeadAndTail"]

N_HEAD = 12_000
N_TAIL = 12_000
"""How many bytes of the beginning and of the end are kept. A model reads about 6,000 tokens then, and programs say
first what they do and last how it ended."""


class HeadAndTail:
    """Keeps the beginning and the end of bytes that come piece by piece."""

    def __init__(self, n_head: int = N_HEAD, n_tail: int = N_TAIL) -> None:
        self._n_head, self._n_tail = n_head, n_tail
        self._head, self._tail = bytearray(), bytearray()
        self._n_skipped = 0

    def feed(self, data: bytes) -> None:
        """Take the next piece."""
        n_missing = self._n_head - len(self._head)
        if n_missing > 0:
            self._head += data[:n_missing]
            data = data[n_missing:]
        if len(data) >= self._n_tail:
            self._n_skipped += len(self._tail) + len(data) - self._n_tail
            self._tail[:] = data[len(data) - self._n_tail :]
        elif data:
            self._tail += data
            n_cut = max(0, len(self._tail) - self._n_tail)
            self._n_skipped += n_cut
            del self._tail[:n_cut]

    def skip(self, n_bytes: int) -> None:
        """So many bytes at this point were left out by whoever sent the pieces."""
        self._n_skipped += len(self._tail) + max(0, n_bytes)
        self._tail.clear()

    def text(self) -> str:
        """What was kept. What is not text, and what a terminal would obey or hide, is spelled out."""
        if not self._n_skipped:
            return _readable(bytes(self._head + self._tail))
        note = f"\n… {self._n_skipped:,} bytes of output left out …\n"
        # A character that the cut goes through is left out with the rest.
        head = bytes(self._head).decode("utf-8", "ignore").encode() if _is_cut(self._head) else bytes(self._head)
        n_rest = next((index for index, byte in enumerate(self._tail[:4]) if byte & 0xC0 != 0x80), 0)
        return _readable(head) + note + _readable(bytes(self._tail[n_rest:]))


def _is_cut(data: bytearray) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError as error:
        return error.reason == "unexpected end of data"
    return False


def _readable(data: bytes) -> str:
    text = data.decode("utf-8", "backslashreplace").replace("\r\n", "\n").replace("\r", "\n")
    return visible(text)
