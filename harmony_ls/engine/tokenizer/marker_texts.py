"""The texts that are control tokens of a vocabulary, and how they are found. It knows no tokens."""

import re
from collections.abc import Iterable

__all__ = ["MarkerTexts", "any_of"]


class MarkerTexts:
    """The texts that are control tokens of a vocabulary, prepared for finding them."""

    def __init__(self, literals: Iterable[str]) -> None:
        literals = list(literals)
        self.pattern = any_of(literals)
        self._heads = {literal[:n] for literal in literals for n in range(1, len(literal))}
        self._tails = {literal[n:] for literal in literals for n in range(1, len(literal))}
        self._longest = max(map(len, literals), default=0)
        self._joined = "\0".join(literals)

    def n_in(self, text: str) -> int:
        """How many markers ``text`` holds."""
        return sum(1 for _ in self.pattern.finditer(text))

    def may_join(self, text: str) -> bool:
        """Whether ``text``, trimmed, can be a part of a marker that its neighbours complete."""
        text = text.strip()
        lengths = range(1, min(len(text), self._longest) + 1)
        if any(text[-n:] in self._heads or text[:n] in self._tails for n in lengths):
            return True
        return 0 < len(text) < self._longest and text in self._joined


def any_of(literals: Iterable[str]) -> re.Pattern[str]:
    """A pattern that finds the longest of the literals that begin at one place."""
    longest_first = sorted(literals, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)) or "(?!)")
