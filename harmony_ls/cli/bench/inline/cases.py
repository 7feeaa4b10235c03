"""Places to ask at: code lines cut at a random character, and finished statements after which nothing belongs.

The draw is seeded and depends on nothing but the files. Docstrings, comments and tables are passed over: what a small
model writes there says little about the code it writes.
"""

import io
import random
import tokenize
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from harmony_ls.cli.bench.inline.corpus import SourceFile

__all__ = ["Case", "CodeLine", "code_lines", "draw_code_cases", "draw_finished_cases"]

_LEAST_REST = 4
_LONGEST_LINE = 200
_LEAST_LETTERS = 0.3
_LAYOUT_TOKENS = frozenset(
    {tokenize.INDENT, tokenize.DEDENT, tokenize.NL, tokenize.ENDMARKER, tokenize.ENCODING, tokenize.COMMENT}
)
# Python 3.12 tokenises f-strings in pieces.
_STRING_TOKENS = frozenset(
    {tokenize.STRING} | {getattr(tokenize, name) for name in ("FSTRING_MIDDLE",) if hasattr(tokenize, name)}
)


@dataclass(frozen=True, slots=True)
class CodeLine:
    """A line that holds code: its index from 0, and its code without a trailing comment.

    ``ends_statement``: a statement ends on it; ``is_whole``: there is nothing but code on it.
    """

    index: int
    code: str
    ends_statement: bool
    is_whole: bool


@dataclass(frozen=True, slots=True)
class Case:
    """A document with a cursor at ``offset``. ``expected`` is what stood there up to the end of the line."""

    package: str
    path: str
    line: int
    text: str
    offset: int
    expected: str


_Cut = Callable[[SourceFile, CodeLine, random.Random], Case | None]


def code_lines(file: SourceFile) -> Iterator[CodeLine]:
    """The lines of a file that hold code. Lines within strings of several lines are left out, and so are tables."""
    lines = file.lines
    ends: dict[int, int] = {}
    closed: set[int] = set()
    excluded: set[int] = set()
    previous = tokenize.NEWLINE
    try:
        for token in tokenize.generate_tokens(io.StringIO(file.text).readline):
            if token.type in _LAYOUT_TOKENS:
                continue
            first, last = token.start[0] - 1, token.end[0] - 1
            if token.type == tokenize.NEWLINE:
                closed.add(first)
            elif token.type in _STRING_TOKENS and (first != last or previous == tokenize.NEWLINE):
                excluded.update(range(first, last + 1))
            else:
                ends[last] = max(ends.get(last, 0), token.end[1])
            previous = token.type
    except (tokenize.TokenError, SyntaxError):
        return
    for index in sorted(ends.keys() - excluded):
        code = lines[index][: ends[index]]
        n_letters = sum(character.isalpha() for character in code)
        if len(code) <= _LONGEST_LINE and n_letters >= _LEAST_LETTERS * len(code.strip()):
            yield CodeLine(index, code, index in closed, is_whole=lines[index].rstrip() == code)


def draw_code_cases(files: Sequence[SourceFile], n_cases: int, seed: int) -> list[Case]:
    """Cursors at a random character inside a line of code, with at least four characters of code to the right."""

    def cut(file: SourceFile, line: CodeLine, randomness: random.Random) -> Case | None:
        indentation = len(line.code) - len(line.code.lstrip())
        if len(line.code) - indentation < _LEAST_REST:
            return None
        return _case(file, line, randomness.randint(indentation, len(line.code) - _LEAST_REST))

    return _draw(files, n_cases, f"{seed} code", cut)


def draw_finished_cases(files: Sequence[SourceFile], n_cases: int, seed: int) -> list[Case]:
    """Cursors at the end of a whole statement, with the lines that really follow: nothing should be inserted."""

    def cut(file: SourceFile, line: CodeLine, _randomness: random.Random) -> Case | None:
        if not line.ends_statement or not line.is_whole or line.code.endswith(":"):
            return None
        return _case(file, line, len(line.code))

    return _draw(files, n_cases, f"{seed} finished", cut)


def _case(file: SourceFile, line: CodeLine, column: int) -> Case:
    lines = file.lines
    before = "\n".join([*lines[: line.index], line.code[:column]])
    after = "".join("\n" + following for following in lines[line.index + 1 :])
    return Case(file.package, file.path, line.index + 1, before + after, len(before), line.code[column:])


def _draw(files: Sequence[SourceFile], n_cases: int, seed: str, cut: _Cut) -> list[Case]:
    """Equally many cases of each package, as far as it has them; the packages take turns."""
    drawn: dict[str, Iterator[Case]] = {}
    for package in sorted({file.package for file in files}):
        randomness = random.Random(f"{seed} {package}")
        lines = [(file, line) for file in files if file.package == package for line in code_lines(file)]
        randomness.shuffle(lines)
        drawn[package] = _cut_all(lines, cut, randomness)
    cases: list[Case] = []
    while drawn and len(cases) < n_cases:
        for package in sorted(drawn):
            case = next(drawn[package], None)
            if case is None:
                del drawn[package]
            elif len(cases) < n_cases:
                cases.append(case)
    return cases


def _cut_all(lines: list[tuple[SourceFile, CodeLine]], cut: _Cut, randomness: random.Random) -> Iterator[Case]:
    for file, line in lines:
        if (case := cut(file, line, randomness)) is not None:
            yield case
