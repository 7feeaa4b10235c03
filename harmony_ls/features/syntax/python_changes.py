"""What an edit of Python source changed that it had to leave as it is, and which names it uses that exist nowhere.

It is run as a program of its own, like `harmony_ls.features.syntax.python_source` and for the same reasons: one
question in JSON on stdin, the answer on stdout, nothing executed, and nothing of harmony-ls imported. It judges only
what can be told for certain: where a text does not parse it finds nothing.
"""

import ast
import builtins
import json
import symtable
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

__all__ = ["fault_of_edit"]

_FAULTS = (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError)
_BYTE_ORDER_MARK = "\ufeff"

_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
_Function = ast.FunctionDef | ast.AsyncFunctionDef

# What turns a function into something that is used in another way.
_TELLING_DECORATORS = {"property", "cached_property", "staticmethod", "classmethod", "setter"}
# Calls whose results only type checkers look at.
_TYPE_MAKERS = {"TypeVar", "ParamSpec", "TypeVarTuple", "NewType"}


def fault_of_edit(old: str, new: str, kept: str, free_lines: list[list[int]], is_whole: bool) -> str | None:
    """What of ``kept`` (`harmony_ls.features.syntax.kept.Kept`) an edit did not keep, in words that go on after "The
    model's answer"; None where nothing is found.

    What is defined in one of ``free_lines`` of the old text (pairs, counted from 0, the last excluded) may go.
    ``is_whole``: the text is a program by itself, and no other cell of a notebook defines names for it.
    """
    try:
        return _fault(
            old.removeprefix(_BYTE_ORDER_MARK), new.removeprefix(_BYTE_ORDER_MARK), kept, free_lines, is_whole
        )
    except _FAULTS:
        return None


def _fault(old: str, new: str, kept: str, free_lines: list[list[int]], is_whole: bool) -> str | None:
    before, after = ast.parse(old), ast.parse(new)
    fault = _fault_of_names(before, after, free_lines)
    if fault is not None:
        return fault
    if is_whole and not _imports_all(before, after):
        unknown = sorted(_free_names(new) - _free_names(old))
        if unknown:
            return f"uses {_listed(unknown)}, which is defined nowhere"
    if kept == "all but documentation" and _program(_Undocumented(), before) != _program(_Undocumented(), after):
        return "changes more than documentation"
    if kept == "all but types":
        is_same = _imports(before) <= _imports(after) and _program(_Untyped(), before) == _program(_Untyped(), after)
        return None if is_same else "changes more than types"
    return None


def _fault_of_names(before: ast.Module, after: ast.Module, free_lines: list[list[int]]) -> str | None:
    """What is no longer there for other code, or used in another way, or there twice."""
    old, new = dict(_names(before)), dict(_names(after))
    used = {node.id for node in ast.walk(after) if isinstance(node, ast.Name)}
    used |= {node.attr for node in ast.walk(after) if isinstance(node, ast.Attribute)}
    bound = {name: node for name, node in old.items() if not _is_free(node, free_lines)}
    lost = [name for name in bound if name not in new and not (_is_private(name) and _own(name) not in used)]
    if lost:
        return f"would remove {_listed(lost)}, which other code may use"
    again = [name for name in new if name not in old and _is_again(name, new[name], old)]
    again += (_hidden(after) - _hidden(before)).elements()
    if again:
        return f"would define {_listed(sorted(set(map(_own, again))))} once more"
    both = [(name, node, new[name]) for name, node in bound.items() if name in new]
    undecorated = [name for name, one, other in both if not _decorators(one) <= _decorators(other)]
    if undecorated:
        return f"would take decorators from {_listed(undecorated)}"
    changed = [name for name, one, other in both if not _is_called_alike(one, other)]
    if changed:
        return f"would change how {_listed(changed)} is used"
    return None


