"""Fit the operations of a patch to the files as they are: all of them, or a message and nothing."""

from collections.abc import Mapping
from itertools import chain

from harmony_ls.edits.changes import ChangeKind, FileChange, TextChange, replace_lines
from harmony_ls.edits.file_index import FileIndex
from harmony_ls.edits.locate import locate
from harmony_ls.edits.operations import AddFile, DeleteFile, Hunk, Operation, Patch, UpdateFile
from harmony_ls.errors import PatchError

__all__ = ["paths_to_read", "plan_changes"]


def paths_to_read(patch: Patch) -> tuple[str, ...]:
    """The files whose text `plan_changes` needs, as the patch spells them."""
    return tuple(operation.path for operation in patch.operations if not isinstance(operation, AddFile))


def plan_changes(patch: Patch, texts: Mapping[str, str]) -> tuple[FileChange, ...]:
    """The changes that a patch makes, given the texts of the files that it updates and deletes.

    Files that would stay as they are, are left out. Raises PatchError for a hunk that does not fit, for a file that is
    named twice, and for a patch that changes nothing at all.
    """
    _check_paths(patch)
    changes = tuple(change for operation in patch.operations if (change := _change(operation, texts)) is not None)
    if not changes:
        raise PatchError(
            "There is nothing to change: after the patch every file would be as it is. Lines to remove start with "
            "'-', lines to add with '+'."
        )
    return changes


def _check_paths(patch: Patch) -> None:
    seen: set[str] = set()
    for operation in patch.operations:
        target = operation.move_to if isinstance(operation, UpdateFile) else None
        for path in {operation.path, target} - {None}:
            if path in seen:
                raise PatchError(f"Multiple operations target {path}. Put all its hunks into one section.")
            seen.add(str(path))


def _change(operation: Operation, texts: Mapping[str, str]) -> FileChange | None:
    match operation:
        case AddFile(path, lines, ends_with_newline):
            text = "\n".join(lines) + ("\n" if lines and ends_with_newline else "")
            _check_no_mark(path, "", text)
            return FileChange(ChangeKind.CREATE, path, "", _encodable(path, text), _insertion_of(text))
        case DeleteFile(path, hunks):
            old_text = texts[path]
            if hunks and _updated(path, old_text, hunks)[0]:
                raise PatchError(f"The diff deletes {path} but leaves out some of its lines. Nothing was deleted.")
            return FileChange(ChangeKind.DELETE, path, old_text)
        case UpdateFile(path, hunks, move_to):
            old_text = texts[path]
            new_text, changes = _updated(path, old_text, hunks)
            _check_no_mark(path, old_text, new_text)
            if move_to is not None and move_to != path:
                return FileChange(ChangeKind.RENAME, path, old_text, new_text, changes, new_path=move_to)
            if new_text == old_text:
                return None
            return FileChange(ChangeKind.UPDATE, path, old_text, new_text, changes)


def _updated(path: str, text: str, hunks: tuple[Hunk, ...]) -> tuple[str, tuple[TextChange, ...]]:
    if not hunks:
        return text, ()
    file = FileIndex(path, text)
    edits = sorted(
        chain.from_iterable(place.edits for place in locate(file, hunks)), key=lambda edit: (edit.start, edit.end)
    )
    ends_with_newline = next((hunk.ends_with_newline for hunk in hunks if hunk.ends_with_newline is not None), None)
    new_text, changes = replace_lines(text, file.lines, edits, ends_with_newline)
    return _encodable(path, new_text), changes


def _insertion_of(text: str) -> tuple[TextChange, ...]:
    return (TextChange(0, 0, text),) if text else ()


def _check_no_mark(path: str, old_text: str, new_text: str) -> None:
    """A mark before the text would be read back as a matter of encoding, and the change could not be undone."""
    if new_text.startswith("\ufeff") and not old_text.startswith("\ufeff"):
        raise PatchError(
            f"The new text of {path} begins with a byte order mark (U+FEFF). Leave it out; a file keeps its own."
        )


def _encodable(path: str, text: str) -> str:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise PatchError(f"The new text of {path} contains half a character ({text[error.start]!r}).") from error
    if "\0" in text:
        raise PatchError(f"The new text of {path} contains a NUL character. Only text can be written.")
    return text
