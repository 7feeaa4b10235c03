"""Imports that an answer begins with, and where a document has its own: much that is wrong is a name not imported.

Read by lines, for languages whose imports fit one and may stand among others in any order. Nothing is parsed here.
"""

import re
from collections.abc import Sequence

from harmony_ls.edits.changes import LineEdit

__all__ = ["import_edit", "split_imports", "without_imports"]

_PYTHON = re.compile(r"(?:import\s+[\w.]+|from\s+[\w.]+\s+import\s+[(\w*]).*")
_SCRIPT = re.compile(r"import\b[^(]*")
_JAVA = re.compile(r"import\s+[\w.*]+(?:\s+as\s+\w+)?\s*;?\s*|import\s+static\s+[\w.*]+\s*;\s*")
_RUST = re.compile(r"use\s+[^;]+;?\s*")
_IMPORTS = {
    "python": _PYTHON,
    "javascript": _SCRIPT,
    "javascriptreact": _SCRIPT,
    "typescript": _SCRIPT,
    "typescriptreact": _SCRIPT,
    "java": _JAVA,
    "kotlin": _JAVA,
    "rust": _RUST,
}
_OPENERS, _CLOSERS = "([{", ")]}"
_LONG_QUOTES = ('"""', "'''")
# What lines begin with that may stand among imports: comments, directives, what continues the line before.
_NO_CODE = ("#", "/", "*", " ", "\t", ")", "]", "}", "'use", '"use')


def split_imports(code: Sequence[str], region: Sequence[str], language: str) -> tuple[list[str], list[str]]:
    """The imports that code begins with, and the rest of it; none where they belong to the region itself.

    Only whole imports of one line at the margin are taken, so that the rest is what it was without them.
    """
    pattern = _IMPORTS.get(language)
    first = next((line for line in region if line.strip()), "")
    if pattern is None or pattern.fullmatch(first):
        return [], list(code)
    imports: list[str] = []
    for number, line in enumerate(code):
        if pattern.fullmatch(line) and _n_open(line) == 0:
            imports.append(line.rstrip())
        elif line.strip():
            return imports, list(code[number:])
    return [], list(code)


def without_imports(lines: Sequence[str], language: str) -> list[str]:
    """The lines with blank ones in place of imports."""
    pattern = _IMPORTS.get(language)
    return [line if pattern is None or not pattern.fullmatch(line) else "" for line in lines]


def import_edit(lines: Sequence[str], start: int, imports: Sequence[str], language: str) -> LineEdit | None:
    """The edit that adds imports to a document, above its line ``start``; None where it has them all."""
    pattern = _IMPORTS.get(language)
    above = lines[:start]
    known = {line.rstrip() for line in above}
    new = tuple(line for line in dict.fromkeys(imports) if line not in known)
    if pattern is None or not new:
        return None
    after, is_among_imports = _place(above, pattern, language)
    gap = ("",) if not is_among_imports and after < len(lines) and lines[after].strip() else ()
    return LineEdit(after, after, (*new, *gap))


def _place(above: Sequence[str], pattern: re.Pattern[str], language: str) -> tuple[int, bool]:
    """The line where an import goes, and whether others are before it: what looks like one further down may be text."""
    after, is_among_imports = _end_of_head(above) if language == "python" else 0, False
    for number in range(after, len(above)):
        if pattern.fullmatch(above[number]):
            after, is_among_imports = _end_of(above, number), True
        elif above[number].startswith("package "):
            after = number + 1
        elif above[number].strip() and not above[number].startswith(_NO_CODE):
            break
    return after, is_among_imports


def _end_of(lines: Sequence[str], number: int) -> int:
    """The line after an import that may go on over several lines."""
    n_open = 0
    for after in range(number, len(lines)):
        n_open += _n_open(lines[after])
        if n_open <= 0 and not lines[after].endswith("\\"):
            return after + 1
    return len(lines)


def _n_open(line: str) -> int:
    return sum(line.count(opener) for opener in _OPENERS) - sum(line.count(closer) for closer in _CLOSERS)


def _end_of_head(lines: Sequence[str]) -> int:
    """The line after the comments and the docstring that a Python file begins with."""
    number = 0
    while number < len(lines) and lines[number].startswith("#"):
        number += 1
    first = next((n for n in range(number, len(lines)) if lines[n].strip()), None)
    if first is None:
        return number
    text = lines[first].lstrip("rRuU")
    quote = next((quote for quote in _LONG_QUOTES if text.startswith(quote)), None)
    if quote is None:
        return number
    if quote in text[len(quote) :]:
        return first + 1
    return next((n + 1 for n in range(first + 1, len(lines)) if quote in lines[n]), number)
