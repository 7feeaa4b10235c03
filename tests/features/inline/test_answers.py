"""Type-through and the memory of earlier answers, with an editor that closes brackets and indents by itself."""

from dataclasses import dataclass, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from harmony_ls.features.document import DocumentSnapshot
from harmony_ls.features.inline.answers import Answers

CLOSERS = {"(": ")", "[": "]", "{": "}"}


@dataclass(frozen=True)
class Buffer:
    """A text and a cursor, edited the way an editor does."""

    text: str
    offset: int

    @property
    def document(self) -> DocumentSnapshot:
        return DocumentSnapshot("file:///a.py", "/a.py", "python", None, self.text)

    def insert(self, typed: str) -> "Buffer":
        return Buffer(self.text[: self.offset] + typed + self.text[self.offset :], self.offset + len(typed))

    def delete(self, n_characters: int) -> "Buffer":
        start = self.offset - n_characters
        return Buffer(self.text[:start] + self.text[self.offset :], start)

    def press(self, character: str) -> "Buffer":
        """A key in an editor that closes brackets: closers are typed over, openers get theirs."""
        if character in CLOSERS.values() and self.text[self.offset : self.offset + 1] == character:
            return replace(self, offset=self.offset + 1)
        after = self.insert(character)
        if character in CLOSERS:
            after = replace(after.insert(CLOSERS[character]), offset=after.offset)
        return after

    def accept(self, text: str, n_replaced: int) -> str:
        return self.text[: self.offset] + text + self.text[self.offset + n_replaced :]


def buffer(marked: str) -> Buffer:
    return Buffer(marked.replace("<|>", ""), marked.index("<|>"))


def show(answers: Answers, at: Buffer, text: str, n_replaced: int = 0) -> None:
    answers.show(at.document, at.offset, text, n_replaced)


def left(answers: Answers, at: Buffer) -> str | None:
    answer = answers.lookup(at.document, at.offset)
    return answer.text if answer else None


PLAIN = st.text("abc \n.=", min_size=1, max_size=40).filter(lambda text: bool(text.strip()))
CODE = st.text("ab ,.()[]", min_size=1, max_size=30)


@given(before=PLAIN, after=PLAIN, shown=PLAIN, others=st.lists(st.tuples(st.integers(0, 40), PLAIN), max_size=8))
@settings(max_examples=300, deadline=None)
def test_what_is_shown_is_never_replaced_while_it_is_typed(
    before: str, after: str, shown: str, others: list[tuple[int, str]]
) -> None:
    answers, start = Answers(), Buffer(before + after, len(before))
    for place, text in others:  # what was shown earlier, at this place and on the way from it
        show(answers, start.insert(shown[:place]), text)
    show(answers, start, shown)
    for n_typed in range(len(shown)):
        at = start.insert(shown[:n_typed])
        answer = answers.lookup(at.document, at.offset)
        if shown[n_typed:].strip():
            assert answer is not None
            assert answer.is_shown
            assert at.accept(answer.text, answer.n_replaced) == start.accept(shown, 0)


@given(before=PLAIN, after=PLAIN, shown=PLAIN, n_typed=st.integers(0, 40), wrong=st.text("xyz", min_size=1, max_size=3))
@settings(max_examples=200, deadline=None)
def test_a_wrong_key_hides_it_and_deleting_brings_it_back(
    before: str, after: str, shown: str, n_typed: int, wrong: str
) -> None:
    answers, start = Answers(), Buffer(before + after, len(before))
    show(answers, start, shown)
    typed = shown[: min(n_typed, len(shown) - 1)]
    if not shown[len(typed) :].strip():
        return
    at = start.insert(typed).insert(wrong)
    assert left(answers, at) is None
    assert left(answers, at.delete(len(wrong))) == shown[len(typed) :]


@given(before=st.text("ab. ", min_size=3, max_size=20), shown=CODE, rest=st.sampled_from(["", "\n", "\nend = 1\n"]))
@settings(max_examples=500, deadline=None)
def test_an_editor_that_closes_brackets_gets_the_same_document(before: str, shown: str, rest: str) -> None:
    if not is_balanced(shown):
        return
    answers, at = Answers(), Buffer(before + rest, len(before))
    expected = at.accept(shown, 0)
    show(answers, at, shown)
    for character in shown:
        answer = answers.lookup(at.document, at.offset)
        if answer is not None:
            assert at.accept(answer.text, answer.n_replaced) == expected
        else:
            remaining = expected[at.offset : len(expected) - len(rest)]
            assert not remaining.strip(" )]"), f"lost with {remaining!r} to go"
        at = at.press(character)


def is_balanced(text: str) -> bool:
    stack = []
    for character in text:
        if character in CLOSERS:
            stack.append(CLOSERS[character])
        elif character in CLOSERS.values() and (not stack or stack.pop() != character):
            return False
    return not stack


def test_an_auto_closed_bracket_is_not_written_twice() -> None:
    answers = Answers()
    show(answers, buffer("x = foo<|>\n"), "(a, b)")
    assert left(answers, buffer("x = foo(<|>)\n")) == "a, b"
    assert left(answers, buffer("x = foo(a<|>)\n")) == ", b"
    assert left(answers, buffer("x = foo(a, b)<|>\n")) is None


