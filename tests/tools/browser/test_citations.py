"""Citations as links, however the text is cut into deltas."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmony_ls.tools.browser.citations import CitationFilter

PAGES = {0: "https://www.example.org/a_(b)", 3: "https://other.example:8443/x"}


def filtered(*deltas: str) -> str:
    citations = CitationFilter(lambda cursor, _line: PAGES.get(cursor))
    return "".join([*(citations.feed(delta) for delta in deltas), citations.finish()])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It is so【0†L3】.", "It is so ([example.org](https://www.example.org/a_%28b%29))."),
        ("It is so 【3†L3-L12】", "It is so ([other.example:8443](https://other.example:8443/x))"),
        ("【3†L3-12】", "([other.example:8443](https://other.example:8443/x))"),
        ("【0†L3, L7-L9】", "([example.org](https://www.example.org/a_%28b%29))"),
        ("【0†L3†example.org】", "([example.org](https://www.example.org/a_%28b%29))"),
        ("【0†source】", "([example.org](https://www.example.org/a_%28b%29))"),
        ("【0†a link of a page】", "【0†a link of a page】"),
        ("【0†L2 norm】", "【0†L2 norm】"),
        ("【0†L1" + ", L2" * 20 + "】", "【0†L1" + ", L2" * 20 + "】"),
        ("【7†L3】 stays", "【7†L3】 stays"),
        ("【注】 and 【", "【注】 and 【"),
        ("【0†L3", "【0†L3"),
        ("【【0†L3】", "【 ([example.org](https://www.example.org/a_%28b%29))"),
    ],
)
def test_citations(text: str, expected: str) -> None:
    assert filtered(text) == expected
    assert filtered(*text) == expected


def test_a_partial_citation_is_held_back_and_no_longer_than_it_may_be_one() -> None:
    citations = CitationFilter(lambda cursor, _line: PAGES.get(cursor))
    assert citations.feed("see 【0†L") == "see "
    assert citations.feed("3-L4") == ""
    assert citations.feed("】!") == "([example.org](https://www.example.org/a_%28b%29))!"
    assert citations.feed("【" + "x" * 60) == "【" + "x" * 60


PIECES = [
    "【",
    "】",
    "†",
    "0",
    "3",
    "9",
    "L1",
    "-L2",
    ", L7",
    ", L7" * 9,
    "L",
    " ",
    "a",
    "source",
    "【0†L1】",
    "【0†L1",
]


@given(st.lists(st.sampled_from(PIECES), max_size=30), st.data())
def test_how_a_text_is_cut_changes_nothing(pieces: list[str], data: st.DataObject) -> None:
    text = "".join(pieces)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=10)))
    edges = [0, *cuts, len(text)]
    assert filtered(*(text[start:end] for start, end in pairwise(edges))) == filtered(text)
