"""What was typed before, kept in a private file for the arrow keys. It reads no key itself."""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import platformdirs

__all__ = ["InputHistory", "history_file"]

_MOST_ENTRIES = 1000
_LONGEST_ENTRY = 10_000


def history_file() -> Path:
    """Where the history is kept."""
    return platformdirs.user_state_path("harmony-ls", appauthor=False) / "chat_history.jsonl"


class InputHistory:
    """The last messages, oldest first, one JSON string per line of the file, which only its owner may read.

    ``fault`` says why the file could not be read or written; the history then lasts as long as the program.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.fault = ""
        self.entries: list[str] = []
        try:
            self.entries = _entries(path)
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            if len(self.entries) > _MOST_ENTRIES:
                self.entries = self.entries[-_MOST_ENTRIES:]
                self._rewrite()
        except OSError as error:
            self.fault = f"What you type is not remembered: {path}: {error.strerror or error}."

    def add(self, entry: str) -> bool:
        """Remember ``entry``; false where it is empty, too long to be of use, or what was said last anyway."""
        if not entry.strip() or len(entry) > _LONGEST_ENTRY or self.entries[-1:] == [entry]:
            return False
        self.entries.append(entry)
        if not self.fault:
            # A disk that has become full takes nothing but the history.
            with contextlib.suppress(OSError), _private(self._path, os.O_APPEND) as descriptor:
                os.write(descriptor, _line(entry))
        return True

    def _rewrite(self) -> None:
        shortened = self._path.with_suffix(f".{os.getpid()}")
        with _private(shortened, os.O_TRUNC) as descriptor:
            os.write(descriptor, b"".join(map(_line, self.entries)))
        os.replace(shortened, self._path)


def _entries(path: Path) -> list[str]:
    """The entries of the file; lines that are none (two programs wrote at once) are left out."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    entries = []
    for line in content.decode("utf-8", "replace").splitlines():
        with contextlib.suppress(ValueError):
            entry = json.loads(line)
            if isinstance(entry, str):
                entries.append(entry)
    return entries


def _line(entry: str) -> bytes:
    # In ASCII no line end can stand inside of an entry.
    return json.dumps(entry).encode("ascii") + b"\n"


@contextlib.contextmanager
def _private(path: Path, flags: int) -> Iterator[int]:
    """The file, open for writing, readable by its owner alone, also if it was there before."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | flags, 0o600)
    try:
        os.fchmod(descriptor, 0o600)
        yield descriptor
    finally:
        os.close(descriptor)
