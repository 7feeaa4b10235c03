"""What of a model's answer becomes code, and what is refused with words that a person understands."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmony_ls.errors import UserError
from harmony_ls.features.code_actions.answer import Answer, fitted, refuse_repeated


def code_of(answer: str) -> list[str]:
    """The code of a whole answer of which nothing more is known."""
    reading = Answer()
    reading.feed(answer)
    return reading.code()


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ("```python\nx = 1\n```", ["x = 1"]),
        ("Here it is:\n\n```\nx = 1\n\ny = 2\n```\n\nIt is better now.", ["x = 1", "", "y = 2"]),
        ("~~~\nx\n~~~", ["x"]),
        ("````markdown\n```\nx\n```\n````", ["```", "x", "```"]),
        ("```\r\nx\r\ny\r\n```\r\n", ["x", "y"]),
        ("   ```\n   x\n     y\n   ```", ["x", "  y"]),
        ("```python\nx = '```'\n    ```\n```  ", ["x = '```'", "    ```"]),
        ("The call `f()` and ```inline``` marks.\n```\nx\n```", ["x"]),
        ("```\n```", []),
    ],
    ids=["plain", "prose", "tildes", "longer fence", "CRLF", "indented", "fences in code", "inline code", "empty"],
)
def test_the_one_block_of_an_answer_is_its_code(answer: str, code: list[str]) -> None:
    assert code_of(answer) == code


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ("The names are fine as they are.", "The model made no edit. It said: The names are fine as they are."),
        ("", "The model made no edit. It said nothing."),
        ("word " * 500, "…"),
        ("a\u202eb", "a\\u202eb"),
        ("```python\nx = 1\n", "breaks off inside its code"),
        ("```\nx\n```\nor\n```\ny", "breaks off inside its code"),
        ("```\nx\n```\nor\n```\ny\n```", "2 pieces of code"),
    ],
    ids=["prose", "nothing", "long prose", "tricks", "cut off", "cut off later", "two"],
)
def test_other_answers_are_refused_with_the_reason(answer: str, says: str) -> None:
    with pytest.raises(UserError) as refused:
        code_of(answer)
    assert says in str(refused.value)
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize(
    ("lines", "region", "placed"),
    [
        (["x"], ["a", "b"], ["x"]),
        (["    x", "        y"], ["    a", "        b"], ["    x", "        y"]),
        (["x", "    y", "", "z"], ["        a"], ["        x", "            y", "", "        z"]),
        (["def f():", "        return 1"], ["    def g():", "        pass"], ["    def f():", "        return 1"]),
        (["x", "\ty"], ["\t\ta"], ["\t\tx", "\t\t\ty"]),
        (["", "x", "", ""], ["", "", "a", ""], ["", "", "x", ""]),
        (["\tx"], ["    a"], ["    x"]),
        (["    x", "     y"], ["\ta"], ["    x", "     y"]),
        (["      x"], ["  a"], ["      x"]),
        (["", ""], ["a"], []),
    ],
    ids=[
        "margin",
        "as it was",
        "from the margin",
        "first line alone",
        "tabs",
        "blank lines",
        "other blanks",
        "unclear blanks",
        "deeper",
        "-",
    ],
)
def test_code_is_placed_like_what_it_replaces(lines: list[str], region: list[str], placed: list[str]) -> None:
    assert list(fitted(lines, region)) == placed


DOCUMENT = [
    "import os",
    "import sys",
    "",
    "class Thing:",
    "    def name(self):",
    "        return self.x",
    "",
    "value = Thing()",
    "print(value)",
]


@pytest.mark.parametrize(
    ("first", "last"),
    [(0, 9), (0, 6), (3, 6), (4, 9)],
    ids=["the whole document", "all before it", "the header of its block", "all after it"],
)
def test_code_around_the_region_must_not_come_twice(first: int, last: int) -> None:
    with pytest.raises(UserError, match="repeated code"):
        refuse_repeated(DOCUMENT[first:last], DOCUMENT, 4, 6)


@pytest.mark.parametrize(
    "code",
    [
        DOCUMENT[4:6],
        ["    def name(self):", "        value = Thing()", "        return value"],
        ["print(value)"],
        [],
    ],
)
def test_code_may_be_like_what_stands_around(code: list[str]) -> None:
    refuse_repeated(code, DOCUMENT, 4, 6)


def test_what_the_region_itself_repeats_may_stay() -> None:
    lines = ["check(first)", "check(second)"] * 3
    refuse_repeated(["check(first)", "check(second)", "check(third)"], lines, 2, 4)


HEADER = re.compile(r"\s*def area\b")
OLD = ["def area(a, b):", "    return a + b"]
OLD_BLOCK = "```python\ndef area(a, b):\n    return a + b\n```\n"
NEW_BLOCK = "```python\ndef area(a, b):\n    return a * b\n```\n"
USAGE = "```python\nprint(area(1, 2))\n```\n"


@pytest.mark.parametrize(
    "text",
    [
        NEW_BLOCK,
        f"{OLD_BLOCK}It should multiply:\n{NEW_BLOCK}",
        f"{NEW_BLOCK}For example:\n{USAGE}",
        f"{USAGE}is what goes wrong.\n{NEW_BLOCK}",
        f"{NEW_BLOCK}```python\ndef area(a, b):",
    ],
    ids=["alone", "after a quotation", "before an example", "after an example", "before what is cut off"],
)
def test_code_with_the_header_that_it_must_have_is_known_among_others(text: str) -> None:
    answer = Answer(OLD, HEADER)
    for piece in text:
        answer.feed(piece)
    assert answer.is_whole
    assert answer.code() == ["def area(a, b):", "    return a * b"]


def test_nothing_has_to_be_read_after_such_code() -> None:
    answer = Answer(OLD, HEADER)
    answer.feed(f"So:\n{OLD_BLOCK}and\n{NEW_BLOCK.removesuffix(chr(10))}")
    assert not answer.is_whole, "the fence may go on"
    answer.feed("\nThis multiplies the two.")
    assert answer.is_whole


def test_a_quotation_alone_changes_nothing() -> None:
    answer = Answer(OLD, HEADER)
    answer.feed(f"It is fine:\n{OLD_BLOCK}{OLD_BLOCK}")
    assert not answer.is_whole
    assert answer.code() == OLD


def test_a_quotation_is_no_second_piece_in_any_language() -> None:
    answer = Answer(["let a = 1"])
    answer.feed("```\nlet a = 1\n```\nbecomes\n```\nconst a = 1\n```\n")
    assert not answer.is_whole, "another may follow"
    assert answer.code() == ["const a = 1"]


PIECES = st.sampled_from(
    ["```", "````", "~~~", "\n", "\r\n", "    ", " ", "python", "x = 1", "`", "\t", "\u202e", "\0"]
)


@given(st.lists(PIECES, max_size=30).map("".join))
def test_whatever_a_model_answers_is_code_or_a_reason(answer: str) -> None:
    try:
        said = code_of(answer)
    except UserError as error:
        said = [str(error)]
    assert all("\n" not in line and "\r" not in line for line in said)
