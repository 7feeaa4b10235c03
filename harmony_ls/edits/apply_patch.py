"""The Begin-Patch grammar, read line by line, so that a patch can be looked at while it is being written.

It accepts what codex accepts, and where the meaning is plain more: stacked ``@@`` lines, ``@@ … @@``, line numbers, a
missing end marker, markers with trailing stars, text around the patch. No file is looked at.
"""

import re
from dataclasses import dataclass, field
from enum import Enum, auto

from harmony_ls.edits.operations import (
    AddFile,
    DeleteFile,
    Hunk,
    HunkLine,
    LineKind,
    Operation,
    Patch,
    UpdateFile,
)
from harmony_ls.errors import PatchError

__all__ = ["PatchParser", "parse_begin_patch"]

_BEGIN = re.compile(r"\*\*\*\s*Begin\s+Patch\s*\**")
_END = re.compile(r"\*\*\*\s*End\s+Patch\s*\**")
_HEADER = re.compile(r"\*\*\*\s+(?P<verb>Add|Delete|Update)\s+File:\s*(?P<path>.*)")
_MOVE = re.compile(r"\*\*\*\s+Move\s+to:\s*(?P<path>.*)")
_END_OF_FILE = re.compile(r"\*\*\*\s*End\s+of\s+File\s*\**")
_ENVIRONMENT = re.compile(r"\*\*\*\s*Environment\s+ID:\s*(?P<id>.*)")
_NUMBERS = re.compile(r"@@+\s*-(?P<line>\d{1,9})(?:,\d+)?\s+\+\d+(?:,\d+)?\s*(?:@@+\s?(?P<section>.*))?")
_DIFF_NAME = re.compile(r"(?:---|\+\+\+) (?P<path>[^\t]*)")
_NO_FILE = "/dev/null"
_NO_NEWLINE = "\\ No newline at end of file"
_VALID = (
    "Valid are '*** Add File: PATH', '*** Delete File: PATH', '*** Update File: PATH' (which '*** Move to: PATH' may "
    "follow) and '*** End Patch'"
)
_MOST_FILES = 1000
_MOST_HUNKS = 2_000
_MOST_ANCHORS = 16
_LONGEST_QUOTE = 160


class _State(Enum):
    BEFORE = auto()
    BETWEEN = auto()
    ADD = auto()
    DELETE = auto()
    UPDATE = auto()
    AFTER = auto()


@dataclass(slots=True)
class _OpenHunk:
    patch_line: int
    lines: list[HunkLine] = field(default_factory=list)
    anchors: list[str] = field(default_factory=list)
    section: str = ""
    line_hint: int | None = None
    at_end: bool = False
    ends_with_newline: bool | None = None

    def closed(self) -> Hunk:
        return Hunk(
            tuple(self.lines), tuple(self.anchors), self.section, self.line_hint, self.at_end,
            self.ends_with_newline, self.patch_line,
        )  # fmt: skip


@dataclass(slots=True)
class _OpenFile:
    """The section of a file that is being read.

    ``n_blank`` are blank lines whose meaning the next line decides. So does it for ``first``, a first line that starts
    with ``--- ``: it removes a comment of Lua or SQL, or is the first of two lines with which a diff names its file.
    """

    verb: str
    path: str
    patch_line: int
    move_to: str | None = None
    added: list[str] = field(default_factory=list)
    hunks: list[_OpenHunk] = field(default_factory=list)
    n_blank: int = 0
    first: str | None = None
    has_diff_header: bool = False

    def operation(self) -> Operation:
        match self.verb:
            case "Add":
                return AddFile(self.path, tuple(self.added))
            case "Delete":
                return DeleteFile(self.path)
            case _:
                return UpdateFile(self.path, tuple(hunk.closed() for hunk in self.hunks), self.move_to)


