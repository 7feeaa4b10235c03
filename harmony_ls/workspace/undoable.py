"""Which change sets are kept to be taken back: not more than some, and than fit the memory that they may have."""

from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

from harmony_ls.edits.changes import FileChange

__all__ = ["Undoable", "last_of", "n_characters_of"]

_N_UNDOABLE = 20
_MOST_CHARACTERS = 128 * 1024 * 1024


class Undoable(Protocol):
    """A change set that can be taken back."""

    @property
    def n_characters(self) -> int:
        """How long the texts are that it takes."""


_Done = TypeVar("_Done", bound=Undoable)


def n_characters_of(changes: Iterable[FileChange]) -> int:
    """How long the texts of changes are together."""
    return sum(change.n_characters for change in changes)


def last_of(done: Sequence[_Done]) -> list[_Done]:
    """The change sets that can be taken back, the last one at the end, which always is among them."""
    n_kept, n_characters = 1, done[-1].n_characters
    while n_kept < min(len(done), _N_UNDOABLE):
        n_characters += done[-n_kept - 1].n_characters
        if n_characters > _MOST_CHARACTERS:
            break
        n_kept += 1
    return list(done[-n_kept:])
