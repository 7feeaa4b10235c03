"""Python source, looked at by Python itself: which statements some lines belong to, and whether a text still compiles.

It is run as a program of its own (`harmony_ls.features.syntax.python`): the parser holds the interpreter's lock
for as long as it runs, and source that is nested without end can end the process. It reads one question in JSON from
stdin and writes the answer to stdout. Nothing of the source is executed, and nothing of harmony-ls is imported.
"""

import ast
import json
import re
import sys
from typing import Any

__all__ = ["definition_lines", "fault_of_change", "statement_lines"]

_FAULTS = (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError)
_LINE_END = re.compile("\r\n|\r|\n")
# Some editors keep the byte order mark in the text. Python takes it in the bytes of a file alone.
_BYTE_ORDER_MARK = "\ufeff"


def statement_lines(text: str, start: int, end: int) -> tuple[int, int]:
    """The smallest run of whole statements that holds the lines ``start`` to ``end``, counted from 0, ``end`` excluded.

    Decorators belong to their statement, and an `elif` to its `if`. Lines of no statement stay as they are, and so do
    those of a text that cannot be parsed.
    """
    text = text.removeprefix(_BYTE_ORDER_MARK)
    try:
        body: list[ast.stmt] = ast.parse(text).body
    except _FAULTS:
        return start, end
    lines = [line.encode("utf-8", "surrogatepass") for line in _LINE_END.split(text)]
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
    try:
        tree = ast.parse(text.removeprefix(_BYTE_ORDER_MARK))
    except _FAULTS:
        return False
    found: tuple[str, int, int] | None = None
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            start, end = _first(node), _last(node)
            if start <= line < end and (found is None or start >= found[1]):
                found = node.name, start, end
    return found


def fault_of_change(old: str, new: str) -> str | None:
    """What is wrong with ``new`` that was not wrong with ``old``; None where nothing is.

    A text that does not compile may still parse (a cell of a notebook that awaits), and one that does not parse may be
    meant for another version of Python: it is held to no more than it was before.
    """
    for flags in (0, ast.PyCF_ONLY_AST):
        if _fault(old, flags) is None:
            return _fault(new, flags)
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


def _fault(text: str, flags: int) -> str | None:
    try:
        compile(text.removeprefix(_BYTE_ORDER_MARK), "document", "exec", flags=flags, dont_inherit=True)
    except SyntaxError as error:
        return f"line {error.lineno}: {error.msg}"
    except _FAULTS as error:
        return type(error).__name__
    return None


def _answer(question: dict[str, Any]) -> Any:
    if "new" in question:
        return fault_of_change(question["old"], question["new"])
    if "line" in question:
        return definition_lines(question["text"], question["line"])
    return statement_lines(question["text"], question["start"], question["end"])


if __name__ == "__main__":
    json.dump(_answer(json.load(sys.stdin.buffer)), sys.stdout)
