"""Token healing: which tokens may come next when they must spell a given text.

The end of what a person has typed rarely falls on a token boundary ("retu"). The prompt then ends before the unfinished
word, and the first tokens of the answer are limited to those that agree with the text still owed. Prefix search in the
sorted vocabulary makes this cheap for vocabularies of any size.
"""

from bisect import bisect_left

__all__ = ["SpelledVocabulary"]


class SpelledVocabulary:
    """The bytes of every token, arranged for prefix search."""

    def __init__(self, byte_table: tuple[bytes, ...]) -> None:
        self._byte_table = byte_table
        self._sorted = sorted((spelled, token) for token, spelled in enumerate(byte_table) if spelled)
        self._by_bytes: dict[bytes, list[int]] = {}
        for spelled, token in self._sorted:
            self._by_bytes.setdefault(spelled, []).append(token)

    def spelled(self, token: int) -> bytes:
        """The bytes of one token."""
        return self._byte_table[token] if token < len(self._byte_table) else b""

    def spelling(self, owed: bytes) -> list[int]:
        """The tokens that spell the beginning of ``owed``, all of it, or all of it and more."""
        tokens = [token for end in range(1, len(owed)) for token in self._by_bytes.get(owed[:end], ())]
        first = bisect_left(self._sorted, (owed, -1))
        for spelled, token in self._sorted[first:]:
            if not spelled.startswith(owed):
                break
            tokens.append(token)
        return tokens
