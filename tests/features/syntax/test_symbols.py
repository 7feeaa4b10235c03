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
        (4, Symbol("function outer(a) {", 2, 8)),
        (5, Symbol("function outer(a) {", 2, 8)),
        (7, Symbol("function outer(a) {", 2, 8)),
        (8, None),
        (9, None),
    ],
)
async def test_other_languages_are_read_by_indentation(line: int, expected: Symbol | None) -> None:
    assert await symbol_at(JAVASCRIPT, line, "javascript") == expected


ALLMAN = """class A
{
    [Test]
    int F(int a)
    {
        if (a > 1)
        {
            return 1;
        }
        else
        {
            return 2;
        }
    }

    int g;
}
"""
RUBY = """class A
  def f(a)
    if a
      1
    else
      2
    end
  end

  def g
  end
end
"""
RUST = """#[test]
fn f() {
    match a {
        1 => {
            b();
        }
        _ => c(),
    }
}
"""
SCRIPT = """if (a) {
  b();
} else {
  c();
}

export const f = async (
  a: string,
): Promise<void> => {
  try {
    g();
  } catch {
    h();
  }
};
"""


@pytest.mark.parametrize(
    ("text", "language", "line", "expected"),
    [
        (ALLMAN, "csharp", 7, Symbol("int F(int a)", 3, 14)),
        (ALLMAN, "csharp", 11, Symbol("int F(int a)", 3, 14)),
        (ALLMAN, "csharp", 13, Symbol("int F(int a)", 3, 14)),
        (ALLMAN, "csharp", 15, Symbol("class A", 0, 17)),
        (RUBY, "ruby", 3, Symbol("def f(a)", 1, 8)),
        (RUBY, "ruby", 5, Symbol("def f(a)", 1, 8)),
        (RUBY, "ruby", 7, Symbol("def f(a)", 1, 8)),
        (RUBY, "ruby", 11, Symbol("class A", 0, 12)),
        (RUST, "rust", 4, Symbol("1 => {", 3, 6)),
        (RUST, "rust", 6, Symbol("fn f() {", 0, 9)),
        (SCRIPT, "typescript", 3, Symbol("if (a) {", 0, 5)),
        (SCRIPT, "typescript", 7, Symbol("export const f = async (", 6, 15)),
        (SCRIPT, "typescript", 12, Symbol("export const f = async (", 6, 15)),
        ("with:\n  a:\n    b: 1\n", "yaml", 2, Symbol("a:", 1, 3)),
        ("jobs:\n  with:\n    b: 1\n", "yaml", 2, Symbol("with:", 1, 3)),
        ("def f(\n    a,\n):\n    if a:\n        b(\n    else:\n        c()\n", "python", 6, Symbol("def f(", 0, 7)),
    ],
)
async def test_blocks_inside_a_definition_are_no_definitions(
    text: str, language: str, line: int, expected: Symbol
) -> None:
    assert await symbol_at(text, line, language) == expected


async def test_python_that_does_not_parse_is_read_by_indentation() -> None:
    assert await symbol_at("def broken(:\n    return 1\n", 1, "python") == Symbol("def broken(:", 0, 2)


async def test_line_ends_of_other_systems_count_as_one() -> None:
    assert await symbol_at("a\r\ndef f():\r\n    pass\r\n", 2, "python") == Symbol("f", 1, 3)


async def test_a_hostile_nesting_is_no_fault() -> None:
    assert await symbol_at("(" * 100_000, 0, "python") is None


@pytest.mark.parametrize("line", ["}", "} else {", "\tend", "@a", "{"])
async def test_thousands_of_lines_alike_are_read_in_one_pass(line: str) -> None:
    """Each is looked at a few times, and not all of them for each."""
    text = "f() {\n" + f"{line}\n" * 20_000
    found = await symbol_at(text, 10_000, "c")
    assert found is None or 0 <= found.start <= 10_000 < found.end <= 20_002
