"""The function, class or block that a place in a text belongs to.

Python is parsed; other languages, and Python that does not parse, are read by their indentation, which is how people
see blocks too.
"""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass

from harmony_ls.features.line_ends import with_plain_line_ends
from harmony_ls.features.syntax.python import definition_at

__all__ = ["Symbol", "block_at", "symbol_at"]

_CLOSERS = (")", "}", "]")
# What goes on with the block that ends where it begins.
_CONTINUES = re.compile(r"(?:[)}\]]+\s*)?(?:else|elif|elsif|elseif|except|catch|finally|rescue|ensure|then)\b|[)}\]{]")
_ENDS = re.compile(r"(?:end|fi|done|esac)\b")
# Blocks inside a function that are no thing of their own.
_CONTROL = re.compile(
    r"(?:[)}\]]+\s*)?(?:if|else|elif|elsif|elseif|for|foreach|while|until|unless|switch|match|case|default|when|try|catch"
    r"|except|finally|rescue|ensure|do|loop|with|using|lock|synchronized|select|guard|begin|then|unsafe|return)\b|{"
)
# Where the words above are names like others.
_DATA_LANGUAGES = frozenset({"yaml", "dockercompose", "json", "jsonc", "toml", "markdown", "plaintext", "css", "scss"})


@dataclass(frozen=True, slots=True)
class Symbol:
    """What was found: its first line as a ``name`` where it has none, and the lines from ``start`` up to ``end``,
    counted from 0."""

    name: str
    start: int
    end: int


async def symbol_at(text: str, line: int, language: str) -> Symbol | None:
    """The innermost definition around a line (from 0), decorators included; None on top of everything.

    Where nothing looks like a definition, it is the outermost block.
    """
    lines = with_plain_line_ends(text).split("\n")
    if not 0 <= line < len(lines):
        return None
    if language == "python":
        found = await definition_at(text, line)
        if found is None or isinstance(found, tuple):
            return None if found is None else Symbol(*found)
    return await asyncio.to_thread(block_at, lines, line, language)


def block_at(lines: Sequence[str], line: int, language: str) -> Symbol | None:
    """What `symbol_at` finds around one of the lines of a text that is not parsed. It may take a while."""
    here = next((n for n in range(line, -1, -1) if lines[n].strip()), None)
    if here is None:
        return None
    start: int | None = _head(lines, here)
    if start == here and not _has_body(lines, here):
        start = _above(lines, here)
    found: int | None = None
    while start is not None:
        found = start
        if language in _DATA_LANGUAGES or not _CONTROL.match(lines[start].strip()):
            break
        start = _above(lines, start)
    if found is None:
        return None
    end = _end(lines, found)
    first = found
    while first > 0 and _is_decorator(lines[first - 1], _indentation(lines[found])):
        first -= 1
    return Symbol(lines[found].strip(), first, end) if line < end else None


def _above(lines: Sequence[str], line: int) -> int | None:
    """The first line of the block that a line stands in."""
    indentation = _indentation(lines[line])
    over = next((n for n in range(line, -1, -1) if lines[n].strip() and _indentation(lines[n]) < indentation), None)
    return None if over is None else _head(lines, over)


def _head(lines: Sequence[str], line: int) -> int:
    """The first line of the block that a line goes on with or ends, such as an `else` or a bracket; else the line."""
    indentation = _indentation(lines[line])
    while _CONTINUES.match(lines[line].strip()) or _ENDS.match(lines[line].strip()):
        before = line - 1
        while before >= 0 and (not lines[before].strip() or _indentation(lines[before]) > indentation):
            before -= 1
        if before < 0 or _indentation(lines[before]) < indentation:
            break
        line = before
    return line


def _end(lines: Sequence[str], start: int) -> int:
    """The line after the block that begins in a line: a closing bracket stands where its first line does."""
    limit = _indentation(lines[start])
    end = start + 1
    while end < len(lines):
        if not lines[end].strip() or _indentation(lines[end]) > limit:
            end += 1
        elif _indentation(lines[end]) == limit and _CONTINUES.match(lines[end].strip()):
            is_last = lines[end].strip().startswith(_CLOSERS) and not _has_body(lines, end)
            end += 1
            after = _next_line(lines, end)
            if is_last and not (_indentation(after) == limit and _CONTINUES.match(after.strip())):
                break
        else:
            end += _indentation(lines[end]) == limit and _ENDS.match(lines[end].strip()) is not None
            break
    while end > start + 1 and not lines[end - 1].strip():
        end -= 1
    return end


def _has_body(lines: Sequence[str], line: int) -> bool:
    after = _next_line(lines, line + 1)
    return bool(after.strip()) and _indentation(after) > _indentation(lines[line])


def _next_line(lines: Sequence[str], start: int) -> str:
    """The first line from ``start`` on that is not blank."""
    return next((lines[n] for n in range(start, len(lines)) if lines[n].strip()), "")


def _is_decorator(line: str, indentation: int) -> bool:
    return _indentation(line) == indentation and line.strip().startswith(("@", "#["))


def _indentation(line: str) -> int:
    return len(line.expandtabs(4)) - len(line.expandtabs(4).lstrip())
