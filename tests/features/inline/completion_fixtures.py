"""Completion fixtures: one Markdown file each, with a document, what the model writes, and what is offered or why not.

# Title
One sentence that says why.

```python document         a ``<|>`` marks the cursor; words: crlf, invoked, path=NAME
```text model              what the model writes; words: cut (tokens ran out), escaped (``\\uXXXX``)
```text offered            the expected text; words: replaced=N, stop=RULE
```text refused            or the expected reason code
"""

import re
from dataclasses import dataclass
from pathlib import Path

CURSOR = "<|>"
FOLDER = Path(__file__).parents[3] / "fixtures" / "completions"

_BLOCK = re.compile(r"^(?P<fence>`{3,})(?P<info>[^`\n]+)\n(?P<body>.*?)^(?P=fence)$\n?", re.MULTILINE | re.DOTALL)
_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})")


@dataclass(frozen=True)
class Block:
    """A fenced block: the first word of its info string is a language, the second its role, the rest qualifies it."""

    language: str
    role: str
    words: tuple[str, ...]
    body: str

    def value(self, name: str) -> str | None:
        return next((word.partition("=")[2] for word in self.words if word.startswith(f"{name}=")), None)


@dataclass(frozen=True)
class Expectation:
    """What comes out in the end: an offered text, or a reason code in ``body``."""

    role: str
    words: tuple[str, ...]
    body: str

    def render(self) -> str:
        fence = "````" if "```" in self.body else "```"
        return f"{fence}{' '.join(('text', self.role, *self.words))}\n{self.body}\n{fence}\n"


def read_blocks(path: Path) -> dict[str, Block]:
    """The blocks of a fixture by role. ``expected`` is the one that says what comes out, if there is one yet."""
    blocks: dict[str, Block] = {}
    for match in _BLOCK.finditer(path.read_text(encoding="utf-8")):
        language, role, *words = match["info"].split()
        block = Block(language, role, tuple(words), match["body"].removesuffix("\n"))
        blocks["expected" if role in ("offered", "refused") else role] = block
    return blocks


def unescaped(text: str) -> str:
    return _ESCAPE.sub(lambda match: chr(int(match[1], 16)), text)


def write_expectation(path: Path, expectation: Expectation) -> None:
    """Replace what the fixture expects, or append it."""
    text = path.read_text(encoding="utf-8")
    old = next((m for m in _BLOCK.finditer(text) if m["info"].split()[1] in ("offered", "refused")), None)
    kept = (text if old is None else text[: old.start()]).rstrip("\n")
    path.write_text(f"{kept}\n\n{expectation.render()}", encoding="utf-8")
