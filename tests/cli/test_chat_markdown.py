"""Markdown while it is written: however it is cut into pieces, what is printed is the same, and nothing is lost."""

import io
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from harmony_ls.cli.chat.markdown import MarkdownStream

ANSWER = """# A *title*

Some **bold** text and `code`,
a line of its own, <b>HTML</b>, a [link](http://somewhere.example/x) and <http://auto.example>.

1. one
1. two
   - inner

   more of two
1. three

- a
- b

```python
def add(a, b):
    '''Not yet

    closed'''
    return a + b


print(add(1, 2))
```

> quoted
> twice

| a | b |
|---|---|
| 1 | 2 |

    indented

[1]: http://defined.example

---
The end ![image](http://image.example/i.png)
"""


def printed(pieces: Iterator[str], width: int = 60) -> str:
    """What stands on the terminal at the end. What may still change is drawn too, elsewhere."""
    console = Console(file=io.StringIO(), width=width, color_system=None, highlight=False, markup=False)
    elsewhere = Console(file=io.StringIO(), width=width, color_system=None)
    stream = MarkdownStream()
    for piece in pieces:
        stream.feed(piece)
        for part in stream.settled():
            console.print(part)
        elsewhere.print(stream.unsettled())
    for part in stream.finish():
        console.print(part)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def cut(text: str, size: int) -> Iterator[str]:
    return (text[start : start + size] for start in range(0, len(text), size))


def test_an_answer_looks_as_it_should() -> None:
    assert printed(iter([ANSWER])) == (
        "A title\n\nSome bold text and code,\n"
        "a line of its own, <b>HTML</b>, a link\n(http://somewhere.example/x) and http://auto.example.\n\n"
        " 1 one\n 2 two\n    • inner\n   more of two\n 3 three\n\n • a\n • b\n\n"
        "def add(a, b):\n    '''Not yet\n\n    closed'''\n    return a + b\n\n\nprint(add(1, 2))\n\n"
        "▌ quoted\n▌ twice\n\n a  b\n ────\n 1  2\n\nindented\n\n[1]: http://defined.example\n\n"
        f"{'-' * 60}\n\nThe end image (http://image.example/i.png)\n"
    )


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50])
@pytest.mark.parametrize("width", [20, 60])
def test_pieces_make_no_difference(size: int, width: int) -> None:
    assert printed(cut(ANSWER, size), width) == printed(iter([ANSWER]), width)


@pytest.mark.parametrize(
    "text", ["safe &#x202e;txt.exe", "[safe &#8238;x](http://a.example)", "`&#x202e;`", "![&#x202e;](a)"]
)
def test_no_entity_turns_the_direction_of_writing(text: str) -> None:
    shown = printed(iter([text]))
    assert "\u202e" not in shown
    assert shown.strip()


def test_code_is_printed_line_by_line() -> None:
    """A long program must not wait for its end to be seen whole."""
    stream = MarkdownStream()
    console = Console(file=io.StringIO(), width=40, color_system=None)
    stream.feed("```\n" + "".join(f"line {n}\n" for n in range(100)) + "half a l")
    for part in stream.settled():
        console.print(part)
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue() == "".join(f"line {n}\n" for n in range(100))


def test_finished_items_of_a_list_are_printed_before_its_end() -> None:
    stream = MarkdownStream()
    stream.feed("1. one\n2. two\n3. three\n")
    assert len(stream.settled()) == 2


_MARKDOWN = st.text(alphabet="ab1 .\n`*_->|#[]()<!~=:\t", max_size=120)


@given(_MARKDOWN, st.integers(1, 5))
def test_whatever_is_written_pieces_make_no_difference(text: str, size: int) -> None:
    assert printed(cut(text, size)) == printed(iter([text]))


_WORDS = st.text(alphabet="ab.-*_<>#|[]()!:1\n ", max_size=120)


@given(_WORDS)
def test_no_letter_is_lost(text: str) -> None:
    """HTML, links that lead nowhere and definitions that define nothing are shown as they were written."""
    shown = printed(iter([text]))
    assert [shown.count(letter) >= text.count(letter) for letter in "ab"] == [True, True]