def _is_again(name: str, node: ast.stmt, old: dict[str, ast.stmt]) -> bool:
    """Whether a definition is one that there is, put into or out of the class of that. Other classes may have methods
    that are called alike."""
    return any(
        _own(name) == _own(other)
        and _parameters(node) == _parameters(old[other])
        and (_scope(name).startswith(_scope(other)) or _scope(other).startswith(_scope(name)))
        for other in old
    )


def _hidden(tree: ast.Module | ast.ClassDef, prefix: str = "") -> Counter[str]:
    """The whole names that a body binds to functions or classes, counted but for the last time of each: what is hidden
    by what follows. What has decorators may well be defined piece by piece."""
    definitions = [each for each in tree.body if isinstance(each, _Definition) and not each.decorator_list]
    names = Counter(prefix + each.name for each in definitions if each.name != "_")
    hidden = names - Counter(dict.fromkeys(names, 1))
    for each in definitions:
        if isinstance(each, ast.ClassDef):
            hidden += _hidden(each, f"{prefix}{each.name}.")
    return hidden


def _names(tree: ast.Module | ast.ClassDef, prefix: str = "") -> Iterator[tuple[str, ast.stmt]]:
    """What modules and classes define for others: whole names, and the statements that do."""
    for statement in _statements(tree.body):
        if isinstance(statement, _Definition):
            yield prefix + statement.name, statement
            if isinstance(statement, ast.ClassDef):
                yield from _names(statement, f"{prefix}{statement.name}.")
        elif isinstance(statement, ast.Assign | ast.AnnAssign):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            yield from ((prefix + target.id, statement) for target in targets if isinstance(target, ast.Name))


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a body, those under conditions included."""
    for statement in body:
        yield statement
        if isinstance(statement, ast.If | ast.Try):
            for name in ("body", "orelse", "finalbody"):
                yield from _statements(getattr(statement, name, []))


def _is_free(node: ast.stmt, free_lines: list[list[int]]) -> bool:
    """Whether a definition may go or become another: one of its lines is free, but for those of its body."""
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    first = min(node.lineno, *(each.lineno for each in decorators), node.lineno) - 1
    body: list[ast.stmt] = getattr(node, "body", [])
    last = max(node.lineno, body[0].lineno - 1) if body else node.end_lineno or node.lineno
    return any(start < last and end > first for start, end in free_lines)


def _scope(name: str) -> str:
    return name[: len(name) - len(_own(name))]


def _own(name: str) -> str:
    return name.rpartition(".")[2]


def _is_private(name: str) -> bool:
    return _own(name).startswith("_") and not name.endswith("__")


def _decorators(node: ast.stmt) -> set[str]:
    return {ast.dump(each) for each in getattr(node, "decorator_list", [])}


def _parameters(node: ast.stmt) -> tuple[str, ...] | None:
    """The names of a function's parameters; None for what is no function."""
    if not isinstance(node, _Function):
        return None
    arguments = node.args
    return tuple(each.arg for each in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs))


def _is_called_alike(old: ast.stmt, new: ast.stmt) -> bool:
    if not isinstance(old, _Definition):
        return True
    if isinstance(old, ast.ClassDef) or isinstance(new, ast.ClassDef):
        return isinstance(new, ast.ClassDef) and isinstance(old, ast.ClassDef)
    if not isinstance(new, _Function):
        return True  # bound to a value that may be called as well
    if type(old) is not type(new) or _telling(old) != _telling(new):
        return False
    one, other = old.args, new.args
    positional = [each.arg for each in (*one.posonlyargs, *one.args)]
    now = [each.arg for each in (*other.posonlyargs, *other.args)]
    n_more = len(now) - len(positional)
    keywords = {each.arg for each in one.kwonlyargs}
    defaults = dict(zip((each.arg for each in other.kwonlyargs), other.kw_defaults, strict=True))
    return (
        now[: len(positional)] == positional
        and len(other.defaults) >= len(one.defaults) + n_more
        and keywords <= defaults.keys()
        and all(defaults[name] is not None for name in defaults.keys() - keywords)
        and (one.vararg is None or other.vararg is not None)
        and (one.kwarg is None or other.kwarg is not None)
    )


