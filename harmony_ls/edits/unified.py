"""Unified diffs, as git and diff write them and as models imitate them, in the terms of `operations`.

Well-formed diffs go through unidiff, which counts lines and so knows a removed ``-- x`` from a header. Models count
badly: a diff whose counts are wrong is read by its markers instead, through the parser of the other grammar.
"""

import re
from dataclasses import replace

from unidiff.constants import DEV_NULL
from unidiff.errors import UnidiffParseError
from unidiff.patch import Hunk as DiffHunk
from unidiff.patch import PatchedFile, PatchSet

from harmony_ls.edits.apply_patch import parse_begin_patch
from harmony_ls.edits.normalise import BEGIN_LINE
from harmony_ls.edits.operations import AddFile, DeleteFile, Hunk, HunkLine, LineKind, Operation, Patch, UpdateFile
from harmony_ls.errors import PatchError

__all__ = ["parse_unified_diff"]

_END_LINE = re.compile(r"^[ \t]*\*\*\*[ \t]*End[ \t]+Patch[ \t]*+\**+[ \t]*+\r?\n?(?=\s*\Z)", re.MULTILINE)
_RENAME = re.compile(r"^(?P<verb>rename|copy) (?P<end>from|to) (?P<path>.+)$", re.MULTILINE)
_HUNK_START = re.compile(r"^@@", re.MULTILINE)
_OCTAL = re.compile(rb"\\([0-7]{3}|.)", re.DOTALL)
_ESCAPED = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"a": b"\a", b"b": b"\b", b"f": b"\f", b"v": b"\v"}
_NO_TEXT_MODES = ("120000", "160000")
_NO_NEWLINE = "\\"
_MOST_FILES = 1000


def parse_unified_diff(text: str) -> Patch:
    """Read a unified diff. Raises PatchError for one that cannot be read, and for what is no change of text."""
    begin = BEGIN_LINE.search(text)
    if begin is not None:
        text = _END_LINE.sub("", text[begin.end() :].removeprefix("\n"))
    text = "\n".join(line.removesuffix("\r") for line in text.split("\n"))
    text = text if text.endswith("\n") else f"{text}\n"
    try:
        files = PatchSet.from_string(text)
    except (UnidiffParseError, ValueError) as error:
        # A last hunk that is shorter than it says was miscounted, or cut off.
        return replace(parse_begin_patch(_as_begin_patch(text)), is_ended="shorter" not in str(error))
    if len(files) > _MOST_FILES:
        raise PatchError(f"The diff changes more than {_MOST_FILES:,} files. Send smaller patches.")
    if not files or sum(map(len, files)) < len(_HUNK_START.findall(text)):
        # unidiff leaves hunks out that have no numbers.
        return parse_begin_patch(_as_begin_patch(text))
    return Patch(tuple(_operation(file) for file in files))


def _operation(file: PatchedFile) -> Operation:
    source, target = _plain_paths(file.source_file or "", file.target_file or "")
    info = "".join(file.patch_info or ())
    path = target if source == DEV_NULL else source
    if file.is_binary_file or "GIT binary patch" in info:
        raise PatchError(f"The diff changes the binary file {path}. Only text can be patched.")
    if file.source_mode in _NO_TEXT_MODES or file.target_mode in _NO_TEXT_MODES:
        raise PatchError(f"{path} is a symbolic link or a submodule in the diff. Only text files can be patched.")
    renamed = {(match["verb"], match["end"]): _unquoted(match["path"]) for match in _RENAME.finditer(info)}
    if ("copy", "to") in renamed:
        raise PatchError(f"The diff copies {path}. Add the new file with its text instead.")
    if ("rename", "from") in renamed and ("rename", "to") in renamed:
        source, target = renamed["rename", "from"], renamed["rename", "to"]
    hunks = tuple(_hunk(hunk) for hunk in file)
    if source == DEV_NULL:
        return _added(target, hunks)
    if target == DEV_NULL:
        return DeleteFile(source, hunks)
    if not hunks and source == target:
        raise PatchError(
            f"The diff has no hunks for {path}: there is nothing to change. File modes cannot be changed here."
        )
    return UpdateFile(source, hunks, None if source == target else target)


