"""Where the tests of a file are: by the usual names of its language, among the files of the workspace.

Nothing is read here; what files there are is told.
"""

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

__all__ = ["LANGUAGES", "has_test_files", "is_test_file", "path_of_tests"]

_PYTHON = ("test_{}.py", "{}_test.py")
_SCRIPT = ("{}.test{}", "{}.spec{}")
# Names of the tests of a file called {} (and its ending, where the language has several), the usual one first.
_NAMES = {
    "python": _PYTHON,
    "javascript": _SCRIPT,
    "javascriptreact": _SCRIPT,
    "typescript": _SCRIPT,
    "typescriptreact": _SCRIPT,
    "go": ("{}_test.go",),
    "java": ("{}Test.java", "{}Tests.java"),
    "kotlin": ("{}Test.kt",),
    "ruby": ("{}_spec.rb", "{}_test.rb", "test_{}.rb"),
    "php": ("{}Test.php",),
    "elixir": ("{}_test.exs",),
}
LANGUAGES = frozenset(_NAMES)
"""The languages, by their LSP ids, whose files of tests are found."""

_FOLDERS = ("tests", "test", "spec", "__tests__")
_BESIDE = frozenset({"go", "javascript", "javascriptreact", "typescript", "typescriptreact"})


def has_test_files(language: str) -> bool:
    """Whether it is known how the files of tests are named in a language."""
    return language in LANGUAGES


def is_test_file(path: str, language: str) -> bool:
    """Whether a file holds tests itself."""
    name = PurePosixPath(path.replace("\\", "/")).name
    return any(re.fullmatch(re.escape(form).replace(r"\{\}", ".*"), name) for form in _NAMES.get(language, ()))


def path_of_tests(path: str, language: str, files: Sequence[str]) -> tuple[str, bool]:
    """The file for the tests of ``path``, and whether it exists among ``files``. All are relative, with ``/``.

    Of several that exist the one is taken whose folders are most like those of the file. A new one goes where the tests
    of the workspace are, into folders like those of the file, and beside it where that is usual or there are none.
    """
    file = PurePosixPath(path)
    names = [form.format(file.stem, file.suffix) for form in _NAMES[language]]
    existing = [each for each in map(PurePosixPath, files) if each.name in names]
    if existing:
        best = max(existing, key=lambda each: (_likeness(each, file), -len(each.parts)))
        return str(best), True
    folder = _tests_folder(file, files)
    if language in _BESIDE or folder is None:
        return str(file.with_name(names[0])), False
    return str(folder.joinpath(*_mirrored(file, folder.parent), names[0])), False


def _tests_folder(file: PurePosixPath, files: Sequence[str]) -> PurePosixPath | None:
    """The nearest folder of tests: in a folder that the file lies below, from the inside out."""
    folders = {parent for each in files for parent in PurePosixPath(each).parents}
    for parent in file.parents:
        for name in _FOLDERS:
            if parent / name in folders:
                return parent / name
    return None


def _mirrored(file: PurePosixPath, project: PurePosixPath) -> tuple[str, ...]:
    """The folders of a file inside its package: tests leave out what only leads to it."""
    parts = file.relative_to(project).parts[:-1]
    if "src" in parts:
        parts = parts[parts.index("src") + 1 :]
    return parts[1:]


def _likeness(one: PurePosixPath, other: PurePosixPath) -> int:
    return len(set(one.parts[:-1]) & set(other.parts[:-1]))
