"""The only port through which files are read or changed on behalf of a model. A disk or an editor stands behind it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from harmony_ls.edits.changes import FileChange

__all__ = ["Applied", "Workspace", "WorkspaceFile"]


@dataclass(frozen=True, slots=True)
class WorkspaceFile:
    """A text file. ``path`` is how the workspace itself spells it: below its root, with ``/``."""

    path: str
    text: str


@dataclass(frozen=True, slots=True)
class Applied:
    """What was done to which files; paths as they were given, for a moved file where it is now.

    ``notes`` tell what a person should know of it beside that: what could not be kept of a file, for one.
    """

    created: tuple[str, ...] = ()
    modified: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class Workspace(Protocol):
    """The files that a model may see and change.

    A path is relative to a root, absolute, or a ``file:`` URI; every one of them passes the same gate, whatever is to
    be done. All methods raise WorkspaceError, whose text is fit for a person and for a model.
    """

    async def read(self, path: str) -> WorkspaceFile:
        """The text of a file, as a person sees it now."""

    async def list_files(self, n_most: int = 10_000) -> tuple[str, ...]:
        """The files that may be read, ordered by path, at most ``n_most``."""

    async def check(self, changes: Sequence[FileChange]) -> tuple[str, ...]:
        """Raise WorkspaceError if the changes could not be applied now. Nothing is changed.

        Returned are the files of which a person must be asked each time, whatever was allowed in advance.
        """

    async def apply(self, changes: Sequence[FileChange]) -> Applied:
        """Make all changes, or none. Each file must still have the ``old_text`` of its change.

        Cancelled when the changes can no longer be kept from being made, it says what was made instead of raising
        CancelledError, where that can be known in a moment: whoever cancelled it must not take them for not made.
        """

    async def undo(self) -> Applied:
        """Take the last applied changes back, or raise WorkspaceError where a file was changed since."""
