"""Circles in what a model writes are told from code that repeats what code repeats."""

import textwrap

import pytest

from harmony_ls.features.code_actions.repetition import Repetition

ROUND = "The code is correct in the cases that it misses.\n\n"
GROWING = "".join(f"def test_{n}():\n    with pytest.raises(ValueError):\n        check({n})\n\n\n" for n in range(40))


def is_endless(text: str, *, known: str = "", step: int = 7) -> bool:
    """Whether a text is found to go round in circles, read in pieces."""
    subject = Repetition(known.splitlines())
    return any(subject.is_in(text[start : start + step]) for start in range(0, len(text), step))


@pytest.mark.parametrize("step", [1, 7, 10_000])
@pytest.mark.parametrize(
    "text",
    [
        ROUND * 12,
        f"Well.\n{ROUND * 12}",
        "The region, lines 1 to 4:\n```python\ndef empty(self):\n    return not self._queue\n```\n\n" * 10,
        "It uses a function that replaces any function that returns a function with another one, as I have said. " * 30,
        "def test" + "_and_again" * 300,
        ROUND.replace("\n", "\r\n") * 12,
        textwrap.fill("It then removes the leading and trailing spaces and converts it to lowercase. " * 40, 110),
        textwrap.indent(textwrap.fill("It is not the same as the original. " * 90, 60), "    # "),
    ],
    ids=[
        "a line",
        "after something else",
        "several lines",
        "in one line",
        "in a name",
        "CRLF",
        "in lines that break elsewhere",
        "in a comment",
    ],
)
def test_circles_are_told(text: str, step: int) -> None:
    assert is_endless(text, step=step)


@pytest.mark.parametrize(
    "text",
    [
        ROUND * 7,
        GROWING,
        "    pass\n" * 10,
        "x = 1\n" * 20,
        "=" * 5_000,
        "".join(f"    ({n}, {n * n}),\n" for n in range(500)),
        "",
    ],
    ids=["not often enough", "tests", "short lines", "little", "a ruler", "a table", "nothing"],
)
def test_what_code_repeats_is_no_circle(text: str) -> None:
    assert not is_endless(text)


def test_what_the_code_itself_repeats_may_be_written_again() -> None:
    table = "        [0, 0, 0, 0, 0, 0, 0, 0],\n" * 40
    assert is_endless(table)
    assert not is_endless(table, known=table)
    row = "x = [" + "0, 1, 2, 3, " * 200 + "]"
    assert is_endless(row)
    assert not is_endless(row, known=row)
