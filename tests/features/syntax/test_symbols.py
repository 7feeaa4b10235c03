"""Which function, class or block a place belongs to."""

import pytest

from harmony_ls.features.syntax.symbols import Symbol, symbol_at

PYTHON = """import math


@cached
@traced(
    "x",
)
class Shape:
    sides = 4

    def area(self):
        def inner():
            return 1

        return inner()


async def last(): ...
"""

JAVASCRIPT = """import x from "y";

function outer(a) {
  if (a) {
    inner();
  }
  return a;
}

const z = 1;
"""


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (0, None),
        (3, Symbol("Shape", 3, 15)),
        (8, Symbol("Shape", 3, 15)),
        (10, Symbol("area", 10, 15)),
        (12, Symbol("inner", 11, 13)),
        (17, Symbol("last", 17, 18)),
        (99, None),
        (-1, None),
    ],
)
async def test_python_is_parsed(line: int, expected: Symbol | None) -> None:
    assert await symbol_at(PYTHON, line, "python") == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (0, None),
        (2, Symbol("function outer(a) {", 2, 8)),
        (4, Symbol("if (a) {", 3, 6)),
        (6, Symbol("function outer(a) {", 2, 8)),
        (9, None),
    ],
)
async def test_other_languages_are_read_by_indentation(line: int, expected: Symbol | None) -> None:
    assert await symbol_at(JAVASCRIPT, line, "javascript") == expected


async def test_python_that_does_not_parse_is_read_by_indentation() -> None:
    assert await symbol_at("def broken(:\n    return 1\n", 1, "python") == Symbol("def broken(:", 0, 2)


async def test_line_ends_of_other_systems_count_as_one() -> None:
    assert await symbol_at("a\r\ndef f():\r\n    pass\r\n", 2, "python") == Symbol("f", 1, 3)


async def test_a_hostile_nesting_is_no_fault() -> None:
    assert await symbol_at("(" * 100_000, 0, "python") is None
