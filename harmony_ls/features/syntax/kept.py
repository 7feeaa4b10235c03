"""What an edit of code has to leave as it is. Those who declare it import nothing else."""

from enum import StrEnum

__all__ = ["Kept"]


class Kept(StrEnum):
    """``SIGNATURES``: what other code may use is still there, and is used in the same way.

    ``ALL_BUT_DOCUMENTATION`` and ``ALL_BUT_TYPES``: the program does what it did, to the letter.
    """

    SIGNATURES = "signatures"
    ALL_BUT_DOCUMENTATION = "all but documentation"
    ALL_BUT_TYPES = "all but types"