class PatchParser:
    """Reads a patch line by line. ``operations`` are those so far, the one being written included."""

    def __init__(self) -> None:
        self._state = _State.BEFORE
        self._n_lines = 0
        self._n_hunks = 0
        self._has_environment = False
        self._done: list[Operation] = []
        self._file: _OpenFile | None = None

    @property
    def operations(self) -> tuple[Operation, ...]:
        """What was read so far. The hunks of the last operation may still grow."""
        return (*self._done, self._file.operation()) if self._file is not None else tuple(self._done)

    @property
    def n_hunks(self) -> int:
        """How many hunks were begun, new and deleted files counting as one each. It never decreases."""
        return self._n_hunks

    def feed(self, line: str) -> None:
        """Read one line, without its ending. Raises PatchError where it cannot belong to a patch."""
        self._n_lines += 1
        line = line.removesuffix("\r")
        match self._state:
            case _State.BEFORE:
                self._before(line)
            case _State.BETWEEN:
                self._between(line)
            case _State.ADD:
                self._add(line)
            case _State.DELETE:
                self._delete(line)
            case _State.UPDATE:
                self._update(line)
            case _State.AFTER:
                self._after(line)

    def finish(self) -> Patch:
        """The whole patch. Raises PatchError where something is missing."""
        if self._state is _State.UPDATE:
            if self._open_file.first is not None:
                self._begin_with_first(self._open_file, self._n_lines)
            self._drop_padded_end()
        is_ended = self._state is _State.AFTER
        self._close_file()
        if not self._done:
            raise PatchError(
                "The patch is empty: there is nothing to change. Put '*** Update File: PATH', '*** Add File: PATH' or "
                "'*** Delete File: PATH' and its lines between '*** Begin Patch' and '*** End Patch'."
            )
        return Patch(tuple(self._done), is_ended)

    def _before(self, line: str) -> None:
        stripped = line.strip()
        if _BEGIN.fullmatch(stripped):
            self._state = _State.BETWEEN
        elif _HEADER.fullmatch(stripped):
            self._between(line)

    def _between(self, line: str) -> None:
        stripped = line.strip()
        if not stripped or self._marker(stripped):
            return
        environment = _ENVIRONMENT.fullmatch(stripped)
        if environment and not self._done and not self._has_environment and environment["id"]:
            self._has_environment = True
            return
        raise self._fault(f"{_quoted(line)} is not a header of a file. {_VALID}")

    def _add(self, line: str) -> None:
        file = self._open_file
        if line.startswith("+"):
            file.added += [""] * file.n_blank
            file.n_blank = 0
            file.added.append(line[1:])
        elif not line.strip():
            file.n_blank += 1
        elif not self._marker(line.strip()):
            raise self._fault(
                f"every line of a new file starts with '+', but {_quoted(line)} does not, and it is no header of a "
                f"file either. {_VALID}"
            )

    def _delete(self, line: str) -> None:
        if line.strip() and not self._marker(line.strip()):
            raise self._fault(f"after '*** Delete File' no line may follow but the next header: {_quoted(line)}")

    def _update(self, line: str) -> None:
        file = self._open_file
        if file.first is not None:
            if _names_file(file, file.first, line):
                file.first, file.has_diff_header = None, True
                return
            self._begin_with_first(file, self._n_lines - 1)
        hunk = file.hunks[-1] if file.hunks else None
        trimmed = line.rstrip()
        if trimmed.startswith("***"):
            self._update_marker(file, hunk, trimmed)
        elif trimmed.startswith("@@"):
            self._anchor(file, hunk, trimmed)
        elif hunk is None and not file.has_diff_header and line.startswith("--- "):
            file.first = line
        elif trimmed == _NO_NEWLINE and hunk is not None and hunk.lines:
            # It speaks of the line above it: of the old file after a removed line, of the new one otherwise.
            hunk.ends_with_newline = hunk.lines[-1].kind is LineKind.REMOVED
        elif hunk is not None and hunk.at_end:
            if trimmed:
                raise self._fault(f"after '*** End of File' comes '@@' or the next header, not {_quoted(line)}")
        else:
            self._hunk_line(file, hunk, line)

    def _update_marker(self, file: _OpenFile, hunk: _OpenHunk | None, line: str) -> None:
        if move := _MOVE.fullmatch(line):
            if hunk is not None or file.move_to is not None:
                raise self._fault("'*** Move to' stands once, right after '*** Update File'")
            file.move_to = self._path(move["path"])
        elif _END_OF_FILE.fullmatch(line):
            if hunk is None or not hunk.lines:
                raise self._fault("'*** End of File' stands after the lines of a hunk, but there are none")
            hunk.at_end = True
        elif not self._marker(line):
            raise self._fault(f"{_quoted(line)} is not a header of a file. {_VALID}")

    def _anchor(self, file: _OpenFile, hunk: _OpenHunk | None, line: str) -> None:
        if hunk is None or hunk.lines:
            hunk = self._new_hunk(file)
        if numbers := _NUMBERS.fullmatch(line):
            hunk.line_hint = int(numbers["line"])
            hunk.section = (numbers["section"] or "").strip()
            return
        anchor = line[2:].removesuffix("@@").rstrip()
        anchor = anchor[1:] if anchor.startswith(" ") else anchor
        if anchor.strip() not in ("", "...", "…"):
            if len(hunk.anchors) == _MOST_ANCHORS:
                raise self._fault(f"more than {_MOST_ANCHORS} lines '@@' follow each other")
            hunk.anchors.append(anchor)

    def _hunk_line(self, file: _OpenFile, hunk: _OpenHunk | None, line: str) -> None:
        if line and line[0] not in " +-":
            raise self._fault(
                f"{_quoted(line)} starts with none of ' ' (a line that stays), '+' (a line to add) and '-' (a line to "
                "remove)"
            )
        if hunk is None and not line.strip():
            return
        hunk = hunk or self._new_hunk(file)
        hunk.lines.append(HunkLine(LineKind(line[0]), line[1:]) if line else HunkLine(LineKind.CONTEXT, ""))

    def _begin_with_first(self, file: _OpenFile, patch_line: int) -> None:
        """Take the line that waited for its meaning as the first of the first hunk."""
        first, file.first = file.first or "", None
        hunk = self._new_hunk(file)
        hunk.patch_line = patch_line
        self._hunk_line(file, hunk, first)

    def _after(self, line: str) -> None:
        stripped = line.strip()
        if _BEGIN.fullmatch(stripped) or _HEADER.fullmatch(stripped):
            raise self._fault(
                f"{_quoted(line)} stands after '*** End Patch'. Put all files into one patch with one Begin and one End"
            )

    def _marker(self, line: str) -> bool:
        """Take a line that ends the section of a file; False where it is none."""
        if _END.fullmatch(line):
            self._close_file()
            self._state = _State.AFTER
            return True
        header = _HEADER.fullmatch(line)
        if header is None:
            return False
        self._close_file()
        if len(self._done) >= _MOST_FILES:
            raise PatchError(f"The patch changes more than {_MOST_FILES:,} files. Send smaller patches.")
        self._file = _OpenFile(header["verb"], self._path(header["path"]), self._n_lines)
        self._state = {"Add": _State.ADD, "Delete": _State.DELETE, "Update": _State.UPDATE}[header["verb"]]
        if header["verb"] != "Update":
            self._n_hunks += 1
        return True

    def _close_file(self) -> None:
        if self._file is None:
            return
        file = self._file
        # Only the last hunk can be empty, since a further "@@" belongs to it until lines come.
        if file.hunks and not file.hunks[-1].lines:
            last = file.hunks.pop()
            if last.anchors or last.line_hint is not None:
                raise PatchError(f"The hunk at line {last.patch_line} of the patch has no lines ({file.path}).")
        if file.verb == "Update" and not file.hunks and file.move_to is None:
            raise PatchError(
                f"The section of {file.path} (line {file.patch_line} of the patch) has no lines: there is nothing to "
                "change. Give the lines to remove with '-', those to add with '+', and some that stay with ' '."
            )
        self._done.append(file.operation())
        self._file = None

    def _drop_padded_end(self) -> None:
        """A padded end marker counts inside a hunk only as the very last line; before, it could be a line of a file."""
        hunks = self._open_file.hunks
        if not hunks:
            return
        lines = hunks[-1].lines
        n_kept = len(lines)
        while n_kept and lines[n_kept - 1].kind is LineKind.CONTEXT and not lines[n_kept - 1].text.strip():
            n_kept -= 1
        if n_kept and lines[n_kept - 1].kind is LineKind.CONTEXT and _END.fullmatch(lines[n_kept - 1].text.strip()):
            del lines[n_kept - 1 :]
            self._close_file()
            self._state = _State.AFTER

    def _new_hunk(self, file: _OpenFile) -> _OpenHunk:
        self._n_hunks += 1
        if self._n_hunks > _MOST_HUNKS:
            raise PatchError(f"The patch has more than {_MOST_HUNKS:,} hunks. Send smaller patches.")
        hunk = _OpenHunk(self._n_lines)
        file.hunks.append(hunk)
        return hunk

    def _path(self, written: str) -> str:
        path = written.strip()
        if len(path) > 1 and path[0] == path[-1] and path[0] in "'\"`":
            path = path[1:-1]
        if not path:
            raise self._fault("the path is missing")
        return path

    @property
    def _open_file(self) -> _OpenFile:
        if self._file is None:
            raise AssertionError("no section of a file is open")
        return self._file

    def _fault(self, what: str) -> PatchError:
        return PatchError(f"The patch cannot be read at line {self._n_lines}: {what}.")


def parse_begin_patch(text: str) -> Patch:
    """Read a whole patch. Raises PatchError, which names the line and what may stand there."""
    parser = PatchParser()
    for line in text.split("\n"):
        parser.feed(line)
    return parser.finish()


def _names_file(file: _OpenFile, old: str, new: str) -> bool:
    """Whether two lines are those with which a unified diff names this file, or its name after a move."""
    if not new.startswith("+++ "):
        return False
    names = {_diff_name(old), _diff_name(new)} - {_NO_FILE}
    paths = [f"/{path.removeprefix('./')}" for path in (file.path, file.move_to) if path is not None]
    # A diff may name it from another folder than the patch does.
    return bool(names) and all(
        any(path.endswith(f"/{name}") or f"/{name}".endswith(path) for path in paths) for name in names
    )


def _diff_name(line: str) -> str:
    match = _DIFF_NAME.match(line)
    path = match["path"].strip().strip('"') if match is not None else ""
    return path[2:] if path.startswith(("a/", "b/", "./")) else path


def _quoted(line: str) -> str:
    return repr(line if len(line) <= _LONGEST_QUOTE else line[:_LONGEST_QUOTE] + "…")
