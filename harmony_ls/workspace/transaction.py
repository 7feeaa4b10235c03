"""Changes of many files as one, to begin with: all are verified before any is made. `carry_out` makes them."""

import os
import stat
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harmony_ls.edits.changes import ChangeKind, FileChange
from harmony_ls.edits.text_file import Encoding, decode
from harmony_ls.errors import WorkspaceError
from harmony_ls.workspace.attributes import Attributes
from harmony_ls.workspace.files import FileState, read_state, spelled_as_there
from harmony_ls.workspace.gate import GatedPath, PathGate, check_no_repository_made

__all__ = ["FileStyle", "Step", "verify"]


@dataclass(frozen=True, slots=True)
class FileStyle:
    """What a text alone does not say of a file: how it is encoded, whom it belongs to, and what else is kept of it."""

    encoding: Encoding = Encoding.UTF_8
    like: Attributes | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """A change that was verified: the files that it is about, and the bytes that it writes.

    ``source`` and ``old`` are unset for a new file, ``target`` for one that is deleted. ``is_respelled``: the new name
    is the same file to this file system, as ``a.txt`` and ``A.txt`` may be.
    """

    change: FileChange
    source: GatedPath | None
    target: GatedPath | None
    old: FileState | None
    data: bytes
    style: FileStyle
    is_respelled: bool = False


def verify(gate: PathGate, changes: Sequence[FileChange], styles: Mapping[str, FileStyle] | None = None) -> list[Step]:
    """The steps that the changes take, if all of them can be taken now. Raises WorkspaceError; changes nothing.

    ``styles`` are those of files that are created, by path.
    """
    steps: list[Step] = []
    for change in changes:
        try:
            steps.append(_step(gate, change, (styles or {}).get(change.path, FileStyle())))
        except OSError as error:
            raise WorkspaceError(f"{change.path} cannot be used: {error.strerror}. Nothing was changed.") from error
    targets = [step.target for step in steps if step.target is not step.source]
    check_no_repository_made(target for target in targets if target is not None)
    owners: dict[object, int] = {}
    for number, step in enumerate(steps):
        identities: list[object] = [path.real for path in (step.source, step.target) if path is not None]
        if step.old is not None:
            identities.append((step.old.status.st_dev, step.old.status.st_ino))
        if any(owners.setdefault(identity, number) != number for identity in identities):
            raise WorkspaceError(f"Multiple operations target {step.change.path}. Put all its hunks into one section.")
    return steps


def _step(gate: PathGate, change: FileChange, style: FileStyle) -> Step:
    if change.kind is ChangeKind.CREATE:
        target = gate.pass_through(change.path)
        _check_vacant(target, change.path)
        return Step(change, None, target, None, _bytes_of(change, style.encoding), style)
    source = gate.pass_through(change.path)
    old, encoding = _unchanged(source, change)
    source = spelled_as_there(source)
    style = FileStyle(encoding, old.attributes)
    data = _bytes_of(change, encoding)
    _check_writable(source, old, change)
    match change.kind:
        case ChangeKind.UPDATE:
            return Step(change, source, source, old, data, style)
        case ChangeKind.DELETE:
            return Step(change, source, None, old, b"", style)
        case _:
            target = gate.pass_through(change.final_path)
            is_same = not target.is_link and _is_same_file(source, target)
            if is_same and target.real == source.real:
                _check_no_composition(source, change)
                return Step(change, source, source, old, data, style)
            is_respelled = is_same and target.names[:-1] == source.names[:-1]
            if not is_respelled:
                _check_vacant(target, change.final_path)
            return Step(change, source, target, old, data, style, is_respelled)


def _check_no_composition(source: GatedPath, change: FileChange) -> None:
    """The gate finds a file however its characters are composed, so a name that differs in that alone is no new one."""
    old, new = source.names[-1], change.final_path.rpartition("/")[2]
    if old != new and unicodedata.normalize("NFC", old) == unicodedata.normalize("NFC", new):
        raise WorkspaceError(
            f"{change.path} has that name already: only its characters are composed in another way. "
            "Nothing was changed."
        )


def _bytes_of(change: FileChange, encoding: Encoding) -> bytes:
    try:
        return encoding.to_bytes(change.new_text)
    except UnicodeEncodeError as error:
        raise WorkspaceError(
            f"The new text of {change.final_path} contains half a character. Nothing was changed."
        ) from error


def _unchanged(path: GatedPath, change: FileChange) -> tuple[FileState, Encoding]:
    try:
        old = read_state(path)
    except FileNotFoundError as error:
        raise WorkspaceError(f"{change.path} does not exist (any more). Nothing was changed.") from error
    text_file = decode(old.data, change.path)
    if text_file.text != change.old_text:
        raise WorkspaceError(
            f"{change.path} was changed in the meantime. Nothing was changed; read it again and make a new patch."
        )
    return old, text_file.encoding


def _check_writable(path: GatedPath, old: FileState, change: FileChange) -> None:
    if path.is_link and change.kind is not ChangeKind.UPDATE:
        raise WorkspaceError(f"{change.path} is a link; name the file that it leads to. Nothing was changed.")
    if not old.mode & stat.S_IWUSR or not os.access(path.real, os.W_OK):
        raise WorkspaceError(f"{change.path} is read-only. Nothing was changed.")
    if not os.access(path.real.parent, os.W_OK):
        raise WorkspaceError(f"The folder of {change.path} is read-only. Nothing was changed.")


def _check_vacant(path: GatedPath, name: str) -> None:
    """Nothing may be overwritten that the patch does not show."""
    if path.is_link or os.path.lexists(path.real):
        what = "a folder" if path.real.is_dir() else "a link" if path.is_link else "there"
        raise WorkspaceError(
            f"{name} is {what} already. Nothing was changed; to change a file use '*** Update File', or choose another "
            "name."
        )
    folder = path.root
    for part in path.names[:-1]:
        folder = folder / part
        if not os.path.lexists(folder):
            break
        if not folder.is_dir():
            raise WorkspaceError(f"{name} cannot be created: {folder.relative_to(path.root)} is not a folder.")
    existing = folder if folder.is_dir() else folder.parent
    if not os.access(existing, os.W_OK):
        raise WorkspaceError(f"{name} cannot be created: its folder is read-only.")


def _is_same_file(source: GatedPath, target: GatedPath) -> bool:
    try:
        return os.path.samefile(source.real, target.real)
    except OSError:
        return False
