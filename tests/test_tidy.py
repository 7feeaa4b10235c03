"""What a reviewer would say again and again, said once."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("harmony_ls", "tests", "fixtures", "editors", ".ci", ".github")
TEXT_SUFFIXES = {".py", ".md", ".toml", ".lua", ".js", ".ts", ".yml", ".yaml", ".sh", ".html", ".css", ""}
MAX_LINES = 400


def text_files() -> Iterator[Path]:
    yield from (path for path in ROOT.iterdir() if path.suffix in {".md", ".toml"} or path.name == ".gitignore")
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*")):
            hidden = {"__pycache__", "node_modules", ".venv"} & set(path.parts)
            if path.is_file() and path.suffix in TEXT_SUFFIXES and not hidden:
                yield path


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


MODULES = [path for path in text_files() if path.suffix == ".py"]


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_modules(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    tree = ast.parse(source)
    assert ast.get_docstring(tree), "the module docstring is missing: what is it for, what does it not do?"
    assert len(source.splitlines()) <= MAX_LINES, f"longer than {MAX_LINES} lines: split it by what it does"
    missing = exported(tree) - defined(tree)
    assert not missing, f"__all__ names what the module does not define: {missing}"


def exported(tree: ast.Module) -> set[str]:
    """The names in ``__all__``."""
    for statement in tree.body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "__all__":
            return set(ast.literal_eval(statement.value))
    return set()


def defined(tree: ast.Module) -> set[str]:
    """The names that a module binds at its top level."""
    names: set[str] = set()
    for statement in tree.body:
        match statement:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                names.add(statement.name)
            case ast.Import() | ast.ImportFrom():
                names |= {alias.asname or alias.name.partition(".")[0] for alias in statement.names}
            case ast.If():  # what is imported for type checkers alone
                names |= defined(ast.Module([*statement.body, *statement.orelse], []))
            case _:
                names |= {node.id for node in ast.walk(statement) if isinstance(node, ast.Name)}
    return names


# Put together from pieces, so that this file does not hold what it forbids.
FORBIDDEN = {
    "an open end; finish it or file an issue": re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X)\b"),
    "the host of a package registry": re.compile(r"(py" + r"pi\.org|python" + r"hosted\.org|registry\.npm" + r"js)"),
    "a path of somebody's machine": re.compile(r"(/ro" + r"ot/|/wo" + r"rk/|/(home|Users)/(?!me\b|you\b|user\b)\w)"),
}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_texts_are_free_of(what: str) -> None:
    pattern = FORBIDDEN[what]
    found = [
        f"{name(path)}:{number}: {line.strip()[:100]}"
        for path in text_files()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if pattern.search(line)
    ]
    assert not found, "\n".join([f"{what}:", *found])


def test_files_end_in_one_newline() -> None:
    wrong = [name(path) for path in text_files() if not re.search(r"(^|[^\n])\n$", path.read_text(encoding="utf-8"))]
    assert wrong == []


@pytest.mark.parametrize("command", ["uv run harmony-ls demo", "uv run --extra dev pytest"])
def test_ci_runs_the_commands_of_the_readme(command: str) -> None:
    assert f"pip install uv && {command}" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert command in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
