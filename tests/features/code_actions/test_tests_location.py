"""Where the tests of a file are, and where new ones go."""

import pytest

from harmony_ls.features.code_actions.tests_location import has_test_files, is_test_file, path_of_tests

FILES = [
    "shop/__init__.py",
    "shop/prices.py",
    "shop/web/forms.py",
    "shop/admin/forms.py",
    "tests/web/test_forms.py",
    "tests/admin/test_forms.py",
    "docs/index.md",
]


@pytest.mark.parametrize(
    ("path", "language", "files", "expected"),
    [
        ("shop/web/forms.py", "python", FILES, ("tests/web/test_forms.py", True)),
        ("shop/admin/forms.py", "python", FILES, ("tests/admin/test_forms.py", True)),
        ("shop/prices.py", "python", FILES, ("tests/test_prices.py", False)),
        ("shop/web/views.py", "python", FILES, ("tests/web/test_views.py", False)),
        ("src/shop/web/views.py", "python", ["tests/test_a.py"], ("tests/web/test_views.py", False)),
        ("libs/a/src/pkg/x.py", "python", ["libs/a/tests/test_y.py", "tests/z.py"], ("libs/a/tests/test_x.py", False)),
        ("prices.py", "python", ["prices.py"], ("test_prices.py", False)),
        ("lib/sum.ts", "typescript", ["lib/sum.spec.ts"], ("lib/sum.spec.ts", True)),
        ("lib/sum.tsx", "typescriptreact", ["test/a.ts"], ("lib/sum.test.tsx", False)),
        ("a/sum.go", "go", ["tests/x"], ("a/sum_test.go", False)),
        ("app/Sum.php", "php", ["tests/ATest.php"], ("tests/SumTest.php", False)),
    ],
)
def test_tests_are_where_the_project_has_them(
    path: str, language: str, files: list[str], expected: tuple[str, bool]
) -> None:
    assert path_of_tests(path, language, files) == expected


@pytest.mark.parametrize(
    ("path", "language", "expected"),
    [
        ("/code/tests/test_prices.py", "python", True),
        ("/code/shop/prices_test.py", "python", True),
        ("/code/shop/prices.py", "python", False),
        ("C:\\code\\sum.test.js", "javascript", True),
        ("/code/sum.js", "javascript", False),
        ("/code/sum.txt", "plaintext", False),
    ],
)
def test_files_of_tests_are_known_by_their_names(path: str, language: str, expected: bool) -> None:
    assert is_test_file(path, language) is expected


def test_not_every_language_has_files_of_tests() -> None:
    assert has_test_files("python")
    assert not has_test_files("rust")