def test_a_bracket_in_the_middle_is_replaced() -> None:
    answers = Answers()
    show(answers, buffer("if foo<|>\n"), "(a) and b:")
    at = buffer("if foo(<|>)\n")
    answer = answers.lookup(at.document, at.offset)
    assert answer is not None
    assert at.accept(answer.text, answer.n_replaced) == "if foo(a) and b:\n"
    at = buffer("if foo(a)<|>\n")
    answer = answers.lookup(at.document, at.offset)
    assert answer is not None
    assert at.accept(answer.text, answer.n_replaced) == "if foo(a) and b:\n"


def test_a_replaced_tail_shrinks_when_it_is_typed_over() -> None:
    answers = Answers()
    show(answers, buffer("foo(<|>)\n"), "a);", 1)
    at = buffer("foo(a<|>)\n")
    answer = answers.lookup(at.document, at.offset)
    assert answer is not None
    assert (answer.text, answer.n_replaced) == (");", 1)
    at = buffer("foo(a)<|>\n")
    answer = answers.lookup(at.document, at.offset)
    assert answer is not None
    assert (answer.text, answer.n_replaced) == (";", 0)


def test_accepted_lines_may_be_typed_with_the_documents_line_ends() -> None:
    answers = Answers()
    show(answers, buffer("def f():\r\n    <|>\r\n"), "a = 1\r\n    return a")
    assert left(answers, buffer("def f():\r\n    a = 1\r\n    <|>\r\n")) == "return a"


def test_a_block_that_the_editor_opened_is_closed_once() -> None:
    answers = Answers()
    show(answers, buffer("function f() <|>\n"), "{\n    return 1;\n}")
    assert left(answers, buffer("function f() {<|>}\n")) == "\n    return 1;\n"
    assert left(answers, buffer("function f() {\n    <|>\n}\n")) == "return 1;"


def test_deeper_automatic_indentation_moves_the_lines() -> None:
    answers = Answers()
    show(answers, buffer("if a:<|>\n"), "\n  b()\n  c()")
    assert left(answers, buffer("if a:\n    <|>\n")) == "b()\n    c()"
    assert left(answers, buffer("if a:\n <|>\n")) == " b()\n  c()"


def test_the_text_after_the_cursor_must_be_the_same() -> None:
    answers = Answers()
    show(answers, buffer("x = <|>\ny = 2\n"), "value + 1")
    assert left(answers, buffer("x = v<|>\nz = 3\n")) is None
    assert left(answers, buffer("x = v<|>y\ny = 2\n")) is None


def test_an_edit_in_what_the_model_has_read_makes_an_answer_stale() -> None:
    filler = "a = 1\n" * 100
    answers = Answers()
    show(answers, buffer(f"def scale(value):\n{filler}    return <|>\n"), "value * 2")
    assert left(answers, buffer(f"def scale(number):\n{filler}    return <|>\n")) is None


def test_edits_far_above_do_not_matter() -> None:
    filler = "a = 1\n" * 1000
    answers = Answers()
    show(answers, buffer(f"{filler}x = <|>\n"), "value + 1")
    assert left(answers, buffer(f"import os\n{filler}x = va<|>\n")) == "lue + 1"


def test_the_longest_remainder_of_the_memory_wins() -> None:
    answers = Answers()
    show(answers, buffer("x = <|>\n"), "value")
    show(answers, buffer("x = va<|>\n"), "lue + other")
    show(answers, buffer("elsewhere = <|>\n"), "another")
    at = buffer("x = val<|>\n")
    assert left(answers, at) == "ue + other"
    answer = answers.lookup(at.document, at.offset)
    assert answer is not None
    assert not answer.is_shown


def test_the_least_recently_used_is_forgotten() -> None:
    answers = Answers(capacity=2)
    for name in "abc":
        show(answers, buffer(f"{name} = <|>\n"), "value")
    assert left(answers, buffer("a = <|>\n")) is None
    assert left(answers, buffer("c = <|>\n")) == "value"


def test_the_shown_answer_outlives_the_memory() -> None:
    answers = Answers(capacity=1)
    show(answers, buffer("a = <|>\n"), "value")
    at = buffer("b = <|>\n")
    answers.show(replace(at.document, uri="file:///b.py"), at.offset, "other")
    assert left(answers, buffer("a = va<|>\n")) == "lue"


def test_a_closed_document_is_forgotten() -> None:
    answers, at = Answers(), buffer("a = <|>\n")
    show(answers, at, "value")
    answers.forget("file:///a.py")
    assert left(answers, at) is None
    show(answers, at, "value")
    answers.clear()
    assert left(answers, at) is None


def test_documents_do_not_share_answers() -> None:
    answers, at = Answers(), buffer("a = <|>\n")
    show(answers, at, "value")
    assert answers.lookup(replace(at.document, uri="file:///b.py"), at.offset) is None
