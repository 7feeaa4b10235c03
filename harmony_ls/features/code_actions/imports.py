"""Imports that an answer begins with, and where a document has its own: much that is wrong is a name not imported.

Read by lines, for languages whose imports may stand among others in any order. Nothing is parsed here; what an import
would break is found out with the whole edit.
"""

import re
from collections.abc import Iterable, Iterator, Sequence

from harmony_ls.edits.changes import LineEdit

__all__ = ["Import", "import_edits", "split_imports", "without_imports"]

Import = tuple[str, ...]
"""The lines of one import."""

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
_NO_CODE = ("#", "/", "*", " ", "\t", ")", "]", "}", "@file:")
# What has to stand above all imports.
_FIRST = ("#!", "///", "//!", "'use", '"use', "package ")
_COMMENTS = ("//", "/*", "*", " *", "#!")
_CODING = re.compile(r"#.*coding[:=]")
_FROM = re.compile(r"(from\s+[\w.]+\s+import)\s+\(?\s*(.+?),?\s*\)?")
_PLAIN = re.compile(r"(import)\s+(.+)")
_FUTURE = "from __future__ import"


def split_imports(code: Sequence[str], region: Sequence[str], language: str) -> tuple[list[Import], list[str]]:
    """The imports that code begins with, and the rest of it; none where they belong to the region itself.

    Only whole imports at the margin are taken, so that the rest is what it was without them.
    """
    pattern = _IMPORTS.get(language)
    first = next((line for line in region if line.strip()), "")
    if pattern is None or pattern.fullmatch(first):
        return [], list(code)
    imports: list[Import] = []
    number = 0
    while number < len(code):
        after = _end_of_import(code, number, pattern)
        if after is not None:
            imports.append(tuple(line.rstrip() for line in code[number:after]))
            number = after
        elif code[number].strip():
            return imports, list(code[number:])
        else:
            number += 1
    return [], list(code)


def without_imports(lines: Sequence[str], language: str) -> list[str]:
    """The lines with blank ones in place of imports."""
    pattern = _IMPORTS.get(language)
    kept = list(lines)
    if pattern is not None:
        for start, after in _imports_in(lines, pattern):
            kept[start:after] = [""] * (after - start)
    return kept


def import_edits(lines: Sequence[str], start: int, imports: Sequence[Import], language: str) -> tuple[LineEdit, ...]:
    """The edits that add imports to a document, above its line ``start``; none for those that it has."""
    pattern = _IMPORTS.get(language)
    if pattern is None:
        return ()
    head = min(_end_of_head(lines, language), start)
    present = list(_imports_at_top(lines[:start], head, pattern))
    known = {name for first, after in present for name in _names(lines[first:after])}
    new = [each for each in dict.fromkeys(imports) if not known.issuperset(_names(each))]
    future = [each for each in new if _is_future(each)]
    others = [each for each in new if not _is_future(each)]
    futures_end = max((after for first, after in present if _is_future(lines[first:after])), default=None)
    end = max((after for _, after in present), default=None)
    edits: list[LineEdit] = []
    if future:
        place = head if futures_end is None else futures_end
        edits.append(_edit(lines, place, future, is_among=futures_end is not None))
    if others:
        is_among = end is not None and end != futures_end
        place = head if end is None else end
        if edits and edits[0].start == place:
            return (_edit(lines, place, [*future, ("",), *others], is_among=futures_end is not None),)
        edits.append(_edit(lines, place, others, is_among=is_among))
    return tuple(edits)


def _edit(lines: Sequence[str], place: int, imports: Iterable[Import], *, is_among: bool) -> LineEdit:
    """Imports put in at a line, with blank lines around them where no other imports are."""
    before = ("",) if not is_among and place > 0 and lines[place - 1].strip() else ()
    after = ("",) if not is_among and place < len(lines) and lines[place].strip() else ()
    return LineEdit(place, place, (*before, *(line for each in imports for line in each), *after))


def _imports_at_top(above: Sequence[str], head: int, pattern: re.Pattern[str]) -> Iterator[tuple[int, int]]:
    """The imports before any code, each as its lines: what looks like one further down may be text."""
    number = head
    while number < len(above):
        after = _end_of_import(above, number, pattern)
        if after is not None:
            yield number, after
        elif above[number].strip() and not above[number].startswith((*_NO_CODE, *_FIRST)):
            return
        number = after or number + 1


def _imports_in(lines: Sequence[str], pattern: re.Pattern[str]) -> Iterator[tuple[int, int]]:
    number = 0
    while number < len(lines):
        after = _end_of_import(lines, number, pattern)
        if after is not None:
            yield number, after
        number = after or number + 1


def _end_of_import(lines: Sequence[str], number: int, pattern: re.Pattern[str]) -> int | None:
    """The line after the import that begins in a line and may go on over several; None where there is none."""
    if not pattern.fullmatch(lines[number]):
        return None
    n_open = 0
    for after in range(number, len(lines)):
        n_open += _n_open(lines[after])
        if n_open <= 0 and not lines[after].endswith("\\"):
            return after + 1
    return None


def _n_open(line: str) -> int:
    return sum(line.count(opener) for opener in _OPENERS) - sum(line.count(closer) for closer in _CLOSERS)


def _names(lines: Sequence[str]) -> frozenset[str]:
    """What tells an import from others: the names that one of Python's brings, one by one; else its text."""
    text = " ".join(" ".join(line.partition("#")[0].rstrip(" \\").strip() for line in lines).split())
    match = _FROM.fullmatch(text) or _PLAIN.fullmatch(text)
    if match is None or any(sign in text for sign in ";{'\""):
        return frozenset({text})
    return frozenset(f"{match[1]} {name.strip()}" for name in match[2].split(","))


def _is_future(lines: Sequence[str]) -> bool:
    return " ".join(lines[0].split()).startswith(_FUTURE)


def _end_of_head(lines: Sequence[str], language: str) -> int:
    """The line after what a file begins with before its imports: a comment about all of it, directives, its docstring.

    A comment that code follows at once is about that code.
    """
    marks = ("#",) if language == "python" else _COMMENTS
    n_comment = next((n for n, line in enumerate(lines) if not line.startswith(marks)), len(lines))
    is_about_all = n_comment == len(lines) or not lines[n_comment].strip()
    head = n_comment if is_about_all else 0
    for number, line in enumerate(lines):
        if line.startswith(_FIRST) or (number < 2 and _CODING.match(line)):
            head = max(head, number + 1)
        elif line.strip() and not line.startswith(marks):
            return max(head, _end_of_docstring(lines, number)) if language == "python" else head
    return head


def _end_of_docstring(lines: Sequence[str], number: int) -> int:
    """The line after a text that begins in a line, 0 for none."""
    text = lines[number].lstrip("rRuU")
    quote = next((quote for quote in (*_LONG_QUOTES, '"', "'") if text.startswith(quote)), None)
    if quote is None:
        return 0
    if quote in text[len(quote) :]:
        return number + 1
    if quote not in _LONG_QUOTES:
        return 0
    return next((n + 1 for n in range(number + 1, len(lines)) if quote in lines[n]), 0)