def _telling(function: _Function) -> set[str]:
    names = (
        each.attr if isinstance(each, ast.Attribute) else getattr(each, "id", "") for each in function.decorator_list
    )
    return _TELLING_DECORATORS.intersection(names)


def _program(transformer: ast.NodeTransformer, tree: ast.Module) -> str:
    return ast.dump(transformer.visit(tree))


class _Emptied(ast.NodeTransformer):
    """Takes statements away; a body of which nothing is left does nothing."""

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        for name in ("body", "orelse", "finalbody"):
            body = getattr(node, name, None)
            if isinstance(body, list):
                body[:] = [each for each in body if not isinstance(each, ast.Pass)]
        return node


class _Undocumented(_Emptied):
    """Takes all texts away that are statements: docstrings, and those that document what stands before them."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        is_text = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return None if is_text else self.generic_visit(node)


class _Untyped(_Emptied):
    """Takes away what type checkers alone read, and all imports."""

    def visit_Import(self, node: ast.Import) -> None:
        """Imports are compared apart."""

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        """Imports are compared apart."""

    def visit_If(self, node: ast.If) -> ast.AST | None:
        test = node.test
        name = test.attr if isinstance(test, ast.Attribute) else getattr(test, "id", "")
        return None if name == "TYPE_CHECKING" else self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return self._untyped(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return self._untyped(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        node.bases = [each for each in node.bases if not _is_generic(each)]
        return self._untyped(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        if node.value is None or ast.unparse(node.annotation).endswith("TypeAlias"):
            return None
        return self.visit(ast.Assign([node.target], node.value))  # type: ignore[no-any-return]

    def visit_Assign(self, node: ast.Assign) -> ast.AST | None:
        function = node.value.func if isinstance(node.value, ast.Call) else None
        name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
        return None if name in _TYPE_MAKERS else self.generic_visit(node)

    def visit_TypeAlias(self, node: ast.AST) -> None:
        """Python 3.12's ``type`` statement."""

    def _untyped(self, node: Any) -> ast.AST:
        if not isinstance(node, ast.ClassDef):
            node.returns = None
        if hasattr(node, "type_params"):
            node.type_params = []
        return self.generic_visit(node)


def _is_generic(base: ast.expr) -> bool:
    return isinstance(base, ast.Subscript) and ast.unparse(base.value).rpartition(".")[2] == "Generic"


def _imports(tree: ast.AST) -> set[tuple[str | None, int, str, str | None]]:
    found: set[tuple[str | None, int, str, str | None]] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {(None, 0, each.name, each.asname) for each in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {(node.module, node.level, each.name, each.asname) for each in node.names}
    return found


def _imports_all(*trees: ast.Module) -> bool:
    return any(name == "*" for tree in trees for _, _, name, _ in _imports(tree))


def _free_names(text: str) -> set[str]:
    """The names that a program looks up and that neither it nor Python defines."""
    top = symtable.symtable(text, "document", "exec")
    bound = {symbol.get_name() for symbol in top.get_symbols() if symbol.is_assigned() or symbol.is_imported()}
    used = {symbol.get_name() for symbol in top.get_symbols() if symbol.is_referenced()}
    tables = list(top.get_children())
    while tables:
        table = tables.pop()
        tables += table.get_children()
        for symbol in table.get_symbols():
            if symbol.is_declared_global() and symbol.is_assigned():
                bound.add(symbol.get_name())
            elif symbol.is_global() and symbol.is_referenced():
                used.add(symbol.get_name())
    # Names such as `__file__` are the interpreter's.
    return {name for name in used - bound - set(dir(builtins)) if name.isidentifier() and not name.startswith("__")}


def _listed(names: list[str]) -> str:
    shown = ", ".join(f"`{name}`" for name in names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"


if __name__ == "__main__":
    question = json.load(sys.stdin.buffer)
    json.dump(fault_of_edit(**question), sys.stdout)
