"""Lines of a text that comes in pieces are those that it has as a whole."""

import re
import time

from hypothesis import given
from hypothesis import strategies as st

from harmony_ls.features.code_actions.answer import Answer
from harmony_ls.features.code_actions.repetition import Repetition
from harmony_ls.features.line_ends import GrowingLines, with_plain_line_ends


@given(st.lists(st.text(alphabet="ab\r\n", max_size=5), max_size=12))
def test_pieces_have_the_lines_of_the_whole(pieces: list[str]) -> None:
    subject = GrowingLines()
    lines = [line for piece in pieces for line in subject.feed(piece)]
    whole = re.sub(r"\r\Z", "", "".join(pieces))  # nobody knows yet whether that is the end of a line
    assert [*lines, subject.take_rest()] == with_plain_line_ends(whole).split("\n")
    assert subject.take_rest() == ""


def test_a_line_without_end_costs_each_of_its_pieces_the_same() -> None:
    """It took minutes, on the event loop: all of the line was looked at for each of the pieces."""
    answer, circles = Answer(), Repetition()
    before = time.thread_time()
    answer.feed("```\n")
    for number in range(100_000):
        answer.feed(f"w{number} ")
        assert not circles.is_in(f"w{number} ")
    answer.feed("\n```\n")
    assert time.thread_time() - before < 30, "it takes a second"
    [line] = answer.code()
    assert line.endswith("w99998 w99999 ")
