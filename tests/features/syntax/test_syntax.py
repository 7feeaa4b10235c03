"""What Python says of Python: which statements lines belong to, and which edit breaks a text."""

import pytest

from harmony_ls.errors import UserError
from harmony_ls.features.syntax import python as syntax
from harmony_ls.features.syntax.python_source import definition_lines, fault_of_change, lines_to_mend, statement_lines

TEXT = """\
import os

@decorated
@twice(
    1,
)
def first(
    a,
    b,
):
    x = [
        1,
        2,
    ]
    if x:
        return a
    return b

class Thing:
    name = "x"

    def method(self):
        try:
            pass
        except ValueError as error:
            raise KeyError(
                "x"
            ) from error
        match self:
            case 1:
                y = (
                    2
                )
"""


@pytest.mark.parametrize(
    ("lines", "grown"),
    [
        ((0, 1), (0, 1)),
        ((11, 12), (10, 14)),
        ((15, 16), (15, 16)),
        ((14, 17), (14, 17)),
        ((15, 17), (14, 17)),
        ((7, 8), (2, 17)),
        ((4, 5), (2, 17)),
        ((1, 2), (1, 2)),
        ((1, 3), (1, 17)),
        ((0, 12), (0, 17)),
        ((26, 27), (25, 28)),
        ((31, 32), (30, 33)),
        ((19, 22), (19, 33)),
    ],
)
def test_lines_grow_to_whole_statements(lines: tuple[int, int], grown: tuple[int, int]) -> None:
    assert statement_lines(TEXT, *lines) == grown


@pytest.mark.parametrize(
    ("text", "lines", "grown"),
    [
        ("def f(\n    a): return a\n", (1, 2), (0, 2)),
        ("if a:\n    x()\nelse: z()\n", (2, 3), (0, 3)),
        ("match a:\n    case 1:\n        x()\n    case _: y()\n", (3, 4), (0, 4)),
        ("with a as b, \\\n    c: d()\n", (1, 2), (0, 2)),
        ("try:\n    a()\nexcept E: b()\n", (2, 3), (0, 3)),
        ("class A:\n    é = 1; b = 2\n", (1, 2), (1, 2)),
    ],
)
def test_a_body_in_the_line_of_its_header_is_no_part_of_its_own(
    text: str, lines: tuple[int, int], grown: tuple[int, int]
) -> None:
    assert statement_lines(text, *lines) == grown


@pytest.mark.parametrize(
    ("lines", "grown"),
    [((2, 3), (0, 8)), ((4, 5), (0, 8)), ((2, 6), (0, 8)), ((3, 4), (3, 4)), ((5, 6), (5, 6)), ((6, 7), (0, 8))],
)
def test_an_elif_is_no_statement_without_its_if(lines: tuple[int, int], grown: tuple[int, int]) -> None:
    """Written anew as an `if`, it would parse and mean something else."""
    text = "if a:\n    x()\nelif b:\n    y()\nelif c:\n    z()\nelse:\n    w()\n"
    assert statement_lines(text, *lines) == grown


def test_an_if_below_an_else_is_a_statement() -> None:
    assert statement_lines("if a:\n    x()\nelse:\n    if b:\n        y()\n    z()\n", 3, 4) == (3, 5)


@pytest.mark.parametrize(
    ("places", "longest", "runs"),
    [
        ([(11, 12)], 60, [(2, 17)]),
        ([(11, 12), (15, 16)], 15, [(2, 17)]),
        ([(26, 27), (0, 1), (11, 12)], 60, [(0, 33)]),
        ([(26, 27), (0, 1), (11, 12)], 15, [(0, 1), (2, 17), (21, 33)]),
        ([(26, 27), (0, 1), (11, 12)], 5, [(0, 1), (10, 14), (25, 28)]),
        ([(7, 8), (15, 16), (0, 1)], 5, [(0, 1), (2, 17)]),
        ([(1, 2), (17, 18)], 1, [(1, 2), (17, 18)]),
        ([(11, 32), (12, 13)], 1, [(2, 33)]),
        ([], 60, []),
    ],
)
def test_places_to_mend_come_in_runs_of_whole_statements(
    places: list[tuple[int, int]], longest: int, runs: list[tuple[int, int]]
) -> None:
    assert lines_to_mend(TEXT, places, longest) == runs


def test_a_text_that_does_not_parse_has_no_runs() -> None:
    assert lines_to_mend("def f(:\n", [(0, 1)], 60) is None


