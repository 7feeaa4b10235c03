"""What the replay types: blocks taken out of real files, as the keys that a person would press to type them again.

Enter brings the indentation of the next line with it, as editors do; everything else is one character at a time.
The draw is seeded and depends on nothing but the files.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from harmony_ls.cli.bench.inline.cases import code_lines
from harmony_ls.cli.bench.inline.corpus import SourceFile
from harmony_ls.cli.typist import next_key

__all__ = ["Block", "Key", "draw_blocks"]

_LEAST_LINES = 200
_START = 0.55
_BLOCK_LINES = 25
_LEAST_CODE_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class Key:
    """One key: the text it inserts, the line of the block it belongs to, and its place in that line (0 is Enter)."""

    inserted: str
    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive lines of a file, to be typed at the end of the line before them."""

    file: SourceFile
    start: int
    n_lines: int

    @property
    def text_without(self) -> str:
        """The file without the block."""
        lines = self.file.lines
        return "\n".join(lines[: self.start] + lines[self.start + self.n_lines :])

    @property
    def offset(self) -> int:
        """Where the typing begins: the end of the line before the block."""
        return len("\n".join(self.file.lines[: self.start]))

    @property
    def lines(self) -> list[str]:
        """The lines to type."""
        return self.file.lines[self.start : self.start + self.n_lines]

    def keystrokes(self) -> Iterator[Key]:
        """The keys that type the block; the document then equals the file."""
        typed = "".join("\n" + line for line in self.lines)
        position, line, column = 0, -1, 0
        while inserted := next_key(typed, position):
            line, column = (line + 1, 0) if inserted[0] == "\n" else (line, column + 1)
            yield Key(inserted, line, column)
            position += len(inserted)


def draw_blocks(files: Sequence[SourceFile], n_lines: int, seed: int) -> list[Block]:
    """Blocks of 25 lines at 55 % of files of 200 and more lines, ``n_lines`` in all; the packages take turns."""
    drawn: dict[str, Iterator[Block]] = {}
    for package in sorted({file.package for file in files}):
        large = [file for file in files if file.package == package and len(file.lines) >= _LEAST_LINES]
        random.Random(f"{seed} typing {package}").shuffle(large)
        drawn[package] = _blocks(large)
    blocks: list[Block] = []
    n_missing = n_lines
    while drawn and n_missing > 0:
        for package in sorted(drawn):
            block = next(drawn[package], None)
            if block is None:
                del drawn[package]
            elif n_missing > 0:
                blocks.append(Block(block.file, block.start, min(block.n_lines, n_missing)))
                n_missing -= blocks[-1].n_lines
    return blocks


def _blocks(files: Sequence[SourceFile]) -> Iterator[Block]:
    for file in files:
        start = int(len(file.lines) * _START)
        while start > 1 and not file.lines[start - 1].strip():
            start -= 1
        is_code = {line.index for line in code_lines(file)}
        typed = range(start, start + _BLOCK_LINES)
        visible = [index for index in typed if file.lines[index].strip()]
        if visible and sum(index in is_code for index in visible) >= _LEAST_CODE_SHARE * len(visible):
            yield Block(file, start, _BLOCK_LINES)
