"""Changes of files, whole and minimal: what a workspace applies, an editor shows, and an undo turns round."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from harmony_ls.edits.text_file import Lines

__all__ = ["ChangeKind", "FileChange", "LineEdit", "TextChange", "apply_text_changes", "replace_lines"]


class ChangeKind(StrEnum):
    """What happens to a file."""

    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"
    RENAME = "rename"


@dataclass(frozen=True, slots=True)
class TextChange:
    """``text`` replaces the characters from ``start`` up to ``end`` of the old text. Both count code points."""

    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class FileChange:
    """One file before and after.

    ``path`` is spelled as in the patch; only a workspace knows which file that is. A file is created from, and deleted
    to, the empty text. ``changes`` lead from ``old_text`` to ``new_text``: ordered, without overlap, each as small as
    the patch made it. ``new_path`` is set for a rename alone, which may change the text too.
    """

    kind: ChangeKind
    path: str
    old_text: str = ""
    new_text: str = ""
    changes: tuple[TextChange, ...] = ()
    new_path: str | None = None

    @property
    def final_path(self) -> str:
        """Where the file is found afterwards."""
        return self.path if self.new_path is None else self.new_path

    @property
    def n_characters(self) -> int:
        """How long its texts are together: what it takes to keep it in memory."""
        return len(self.old_text) + len(self.new_text)

    def inverse(self) -> "FileChange":
        """The change that takes this one back."""
        changes = (TextChange(0, len(self.new_text), self.old_text),) if self.new_text != self.old_text else ()
        match self.kind:
            case ChangeKind.CREATE:
                return FileChange(ChangeKind.DELETE, self.path, self.new_text)
            case ChangeKind.DELETE:
                return FileChange(ChangeKind.CREATE, self.path, "", self.old_text, changes)
            case ChangeKind.UPDATE:
                return FileChange(ChangeKind.UPDATE, self.path, self.new_text, self.old_text, changes)
            case ChangeKind.RENAME:
                return FileChange(
                    ChangeKind.RENAME, self.final_path, self.new_text, self.old_text, changes, new_path=self.path
                )


@dataclass(frozen=True, slots=True)
class LineEdit:
    """``lines`` replace the lines from ``start`` up to ``end``, counted from 0."""

    start: int
    end: int
    lines: tuple[str, ...]


def apply_text_changes(text: str, changes: Sequence[TextChange]) -> str:
    """The text after changes that are ordered and do not overlap."""
    pieces: list[str] = []
    position = 0
    for change in changes:
        pieces += (text[position : change.start], change.text)
        position = change.end
    return "".join((*pieces, text[position:]))


def replace_lines(
    text: str, lines: Lines, edits: Sequence[LineEdit], ends_with_newline: bool | None = None
) -> tuple[str, tuple[TextChange, ...]]:
    """The text with some of its lines replaced, and the changes that lead there.

    ``lines`` are those of ``text``; the edits are ordered and do not overlap. Lines that are not replaced keep their
    bytes, new ones get the file's line ending, and the end of the file stays ended, or not, unless
    ``ends_with_newline`` says otherwise.
    """
    line_ending = lines.line_ending
    # As if the last line were ended: what becomes of the end of the text is settled below.
    virtual = text if lines.has_final_newline else text + line_ending
    ends = lines.ends if lines.has_final_newline else (*lines.ends[:-1], line_ending)
    changes: list[TextChange] = []
    line, offset = 0, 0
    for edit in _merged(edits):
        start = offset + sum(map(len, lines.bodies[line : edit.start])) + sum(map(len, ends[line : edit.start]))
        line = edit.end
        offset = start + sum(map(len, lines.bodies[edit.start : line])) + sum(map(len, ends[edit.start : line]))
        changes.append(TextChange(start, offset, "".join(new_line + line_ending for new_line in edit.lines)))
    new_text = apply_text_changes(virtual, changes)
    wants_newline = lines.has_final_newline if ends_with_newline is None else ends_with_newline
    if not wants_newline:
        new_text = _without_final_newline(new_text)
    if virtual is not text or not wants_newline:
        changes = _with_real_end(text, virtual, new_text, changes)
    return new_text, tuple(change for change in changes if text[change.start : change.end] != change.text)


def _without_final_newline(text: str) -> str:
    shorter = text.removesuffix("\n").removesuffix("\r") if text.endswith("\r\n") else text[:-1]
    # A last line that is empty exists only by its newline.
    return text if not shorter or shorter[-1] in "\r\n" else shorter


def _merged(edits: Sequence[LineEdit]) -> list[LineEdit]:
    """The edits, those that touch made one."""
    merged: list[LineEdit] = []
    for edit in edits:
        if merged and merged[-1].end == edit.start:
            merged[-1] = LineEdit(merged[-1].start, edit.end, merged[-1].lines + edit.lines)
        else:
            merged.append(edit)
    return merged


def _with_real_end(text: str, virtual: str, new_text: str, changes: list[TextChange]) -> list[TextChange]:
    """The changes of the virtual text as changes of the real one: they may differ in the newline at the end."""
    kept = [change for change in changes if change.end < len(virtual)]
    last = next((change for change in changes if change.end == len(virtual)), None)
    shift = sum(len(change.text) - (change.end - change.start) for change in kept)
    # The tail that may change starts at the last change, or at the end of the last line.
    start = min(len(text) if last is None else last.start, len(text), len(new_text) - shift)
    return [*kept, TextChange(start, len(text), new_text[start + shift :])]
