"""Source, looked at by Python's own parsers: which statements some lines belong to, and whether a text still parses.

Python is compiled; JSON and TOML are read by the standard library.

It is run as a program of its own (`harmony_ls.features.syntax.python`): the parser holds the interpreter's lock
for as long as it runs, and source that is nested without end can end the process. It reads one question in JSON from
stdin and writes the answer to stdout. Nothing of the source is executed, and nothing of harmony-ls is imported.
"""

import ast
import json
import re
import sys
import tomllib
from collections.abc import Callable
from functools import partial
from typing import Any

__all__ = ["definition_lines", "fault_of_change", "lines_to_mend", "statement_lines"]

_FAULTS = (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError)
_LINE_END = re.compile("\r\n|\r|\n")
# Some editors keep the byte order mark in the text. Python takes it in the bytes of a file alone.
_BYTE_ORDER_MARK = "\ufeff"


def statement_lines(text: str, start: int, end: int) -> tuple[int, int]:
    """The smallest run of whole statements that holds the lines ``start`` to ``end``, counted from 0, ``end`` excluded.

    Decorators belong to their statement, and an `elif` to its `if`. Lines of no statement stay as they are, and so do
    those of a text that cannot be parsed.
    """
    tree = _parsed(text)
    return (start, end) if tree is None else _statement_lines(tree, _lines_of(text), start, end)


def lines_to_mend(text: str, places: list[tuple[int, int]], longest: int) -> list[tuple[int, int]] | None:
    """The runs of whole statements that hold some places, each given by its lines: ordered, apart from each other.

    Each is the definition around its places, or, where that has more lines than ``longest``, the statements. Places
    that ``longest`` lines hold come in one run. None where the text cannot be parsed.
    """
    tree = _parsed(text)
    if tree is None:
        return None
    lines = _lines_of(text)
    runs: list[tuple[int, int]] = []
    for start, end in sorted(places):
        found = _definition(tree, start)
        is_short = found is not None and found[2] >= end and found[2] - found[1] <= longest
        run = found[1:] if found is not None and is_short else _statement_lines(tree, lines, start, end)
        while runs:
            last = runs[-1]
            both = _statement_lines(tree, lines, min(last[0], run[0]), max(last[1], run[1]))
            if last[1] <= run[0] and both[1] - both[0] > longest:
                break
            run = both
            runs.pop()
        runs.append(run)
    return runs


def _statement_lines(tree: ast.Module, lines: list[bytes], start: int, end: int) -> tuple[int, int]:
    body: list[ast.stmt] = tree.body
    around: tuple[int, int] | None = None
    while True:
        touched = [statement for statement in body if _first(statement) < end and _last(statement) > start]
        if not touched:
            return start, end
        inner = _body_around(touched[0], lines, start, end) if len(touched) == 1 else None
        if inner is None:
            return around or (min(start, _first(touched[0])), max(end, _last(touched[-1])))
        if not _text_from(inner[0], lines).startswith(b"elif"):
            around = None
        elif around is None:
            around = _first(touched[0]), _last(touched[0])
        body = inner


def definition_lines(text: str, line: int) -> tuple[str, int, int] | bool | None:
    """The innermost function or class around a line: its name and its lines, counted from 0, the last excluded.

    None where there is none, False where the text cannot be parsed.
    """
    tree = _parsed(text)
    return False if tree is None else _definition(tree, line)


def _definition(tree: ast.Module, line: int) -> tuple[str, int, int] | None:
    found: tuple[str, int, int] | None = None
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            start, end = _first(node), _last(node)
            if start <= line < end and (found is None or start >= found[1]):
                found = node.name, start, end
    return found


def _parsed(text: str) -> ast.Module | None:
    try:
        return ast.parse(text.removeprefix(_BYTE_ORDER_MARK))
    except _FAULTS:
        return None


def _lines_of(text: str) -> list[bytes]:
    """The lines as the places of statements count in them."""
    return [line.encode("utf-8", "surrogatepass") for line in _LINE_END.split(text.removeprefix(_BYTE_ORDER_MARK))]


def fault_of_change(old: str, new: str, language: str = "python") -> str | None:
    """What is wrong with ``new`` that was not wrong with ``old``; None where nothing is, or the language is not known.

    A text that does not compile may still parse (a cell of a notebook that awaits), and one that does not parse may be
    meant for another version of Python: it is held to no more than it was before.
    """
    for fault_of in _PARSERS.get(language, ()):
        if fault_of(old.removeprefix(_BYTE_ORDER_MARK)) is None:
            return fault_of(new.removeprefix(_BYTE_ORDER_MARK))
    return None


def _body_around(statement: ast.stmt, lines: list[bytes], start: int, end: int) -> list[ast.stmt] | None:
    """The body inside a statement that holds all the lines, if it has them for itself."""
    branches: list[Any] = [statement, *getattr(statement, "handlers", ()), *getattr(statement, "cases", ())]
    for branch in branches:
        for name in ("body", "orelse", "finalbody"):
            inner = getattr(branch, name, None)
            if not isinstance(inner, list) or not inner:
                continue
            if _first(inner[0]) <= start and end <= _last(inner[-1]) and _begins_line(inner[0], lines):
                return inner
    return None


def _begins_line(statement: ast.stmt, lines: list[bytes]) -> bool:
    """Whether nothing stands before a statement in its line, such as `else:`."""
    return not lines[statement.lineno - 1][: statement.col_offset].strip()


def _text_from(statement: ast.stmt, lines: list[bytes]) -> bytes:
    return lines[statement.lineno - 1][statement.col_offset :]


def _first(statement: ast.stmt) -> int:
    decorators: list[ast.expr] = getattr(statement, "decorator_list", [])
    return min(statement.lineno, *(each.lineno for each in decorators), statement.lineno) - 1


def _last(statement: ast.stmt) -> int:
    return statement.end_lineno or statement.lineno


def _compile_fault(flags: int, text: str) -> str | None:
    try:
        compile(text, "document", "exec", flags=flags, dont_inherit=True)
    except SyntaxError as error:
        return f"line {error.lineno}: {error.msg}"
    except _FAULTS as error:
        return type(error).__name__
    return None


def _data_fault(read: Callable[[str], Any], text: str) -> str | None:
    try:
        read(text)
    except json.JSONDecodeError as error:
        return f"line {error.lineno}: {error.msg}"
    except _FAULTS as error:
        return str(error) or type(error).__name__
    return None


_PARSERS: dict[str, tuple[Callable[[str], str | None], ...]] = {
    "python": (partial(_compile_fault, 0), partial(_compile_fault, ast.PyCF_ONLY_AST)),
    "json": (partial(_data_fault, json.loads),),
    "toml": (partial(_data_fault, tomllib.loads),),
}


def _answer(question: dict[str, Any]) -> Any:
    if "new" in question:
        return fault_of_change(question["old"], question["new"], question["language"])
    if "line" in question:
        return definition_lines(question["text"], question["line"])
    if "places" in question:
        return lines_to_mend(question["text"], question["places"], question["longest"])
    return statement_lines(question["text"], question["start"], question["end"])


if __name__ == "__main__":
    json.dump(_answer(json.load(sys.stdin.buffer)), sys.stdout)