def test_a_byte_order_mark_is_no_fault_of_the_text() -> None:
    text = "\ufeffdef f():\n    return (\n        1\n    )\n"
    assert statement_lines(text, 2, 3) == (1, 4)
    assert definition_lines(text, 2) == ("f", 0, 4)
    assert fault_of_change(text, text.replace(")\n", "\n")) is not None


@pytest.mark.parametrize(
    ("text", "line", "found"),
    [
        ("def f():\n    async def g():\n        pass\n    return g\n", 2, ("g", 1, 3)),
        ("def f():\n    async def g():\n        pass\n    return g\n", 3, ("f", 0, 4)),
        ("@a\n@b(\n    c\n)\nasync def f():\n    await x\n", 2, ("f", 0, 6)),
        ("class A:\n    x: int\n\n    @property\n    def y(self): return 1\n", 1, ("A", 0, 5)),
        ("class A:\n    x: int\n\n    @property\n    def y(self): return 1\n", 3, ("y", 3, 5)),
        ("def f():  # type: () -> int\r\n    return 1\r\n\r\nx = f()\r\n", 1, ("f", 0, 2)),
        ("def f(): ...\n\ndef g(): ...\n", 1, None),
        ("x = lambda: 1\n", 0, None),
    ],
)
def test_the_innermost_definition_is_found(text: str, line: int, found: tuple[str, int, int] | None) -> None:
    assert definition_lines(text, line) == found


def test_lines_of_a_text_that_does_not_parse_stay() -> None:
    assert statement_lines("def f(:\n    x = [\n1]", 1, 2) == (1, 2)


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("x = 1", "x = 2", None),
        ("x = 1", "x = (", "line 1: '(' was never closed"),
        ("def f():\n    return 1\n", "return 1\n", "line 1: 'return' outside function"),
        ("await x", "await y", None),
        ("await x", "await (", "line 1: '(' was never closed"),
        ("%matplotlib inline", "x = (", None),
    ],
    ids=["fine", "broken", "no longer compiles", "notebook", "notebook broken", "was broken"],
)
def test_an_edit_is_held_to_what_was_in_order_before(old: str, new: str, fault: str | None) -> None:
    assert fault_of_change(old, new) == fault


@pytest.mark.parametrize(
    ("language", "old", "new", "fault"),
    [
        ("json", '{"a": 1}', '{"a": 2}', None),
        ("json", '{"a":\n1}', '{"a":\n1', "line 2: Expecting ',' delimiter"),
        ("json", "// Comments.\n{}", "{", None),
        ("json", "[]", "[" * 100_000, ""),
        ("toml", "a = 1\n", "a = 2\n", None),
        ("toml", "a = 1\n", "a = \n", "Invalid value (at line 1, column 5)"),
        ("toml", "a = \n", "b = \n", None),
        ("rust", "fn f() {}", "fn f() {", None),
    ],
)
def test_data_is_held_to_its_own_grammar(language: str, old: str, new: str, fault: str | None) -> None:
    found = fault_of_change(old, new, language)
    assert (found is None) is (fault is None)
    assert (found or "").startswith(fault or "")


def test_a_text_with_nul_characters_is_broken() -> None:
    """Versions of Python say so in different words."""
    assert fault_of_change("x = 1", "x = '\0'") is not None


async def test_the_program_answers_for_python_alone() -> None:
    assert await syntax.whole_statements(TEXT, "python", 11, 12) == (10, 14)
    assert await syntax.whole_statements(TEXT, "rust", 11, 12) == (11, 12)
    await syntax.refuse_broken("x = 1", "x = 2", "python")
    await syntax.refuse_broken("x = 1", "x = (", "rust")
    with pytest.raises(UserError, match=r"would break the document \(line 1: Expecting value\)"):
        await syntax.refuse_broken("[1]", "[", "json")
    with pytest.raises(UserError, match=r"would break the document \(line 1: '\(' was never closed\)"):
        await syntax.refuse_broken("x = 1", "x = (", "python")


@pytest.mark.parametrize(
    "text",
    ["(" * 100_000, "-" * 100_000 + "1", "x" + ".y" * 100_000, "[" * 90 + "]" * 90, "x = '\\q'\n", "é = '\u2028'"],
)
async def test_hostile_text_does_no_harm(text: str) -> None:
    """What ends or stops the parser ends that program alone; it breaks nothing that was in order."""
    assert await syntax.whole_statements(text, "python", 0, 1) == (0, 1)
    await syntax.refuse_broken("(", text, "python")
    if len(text) > 1000:
        with pytest.raises(UserError, match="Nothing was changed"):
            await syntax.refuse_broken("x = 1", text, "python")
