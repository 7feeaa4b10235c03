"""Token healing: which tokens may come next when they must spell a given text.

The end of what a person has typed rarely falls on a token boundary ("retu"). The prompt then ends before the unfinished
word, and the first tokens of the answer are limited to those that agree with the text still owed. Prefix search in the
sorted vocabulary makes this cheap for vocabularies of any size.
"""

from bisect import bisect_left

import numpy as np

__all__ = ["SpelledVocabulary"]


class SpelledVocabulary:
    """The bytes of every token, arranged for prefix search."""

    def __init__(self, byte_table: tuple[bytes, ...]) -> None:
        self._byte_table = byte_table
        ordered = sorted((spelled, token) for token, spelled in enumerate(byte_table) if spelled)
        self._spellings = [spelled for spelled, _ in ordered]
        self._tokens = np.array([token for _, token in ordered], dtype=np.int32)

    def spelled(self, token: int) -> bytes:
        """The bytes of one token."""
        return self._byte_table[token] if token < len(self._byte_table) else b""

    def spelling(self, owed: bytes) -> np.ndarray:
        """The tokens that spell the beginning of ``owed``, all of it, or all of it and more."""
        # Nothing stands between a spelling and the same with a zero byte behind it.
        ranges = [self._range(owed[:end], owed[:end] + b"\0") for end in range(1, len(owed))]
        return np.concatenate([*ranges, self._range(owed, _after(owed))])

    def _range(self, first: bytes, beyond: bytes | None) -> np.ndarray:
        """The tokens whose spelling is at least ``first`` and less than ``beyond``."""
        start = bisect_left(self._spellings, first)
        end = len(self._spellings) if beyond is None else bisect_left(self._spellings, beyond, start)
        return self._tokens[start:end]


def _after(prefix: bytes) -> bytes | None:
    """The least spelling that is greater than everything that starts with ``prefix``; None if there is none."""
    kept = prefix.rstrip(b"\xff")
    return kept[:-1] + bytes([kept[-1] + 1]) if kept else None
