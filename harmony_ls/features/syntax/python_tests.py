"""Whether Python that is added to a file of tests holds a test, and tests the code that is there and no copy of it.

It is run as a program of its own, like `harmony_ls.features.syntax.python_source` and for the same reasons: one
question in JSON on stdin, the answer on stdout, nothing executed, and nothing of harmony-ls imported. What counts as a
test is what pytest and unittest collect unless a project tells them otherwise.
"""

import ast
import json
import sys
from collections.abc import Iterator

__all__ = ["fault_of_tests"]

_FAULTS = (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError)
_BYTE_ORDER_MARK = "\ufeff"

_Function = ast.FunctionDef | ast.AsyncFunctionDef


def fault_of_tests(written: str, tests: str, code: str) -> str | None:
    """What is wrong with ``written`` for ``tests``, the text of their file so far, in words that go on after "The
    model's answer"; None where nothing is found. ``code`` is the document that is to be tested.

    A file whose own tests are called otherwise is of a project with rules of its own: anything may be a test there.
    """
    new = _parsed(written)
    if new is None:
        return None
    old = _parsed(tests)
    has_usual_names = old is not None and (not old.body or _has_test(old.body))
    if has_usual_names and not _has_test(new.body):
        return "holds no test that would be run"
    document = _parsed(code)
    there = set() if document is None else set(_definitions(document))
    copied = list(dict.fromkeys(name for name, parameters in _definitions(new) if (name, parameters) in there))
    if copied:
        return f"tests a copy of {', '.join(f'`{name}`' for name in copied[:3])} instead of what the document defines"
    return None


def _parsed(text: str) -> ast.Module | None:
    try:
        return ast.parse(text.removeprefix(_BYTE_ORDER_MARK))
    except _FAULTS:
        return None


def _has_test(body: list[ast.stmt]) -> bool:
    return any(map(_is_test, _statements(body)))


def _is_test(statement: ast.stmt) -> bool:
    match statement:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
            return name.startswith("test") and _does_something(statement)
        case ast.ClassDef(name=name, bases=bases, body=body):
            # Other classes than those of unittest may bring tests along.
            inherits = any(not ast.unparse(base).endswith(("TestCase", "object")) for base in bases)
            return (bool(bases) or name.startswith("Test")) and (inherits or _has_test(body) or _has_run_test(body))
        case ast.Assign(targets=[ast.Name(id=name)], value=ast.Attribute(attr="TestCase")):
            return name.startswith("Test")  # hypothesis makes one of a state machine
        case _:
            return False


def _has_run_test(body: list[ast.stmt]) -> bool:
    return any(isinstance(each, _Function) and each.name == "runTest" and _does_something(each) for each in body)


def _does_something(function: _Function) -> bool:
    """Whether a function has more in it than a text and a place for code."""
    return any(
        not isinstance(each, ast.Pass) and not (isinstance(each, ast.Expr) and isinstance(each.value, ast.Constant))
        for each in function.body
    )


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a body, those under conditions included."""
    for statement in body:
        yield statement
        if isinstance(statement, ast.If | ast.Try):
            yield from _statements([*statement.body, *statement.orelse])


def _definitions(tree: ast.Module) -> Iterator[tuple[str, tuple[str, ...] | None]]:
    """What a module defines: names, and of functions those of their parameters. Fixtures and the like have decorators,
    and may be called like what they give."""
    for statement in _statements(tree.body):
        if isinstance(statement, ast.ClassDef):
            yield statement.name, None
        elif isinstance(statement, _Function) and not statement.decorator_list:
            yield statement.name, tuple(node.arg for node in ast.walk(statement.args) if isinstance(node, ast.arg))


if __name__ == "__main__":
    question = json.load(sys.stdin.buffer)
    json.dump(fault_of_tests(**question), sys.stdout)
