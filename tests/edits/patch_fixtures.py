"""Patch fixtures: one Markdown file each, with files, a patch, and the files afterwards or what the model is told.

# Title
One sentence that says why. Where codex does otherwise, it says so.

```text before path=NAME    a file; words: no-newline, escaped (``\\r``, ``\\t``, ``\\\\``, ``\\uXXXX``), empty
```text folder path=NAME    an empty folder
```text patch               what the model writes; words: no-newline, escaped
```text after path=NAME     every file that there is in the end; words as above
```text refused             or the answer to the model: nothing has changed then
"""

import re
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "fixtures" / "patches"

_BLOCK = re.compile(r"^(?P<fence>`{3,})(?P<info>[^`\n]+)\n(?P<body>.*?)^(?P=fence)$\n?", re.MULTILINE | re.DOTALL)
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))")
_SPECIAL = re.compile("[^\n -~\u00a1-\u024f\u2010-\u201f\u2026]")
_SIMPLE = {"r": "\r", "t": "\t", "n": "\n", "\\": "\\"}


@dataclass(frozen=True)
class PatchFixture:
    before: dict[str, str]
    folders: tuple[str, ...]
    patch: str
    after: dict[str, str] | None
    refused: str


def read_fixture(path: Path) -> PatchFixture:
    before: dict[str, str] = {}
    after: dict[str, str] = {}
    folders: list[str] = []
    patch, refused, has_after = "", "", False
    for match in _BLOCK.finditer(path.read_text(encoding="utf-8")):
        _, role, *words = match["info"].split()
        name = next((word.removeprefix("path=") for word in words if word.startswith("path=")), "")
        text = _text(match["body"], words)
        match role:
            case "before":
                before[name] = text
            case "folder":
                folders.append(name)
            case "patch":
                patch = text
            case "after":
                after[name], has_after = text, True
            case "nothing-left":
                has_after = True
            case "refused":
                refused = text.removesuffix("\n")
    return PatchFixture(before, tuple(folders), patch, after if has_after else None, refused)


def _text(body: str, words: list[str]) -> str:
    if "empty" in words:
        return ""
    if "no-newline" in words:
        body = body.removesuffix("\n")
    if "escaped" in words:
        body = _ESCAPE.sub(lambda m: chr(int(m[1], 16)) if m[1] else _SIMPLE[m[2]], body)
    return body


def write_expectation(path: Path, after: dict[str, str] | None, refused: str) -> None:
    """Replace what the fixture expects, or append it."""
    text = path.read_text(encoding="utf-8")
    expected = ("after", "refused", "nothing-left")
    old = next((m for m in _BLOCK.finditer(text) if m["info"].split()[1] in expected), None)
    kept = (text if old is None else text[: old.start()]).rstrip("\n")
    blocks = [block("refused", "", refused + "\n")] if after is None else []
    blocks += [block("after", name, content) for name, content in sorted((after or {}).items())]
    if after == {}:
        blocks.append("```text nothing-left\n```\n")
    path.write_text("\n\n".join((kept, *(b.rstrip("\n") for b in blocks))) + "\n", encoding="utf-8")


def block(role: str, name: str, content: str) -> str:
    """A block whose text is exactly the content, in the plainest way that a reader can see."""
    words = ["text", role, *([f"path={name}"] if name else [])]
    body = content
    if _SPECIAL.search(content):
        words.append("escaped")
        body = _SPECIAL.sub(_escaped, content.replace("\\", "\\\\"))
    if not content:
        words.append("empty")
    elif not content.endswith("\n"):
        words.append("no-newline")
        body += "\n"
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", content)), default=0))
    return f"{fence}{' '.join(words)}\n{body}{fence}\n"


def _escaped(match: re.Match[str]) -> str:
    simple = {"\r": "\\r", "\t": "\\t"}
    return simple.get(match[0], f"\\u{ord(match[0]):04x}")
