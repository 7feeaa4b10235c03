"""The function, class or block that a place in a text belongs to.

Python is parsed; other languages, and Python that does not parse, are read by their indentation, which is how people
see blocks too.
"""

from dataclasses import dataclass

from harmony_ls.features.line_ends import with_plain_line_ends
from harmony_ls.features.syntax.python import definition_at

__all__ = ["Symbol", "symbol_at"]


@dataclass(frozen=True, slots=True)
class Symbol:
    """What was found: its first line as a ``name`` where it has none, and the lines from ``start`` up to ``end``,
    counted from 0."""

    name: str
    start: int
    end: int


async def symbol_at(text: str, line: int, language: str) -> Symbol | None:
    """The innermost definition around a line (from 0), decorators included; None on top of everything."""
    lines = with_plain_line_ends(text).split("\n")
    if not 0 <= line < len(lines):
        return None
    if language == "python":
        found = await definition_at(text, line)
        if found is None or isinstance(found, tuple):
            return None if found is None else Symbol(*found)
    return _block(lines, line)


def _block(lines: list[str], line: int) -> Symbol | None:
    """The nearest line above that is indented less, with all that is indented more than it."""
    here = next((i for i in range(line, -1, -1) if lines[i].strip()), None)
    if here is None:
        return None
    indentation = _indentation(lines[here])
    has_body = here + 1 < len(lines) and _next_indentation(lines, here + 1) > indentation
    start = here if has_body else next((i for i in range(here, -1, -1) if _is_less(lines[i], indentation)), None)
    if start is None:
        return None
    limit = _indentation(lines[start])
    end = start + 1
    while end < len(lines) and (not lines[end].strip() or _indentation(lines[end]) > limit):
        end += 1
    # A closing bracket stands where its opening line does.
    if end < len(lines) and _indentation(lines[end]) == limit and lines[end].strip()[:1] in tuple(")}]"):
        end += 1
    while end > start + 1 and not lines[end - 1].strip():
        end -= 1
    return Symbol(lines[start].strip(), start, end)


def _is_less(line: str, indentation: int) -> bool:
    return bool(line.strip()) and _indentation(line) < indentation


def _next_indentation(lines: list[str], start: int) -> int:
    return next((_indentation(line) for line in lines[start:] if line.strip()), 0)


def _indentation(line: str) -> int:
    return len(line.expandtabs(4)) - len(line.expandtabs(4).lstrip())
