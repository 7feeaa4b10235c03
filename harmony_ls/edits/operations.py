"""What a patch says, before it is fitted to any file: operations on files, and hunks of lines. Plain frozen values.

The Begin-Patch grammar and unified diffs both end here.
"""

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["AddFile", "DeleteFile", "Hunk", "HunkLine", "LineKind", "Operation", "Patch", "UpdateFile"]


class LineKind(StrEnum):
    """The first character of a line in a hunk."""

    CONTEXT = " "
    ADDED = "+"
    REMOVED = "-"


@dataclass(frozen=True, slots=True)
class HunkLine:
    """One line of a hunk, without its first character and without a line ending."""

    kind: LineKind
    text: str


@dataclass(frozen=True, slots=True)
class Hunk:
    """One place of a file that changes.

    ``anchors`` are the lines after ``@@``, outermost first; the place lies behind them. ``line_hint`` is the line
    (from 1) at which the old lines should start, as far as the patch knows; ``section`` is what a unified diff says
    after the second ``@@``: both only choose among places that match. ``at_end``: the old lines are the last of the
    file. ``ends_with_newline`` is what the patch says of the end of the new file; None keeps what there is.
    ``patch_line`` is where the hunk starts in the patch (from 1), for messages.
    """

    lines: tuple[HunkLine, ...]
    anchors: tuple[str, ...] = ()
    section: str = ""
    line_hint: int | None = None
    at_end: bool = False
    ends_with_newline: bool | None = None
    patch_line: int = 0

    @property
    def old_lines(self) -> tuple[str, ...]:
        """The lines that the file must have."""
        return tuple(line.text for line in self.lines if line.kind is not LineKind.ADDED)

    @property
    def new_lines(self) -> tuple[str, ...]:
        """The lines that the file shall have in their place."""
        return tuple(line.text for line in self.lines if line.kind is not LineKind.REMOVED)


@dataclass(frozen=True, slots=True)
class AddFile:
    """A new file with these lines."""

    path: str
    lines: tuple[str, ...]
    ends_with_newline: bool = True


@dataclass(frozen=True, slots=True)
class DeleteFile:
    """A file that goes. ``hunks`` are not empty in a unified diff, which repeats what it removes."""

    path: str
    hunks: tuple[Hunk, ...] = ()


@dataclass(frozen=True, slots=True)
class UpdateFile:
    """A file that changes, and is called ``move_to`` afterwards if that is given."""

    path: str
    hunks: tuple[Hunk, ...]
    move_to: str | None = None


Operation = AddFile | DeleteFile | UpdateFile


@dataclass(frozen=True, slots=True)
class Patch:
    """All operations of a patch, in its order.

    ``is_ended`` is false where the end marker is missing, or a hunk of a diff is shorter than it says. A tool call that
    ended properly may be like that; where nobody vouches that the text is whole, such a patch must not be applied.
    """

    operations: tuple[Operation, ...]
    is_ended: bool = True
