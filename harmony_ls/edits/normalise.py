"""From what a model wrote to the bare text of a patch: JSON, shell commands, fences and escapes are taken off.

Models wrap a patch in whatever they were last trained on. Each wrapper is taken off where it leaves no doubt; what
stays is handed to the parsers. No line of a patch is read here, but for the markers that tell one syntax from another.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from harmony_ls.errors import PatchError

__all__ = ["BEGIN_LINE", "NormalisedPatch", "Syntax", "normalise"]

# Possessive quantifiers (``*+``): a run of blanks costs one look and not its square.
BEGIN_LINE = re.compile(r"^[ \t]*\*\*\*[ \t]*Begin[ \t]+Patch[ \t]*+\**+[ \t]*+\r?$", re.MULTILINE)
_END_LINE = re.compile(r"^[ \t]*\*\*\*[ \t]*End[ \t]+Patch[ \t]*+\**+[ \t]*+\r?$", re.MULTILINE)
_FILE_HEADER = re.compile(r"^[ \t]*\*\*\*[ \t]+(?:Add|Delete|Update)[ \t]+File:", re.MULTILINE)
_DIFF_HEADER = re.compile(r"^(?:diff --git |--- [^\n]*\n\+\+\+ |Binary files )", re.MULTILINE)
_BARE_HUNK = re.compile(r"^@@", re.MULTILINE)

_HEREDOC = re.compile(
    r"^\s*(?:cd[ \t]+(?P<folder>'[^'\n]*'|\"[^\"\n]*\"|[^\s;&|<>\"']+)[ \t]*&&[ \t]*)?"
    r"apply_?patch[ \t]+<<-?[ \t]*(?P<quote>['\"]?)(?P<word>\w+)(?P=quote)[ \t]*\r?\n"
    r"(?P<body>.*?)\r?\n[ \t]*(?P=word)\s*+\Z",
    re.DOTALL,
)
_FENCE = re.compile(r"[ \t]*(?P<fence>`{3,}|~{3,})[^`]*")
_ESCAPE = re.compile(r"\\(\\|n|r|t|\"|')")
_ESCAPED = {"\\": "\\", "n": "\n", "r": "\r", "t": "\t", '"': '"', "'": "'"}

_KEYS = ("patch", "input", "cmd", "command", "diff", "content")
_DEEPEST = 6
_LONGEST_PATCH = 4 * 1024 * 1024
_LONGEST_QUOTE = 160


class Syntax(StrEnum):
    """How the changes are written down."""

    BEGIN_PATCH = "begin patch"
    UNIFIED_DIFF = "unified diff"


@dataclass(frozen=True, slots=True)
class NormalisedPatch:
    """The bare text of a patch, with ``\\n`` between its lines. ``folder`` is what ``cd`` in front of it named."""

    text: str
    syntax: Syntax
    folder: str = ""


def normalise(written: str) -> NormalisedPatch:
    """Take every wrapper off. Raises PatchError, which says what was received instead of a patch."""
    if len(written) > _LONGEST_PATCH:
        raise PatchError(
            f"The patch has {len(written):,} characters; at most {_LONGEST_PATCH:,} are read. Send smaller patches."
        )
    text, folder = written, ""
    for _ in range(_DEEPEST):
        inner, inner_folder = _unwrapped(text)
        folder = inner_folder or folder
        if inner == text:
            break
        text = inner
    return NormalisedPatch(text, _syntax(text, written), folder)


def _unwrapped(text: str) -> tuple[str, str]:
    """The text with one wrapper less, and the folder that a shell command went to."""
    text = text.lstrip("\ufeff")
    stripped = text.strip()
    if stripped[:1] in ("{", "[", '"') and (value := _json_value(stripped)) is not None:
        return value, ""
    if heredoc := _HEREDOC.match(text):
        return heredoc["body"], (heredoc["folder"] or "").strip("'\"")
    if "\n" not in stripped and "\r" in stripped:
        return text.replace("\r", "\n"), ""
    if "\n" not in stripped and "\\n" in stripped and not stripped.startswith(("{", "[")):
        return _ESCAPE.sub(lambda match: _ESCAPED[match[1]], stripped), ""
    if not BEGIN_LINE.search(text) or stripped.startswith(("```", "~~~")):
        return _fenced(text), ""
    return text, ""


def _fenced(text: str) -> str:
    """What stands inside the fence that holds a patch; the text itself where there is none."""
    inside = [body for body in _fence_bodies(text) if _looks_like_patch(body)]
    if len(inside) > 1:
        raise PatchError("There is more than one fenced patch. Nothing was changed; send all changes as one patch.")
    return inside[0] if inside else text


def _fence_bodies(text: str) -> Iterator[str]:
    """What stands between the lines of each pair of fences."""
    lines = text.split("\n")
    last = {line.strip(): i for i, line in enumerate(lines)}
    start, fence = -1, ""
    for i, line in enumerate(lines):
        if fence:
            if line.strip() == fence:
                yield "\n".join(lines[start:i])
                fence = ""
        elif (opening := _FENCE.fullmatch(line)) is not None and last.get(opening["fence"], -1) > i:
            start, fence = i + 1, opening["fence"]


def _looks_like_patch(text: str) -> bool:
    return any(pattern.search(text) for pattern in (BEGIN_LINE, _FILE_HEADER, _DIFF_HEADER))


def _json_value(text: str) -> str | None:
    """The patch inside JSON; None where the text is no JSON after all."""
    try:
        # Models put real newlines into JSON strings; strict reading would refuse them.
        value = json.loads(text, strict=False)
    except (ValueError, RecursionError) as error:
        if BEGIN_LINE.search(text) and _END_LINE.search(text):
            return None
        if text.startswith("["):
            return None
        raise PatchError(
            f"The arguments look like JSON but cannot be read as JSON ({error}). Send the patch as plain text that "
            f"starts with '*** Begin Patch', without JSON around it. Received: {_quoted(text)}"
        ) from error
    return _patch_in(value, text)


def _patch_in(value: object, text: str) -> str:
    match value:
        case str():
            return value
        case [str(), *_]:
            return _command(list(value), text)
        case dict():
            named = [value[key] for key in _KEYS if key in value]
            strings = [item for item in value.values() if isinstance(item, str)]
            if len(named) != 1 and len(strings) == 1:
                named = strings[:]
            if not named and len(value) == 1:
                named = list(value.values())
            if len(named) == 1 and isinstance(named[0], str | list | dict):
                return _patch_in(named[0], text)
    raise PatchError(
        f"The arguments are JSON without a patch that could be told for certain: {_quoted(text)}. Expected the patch "
        "as plain text, or a JSON object with the one key 'patch'."
    )


def _command(words: list[object], text: str) -> str:
    """The patch in the words of a command: ``["apply_patch", PATCH]`` or ``["bash", "-lc", SCRIPT]``."""
    match words:
        case ["apply_patch" | "applypatch", str() as patch]:
            return patch
        case ["bash" | "sh" | "zsh" | "/bin/bash" | "/bin/sh", "-lc" | "-c", str() as script]:
            if _HEREDOC.match(script):
                return script
            raise PatchError(
                "There is no shell here. Expected a script that is exactly apply_patch <<'EOF' … EOF, with nothing "
                f"else in it but a cd in front; better send the patch alone. Received: {_quoted(script)}"
            )
        case [str() as patch] if _looks_like_patch(patch):
            return patch
    raise PatchError(
        f"There is no shell here. Expected the patch as plain text, not a command. Received: {_quoted(text)}"
    )


def _syntax(text: str, written: str) -> Syntax:
    begin, header, diff = BEGIN_LINE.search(text), _FILE_HEADER.search(text), _DIFF_HEADER.search(text)
    if begin is not None:
        after = text[begin.end() :].lstrip()
        if header is None and _DIFF_HEADER.match(after):
            return Syntax.UNIFIED_DIFF
        return Syntax.BEGIN_PATCH
    if header is not None and (diff is None or header.start() < diff.start()):
        return Syntax.BEGIN_PATCH
    if diff is not None:
        return Syntax.UNIFIED_DIFF
    if not text.strip():
        raise PatchError("The patch is empty: there is nothing to change. Send a patch from Begin to End.")
    if _BARE_HUNK.search(text):
        raise PatchError(
            "The patch has hunks but does not say which file they change. Put '*** Begin Patch' and "
            f"'*** Update File: PATH' in front of them. Received: {_quoted(text)}"
        )
    raise PatchError(
        "This is not a patch. Its first line must be '*** Begin Patch', its last '*** End Patch', with "
        "'*** Update File: PATH', '*** Add File: PATH' or '*** Delete File: PATH' between them. "
        f"Received: {_quoted(written)}"
    )


def _quoted(text: str) -> str:
    shown = text.strip()
    return repr(shown if len(shown) <= _LONGEST_QUOTE else shown[:_LONGEST_QUOTE] + "…")
