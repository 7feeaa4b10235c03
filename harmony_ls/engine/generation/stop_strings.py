"""Stop strings: ends a text before the first of them, wherever the tokens or chunks it comes in are cut.

Pure text. Whoever generates decodes the tokens and ends the generation when told so; nothing here does either.
"""

from collections.abc import Iterable

__all__ = ["StopStrings"]


class StopStrings:
    """Finds stop strings in one text that comes in pieces.

    The first stop string to be complete ends the text, so how the text is cut into pieces makes no difference; of those
    that are complete at the same character it is the longest. Raises ValueError for an empty stop string.
    """

    def __init__(self, stops: Iterable[str]) -> None:
        self._stops = tuple(dict.fromkeys(stops))
        if "" in self._stops:
            raise ValueError("A stop string is empty; it would stop every text at once.")
        self._longest = max(map(len, self._stops), default=0)
        self._held = ""
        self._is_stopped = False

    @property
    def is_stopped(self) -> bool:
        """Whether a stop string was found."""
        return self._is_stopped

    def feed(self, text: str) -> tuple[str, bool]:
        """Take the next piece: the text that can be released now, and whether a stop string was found.

        What may be the beginning of a stop string is held back. A found one is not released, nor anything after it.
        """
        if self._is_stopped:
            return "", True
        text = self._held + text
        found = [(start + len(stop), start) for stop in self._stops if (start := text.find(stop)) >= 0]
        if found:
            self._is_stopped = True
            self._held = ""
            return text[: min(found)[1]], True
        n_released = len(text) - self._n_to_hold(text)
        self._held = text[n_released:]
        return text[:n_released], False

    def flush(self) -> str:
        """What is still held back, once the text has come to its end without a stop string."""
        held, self._held = self._held, ""
        return held

    def _n_to_hold(self, text: str) -> int:
        """The length of the longest end of ``text`` that begins a stop string."""
        for length in range(min(self._longest - 1, len(text)), 0, -1):
            if any(stop.startswith(text[-length:]) for stop in self._stops):
                return length
        return 0