def _hunk(hunk: DiffHunk) -> Hunk:
    lines: list[HunkLine] = []
    ends_with_newline: bool | None = None
    for line in hunk:
        kind, value = line.line_type, line.value.removesuffix("\n")
        if kind == _NO_NEWLINE:
            # It speaks of the line above it: of the old file after a removed line, of the new one otherwise.
            ends_with_newline = bool(lines) and lines[-1].kind is LineKind.REMOVED
        elif kind:
            lines.append(HunkLine(LineKind(kind), value))
    return Hunk(
        tuple(lines),
        section=hunk.section_header.strip(),
        line_hint=hunk.source_start,
        ends_with_newline=ends_with_newline,
        patch_line=(hunk[0].diff_line_no or 1) - 1 if hunk else 0,
    )


def _added(path: str, hunks: tuple[Hunk, ...]) -> AddFile:
    lines = tuple(line for hunk in hunks for line in hunk.lines)
    if any(line.kind is not LineKind.ADDED for line in lines):
        raise PatchError(f"The diff creates {path}, so all its lines must start with '+'.")
    return AddFile(path, tuple(line.text for line in lines), all(hunk.ends_with_newline is not False for hunk in hunks))


def _plain_paths(source: str, target: str) -> tuple[str, str]:
    """The paths without git's quotes and its ``a/`` and ``b/``, which both sides have or none."""
    source, target = _unquoted(source), _unquoted(target)
    has_prefixes = (source == DEV_NULL or source.startswith("a/")) and (target == DEV_NULL or target.startswith("b/"))
    if not has_prefixes:
        return source, target
    return source.removeprefix("a/"), target.removeprefix("b/")


def _unquoted(path: str) -> str:
    path = path.rstrip()
    if not (len(path) > 1 and path[0] == path[-1] == '"'):
        return path
    data = _OCTAL.sub(lambda match: _escaped(match[1]), path[1:-1].encode("utf-8", "surrogatepass"))
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise PatchError(f"The path {path} of the diff is not UTF-8.") from error


def _escaped(escape: bytes) -> bytes:
    if escape.isdigit():
        return bytes([int(escape, 8) & 0xFF])
    return _ESCAPED.get(escape, escape)


def _as_begin_patch(text: str) -> str:
    """A diff whose counts are wrong, spelled in the other grammar. Two header lines and a hunk start a file."""
    lines = text.split("\n")
    written = ["*** Begin Patch"]
    i = 0
    while i < len(lines):
        line, following = lines[i], lines[i + 1] if i + 1 < len(lines) else ""
        if line.startswith("--- ") and following.startswith("+++ "):
            written += _headers(_file_name(line), _file_name(following))
            i += 2
        elif line.startswith("diff --git "):
            i = _skip_to_names(lines, i + 1)
        else:
            written.append(line)
            i += 1
    # What a diff repeats of a file that it deletes cannot be told from the next section here; unidiff can.
    return "\n".join((*written, "*** End Patch"))


def _headers(source: str, target: str) -> list[str]:
    source, target = _plain_paths(source, target)
    if source == DEV_NULL:
        return [f"*** Add File: {target}"]
    if target == DEV_NULL:
        raise PatchError(
            f"The diff deletes {source}, but its line counts are wrong. To delete a file write '*** Delete File: "
            f"{source}' between '*** Begin Patch' and '*** End Patch'."
        )
    return [f"*** Update File: {source}", *([f"*** Move to: {target}"] if source != target else ())]


def _file_name(line: str) -> str:
    return line[4:].split("\t")[0].strip()


def _skip_to_names(lines: list[str], start: int) -> int:
    """Past git's extended headers, up to the names or the next file."""
    for i in range(start, len(lines)):
        if lines[i].startswith(("--- ", "diff --git ", "@@")):
            return i
    return len(lines)
