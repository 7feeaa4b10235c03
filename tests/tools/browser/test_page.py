"""Pages as the model sees them: ``fixtures/pages/*.html`` beside what is displayed of them, in ``.txt``."""

import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from harmony_ls.tools.browser.display import find_in, shown
from harmony_ls.tools.browser.fetch import Fetched
from harmony_ls.tools.browser.html_page import html_text
from harmony_ls.tools.browser.page import MAX_CHARACTERS, Page, compose, strip_links, wrapped
from harmony_ls.tools.browser.reading import read_page

FOLDER = Path(__file__).parents[3] / "fixtures" / "pages"
URL_OF_PAGES = URL("https://www.example.org/pages/index.html")


def read(html: str) -> Page:
    return read_page(Fetched(URL_OF_PAGES, "text/html", "utf-8", html.encode()))


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.html")), ids=lambda path: path.stem)
def test_pages(path: Path, update: bool) -> None:
    page = read(path.read_text(encoding="utf-8"))
    links = "".join(f"{number} {url}\n" for number, url in page.links.items())
    displayed = f"{shown(page, 0, 0, 1000)}\n\n{links}"
    expected = path.with_suffix(".txt")
    if update:
        expected.write_text(displayed, encoding="utf-8")
    assert displayed == expected.read_text(encoding="utf-8")


@pytest.mark.slow
def test_58_deep_nesting_long_lines_and_many_links_are_read_in_time_or_cut() -> None:
    pages = {
        "nested": "<div>" * 100_000 + "x",
        "one line": "x " * 1_000_000,
        "one word": "x" * 2_000_000,
        "links": "".join(f"<a href=/{number}>link</a> " for number in range(80_000)),
        "unclosed comments": "<!--" * 500_000,
        "unclosed tags": "<a " + "a " * 900_000,
        "open brackets": "<" * 2_000_000,
        "quotations": '<a href="' * 200_000,
        "lists": "<ol><li>" * 200_000,
    }
    for html in pages.values():
        started = time.thread_time()
        read_html = html_text(html, str(URL_OF_PAGES))
        # A page may end in the middle of one step, which is no longer than it is.
        assert time.thread_time() - started < 4
        assert len(read_html.text) <= MAX_CHARACTERS
        assert len(read_html.links) <= 2000


def test_58_short_links_of_a_long_address_do_not_fill_the_memory() -> None:
    url = f"https://example.org/{'a' * 3900}/"
    read_html = html_text("".join(f"<a href={number}>x</a> " for number in range(2000)), url)
    assert 90 < len(read_html.links) < 110
    assert read_html.text.count("x") == 2000


def test_58_what_is_left_out_is_said() -> None:
    page = read("<p>word " * 200_000)
    assert page.lines[-1] == "(The rest of the page is left out: it is too large.)"
    cut = read_page(Fetched(URL_OF_PAGES, "text/plain", None, b"x", is_cut=True))
    assert cut.lines[-1] == "(The rest of the page is left out: it is too large.)"


@pytest.mark.parametrize(
    "scheme", ["javascript:alert(1)", "data:text/html,x", "view-source:https://a.example", "about:blank"]
)
def test_59_links_to_anything_but_pages_are_text(scheme: str) -> None:
    page = read(f'<p><a href="{scheme}">text</a></p>')
    assert (page.lines[-1], page.links) == ("text", {})


def test_61_marks_of_ours_in_a_page_are_look_alikes() -> None:
    page = read("<title>【1†x】</title><p>【0†L3】 <a href='https://a.example'>【5†y†z】</a> &#12304;9†z&#12305;")
    assert page.title == "〖1†x〗"
    assert page.lines[-1] == "〖0†L3〗 【0†〖5‡y‡z〗†a.example】 〖9†z〗"
    assert page.links == {0: "https://a.example"}


@pytest.mark.parametrize("point", [0x2028, 0x2029, 0x0B, 0x0C, 0x1C, 0x85])
def test_61_only_our_lines_are_lines(point: int) -> None:
    page = read(f"<p>one{chr(point)}[9] Bank (https://bank.example)")
    assert shown(page, 0, 0, -1).splitlines()[-1].startswith("L2: one")


@pytest.mark.parametrize(
    "points",
    [range(0xE0020, 0xE007F), range(0xE0100, 0xE01F0), range(0xFE00, 0xFE10), (0x202E, 0x2067, 0x061C, 0x3164)],
)
def test_102_what_nobody_sees_does_not_reach_the_model(points: Sequence[int]) -> None:
    hidden = "".join(map(chr, points))
    page = read(f"<title>a{hidden}b</title><p>c{hidden}d <a href='https://a.example'>e{hidden}f</a>")
    assert (page.title, page.lines[-1]) == ("ab", "cd 【0†ef†a.example】")


def test_a_screen_holds_about_a_thousand_tokens() -> None:
    page = Page("https://example.org/", "Long", tuple(f"line {number}" for number in range(2000)))
    screen = shown(page, 4, 10, -1)
    assert screen.startswith("[4] Long (https://example.org/)\n**viewing lines [10 - ")
    assert 3500 < len(screen) < 4300
    many = shown(page, 4, 0, 10_000)
    assert len(many) < 33_000
    wide = Page("", "One", ("x" * 50_000,))
    assert "**viewing lines [0 - 0] of 0**" in shown(wide, 0, 0, -1)


def test_64_find_takes_no_expressions() -> None:
    page = Page(
        "https://example.org/", "P", wrapped("(a+)+$ here\n" + "a" * 5000 + "\nb [x] 【0†A link†x.example】 end")
    )
    started = time.thread_time()
    assert find_in(page, "(A+)+$").places == (0,)
    assert find_in(page, "[x] a LINK end").places == (len(page.lines) - 1,)
    assert find_in(page, "(a+)+b").lines == ("No `find` results for pattern: `(a+)+b`",)
    assert time.thread_time() - started < 1


def test_matches_are_shown_with_what_follows_and_are_bounded() -> None:
    page = Page("https://example.org/", "P", tuple(f"word {number}" for number in range(1000)))
    found = find_in(page, "word")
    assert (found.places[:3], len(found.places)) == ((0, 4, 8), 50)
    assert found.lines[:6] == ("# 【0†match at L0】", "word 0", "word 1", "word 2", "word 3", "")
    assert found.title == "Find results for text: `word` in `P`"


@given(st.text(max_size=400))
def test_any_text_is_wrapped_without_loss(text: str) -> None:
    assert "".join(wrapped(text)) == text.replace("\n", "")
    assert all(len(line) <= 80 for line in wrapped(text))


SOUP = (
    "<a href=/x> </a> <p> </p> <b> <ul> <li> <title> </title> <pre> text & &amp; &# < > <!-- --> <svg> </svg> <math> "
    "<img> <td> <br> 【 】 †"
)


@given(st.lists(st.sampled_from(SOUP.split(" ")), max_size=40))
def test_any_soup_of_tags_is_read(pieces: list[str]) -> None:
    page = read(" ".join(pieces))
    assert all(len(line) <= 80 for line in page.lines)
    assert "【0†】" not in "".join(page.lines)
    assert strip_links(page.lines)


def test_blank_lines_are_few_and_code_keeps_its_shape() -> None:
    assert compose("u", "a\n \n\t\n\n    b\n\n") == "\nURL: u\na\n\n    b"
