"""HTML to the text of a page, through html2text's hooks. The text is Markdown without emphasis, tables and escapes."""

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass

import html2text
from yarl import URL

from harmony_ls.tools.browser.fetch import FetchError, domain_of, parse_url
from harmony_ls.tools.browser.page import MAX_CHARACTERS, clean

__all__ = ["HtmlText", "html_text"]

_LONGEST_SECONDS = 1.5
_MAX_LINKS = 2000
# A few bytes make a link as long as the address of the page.
_MAX_LINK_CHARACTERS = 400_000
_MAX_LINK_TEXT = 300
_MAX_TITLE = 200
_CHUNK = 16_384
_SKIPPED = {"script", "style", "noscript", "template", "svg", "math", "iframe", "object", "select"}
_RAISED = {"sup": "^{", "sub": "_{"}
_CELLS = {"td", "th"}
_BLOCKS = {"p", "div", "li", "ul", "ol", "table", "tr", "td", "th", "br", "h1", "h2", "h3", "h4", "h5", "h6", "section"}
_BLANKS = re.compile(r"\s+")


@dataclass(frozen=True, slots=True)
class HtmlText:
    """What was read. ``is_cut``: the page is so large or so tangled that its rest was left out."""

    title: str
    text: str
    links: Mapping[int, str]
    is_cut: bool = False


def html_text(html: str, url: str) -> HtmlText:
    """Read HTML, whatever it looks like, in bounded time. ``url`` is where it came from; "" for what we wrote."""
    reader = _Reader(url)
    is_cut = False
    try:
        for start in range(0, len(html), _CHUNK):
            reader.check_time()
            reader.feed(html[start : start + _CHUNK])
        text = reader.finish()
    except _Enough:
        is_cut = True
        text = reader.so_far()
    return HtmlText(_one_line(reader.title)[:_MAX_TITLE], text, reader.links, is_cut)


class _Enough(Exception):
    """The page takes too long, or is longer than can be kept."""


class _Reader(html2text.HTML2Text):
    """html2text with our links, images and titles. Its own tag handler runs where ours has nothing to say."""

    def __init__(self, url: str) -> None:
        super().__init__(baseurl=url, bodywidth=0)
        self.ignore_links = True
        self.ignore_images = True
        self.ignore_tables = True
        self.ignore_emphasis = True
        self.unicode_snob = True
        self.title = ""
        self.links: dict[int, str] = {}
        self._numbers: dict[str, int] = {}
        self._n_link_characters = 0
        self._base = URL(url) if url else None
        self._domain = domain_of(self._base) if self._base else ""
        self._link: URL | None = None
        self._link_text: list[str] = []
        self._link_length = 0
        self._skipping: list[str] = []
        self._is_title = False
        self._n_images = 0
        self._n_written = 0
        # Of this thread alone: a busy machine shall not make pages shorter.
        self._deadline = time.thread_time() + _LONGEST_SECONDS

    def check_time(self) -> None:
        """Raise _Enough where there is no more."""
        if time.thread_time() > self._deadline:
            raise _Enough

    def updatepos(self, i: int, j: int) -> int:
        """Nobody asks for the line of an error, so no lines are counted."""
        return j

    def outtextf(self, s: str) -> None:
        """Count what is written."""
        super().outtextf(s)
        self._n_written += len(s)
        if self._n_written > MAX_CHARACTERS:
            raise _Enough

    def handle_comment(self, data: str) -> None:
        """Nobody sees comments; many of them take time all the same."""
        self.check_time()

    def handle_decl(self, decl: str) -> None:
        """As for comments."""
        self.check_time()

    def unknown_decl(self, data: str) -> None:
        """As for comments."""
        self.check_time()

    def handle_pi(self, data: str) -> None:
        """As for comments."""
        self.check_time()

    def handle_data(self, data: str, entity_char: bool = False) -> None:
        """Take text: for the title, a link, or the page. Nothing is escaped: the model reads it as it is."""
        self.check_time()
        if self._is_title:
            self.title += clean(data)[:_MAX_TITLE]
        elif self._skipping:
            return
        elif self._link is not None:
            self._add_to_link(data)
        else:
            super().handle_data(clean(data), entity_char=True)

    def charref(self, name: str) -> str:
        """The character of a number, however large it claims to be."""
        digits = name[1:] if name[:1] in "xX" else name
        return super().charref(name) if len(digits) < 10 else "\N{REPLACEMENT CHARACTER}"

    def finish(self) -> str:
        """The rest, and the whole text."""
        self.close()
        self._end_link()
        return super().finish().strip("\n")

    def so_far(self) -> str:
        """The text up to here."""
        return "".join(self.outtextlist).replace("&nbsp_place_holder;", " ").strip("\n")[:MAX_CHARACTERS]

    def handle_tag(self, tag: str, attrs: dict[str, str | None], start: bool) -> None:
        """Take a tag, or leave it to html2text."""
        if not self._takes(tag, attrs, start):
            super().handle_tag(tag, attrs, start)

    def _takes(self, tag: str, attributes: Mapping[str, str | None], start: bool) -> bool:
        self.check_time()
        if tag == "title":
            self._is_title = start and not self.title and not self._skipping
            return True
        if tag == "body":
            self._is_title = False
        if tag in _SKIPPED:
            self._skip(tag, attributes, start)
            return True
        if self._skipping:
            return True
        return self._on_visible_tag(tag, attributes, start)

    def _on_visible_tag(self, tag: str, attributes: Mapping[str, str | None], start: bool) -> bool:
        if tag == "a":
            self._end_link()
            if start:
                self._link = self._target(attributes.get("href"))
            return True
        if tag == "img":
            if start:
                self._image(attributes)
            return True
        if tag in _RAISED:
            self.handle_data(_RAISED[tag] if start else "}")
            return True
        if self._link is not None:
            # A link is one line, whatever it is made of.
            if tag in _BLOCKS:
                self._link_text.append(" ")
            return True
        if tag in _CELLS and start:
            self.handle_data(" ")
        return tag in ("abbr", "q")

    def _skip(self, tag: str, attributes: Mapping[str, str | None], start: bool) -> None:
        if start:
            if tag == "math" and not self._skipping and (formula := attributes.get("alttext")):
                self.handle_data(formula)
            if not self._skipping or (self._skipping[0] == tag and tag in ("svg", "math", "template", "object")):
                self._skipping.append(tag)
        elif self._skipping and self._skipping[0] == tag:
            self._skipping.pop()

    def _image(self, attributes: Mapping[str, str | None]) -> None:
        name = _one_line(attributes.get("alt") or attributes.get("title") or "")[:_MAX_LINK_TEXT]
        self.handle_data(f"[Image {self._n_images}: {name}]" if name else f"[Image {self._n_images}]")
        self._n_images += 1

    def _target(self, href: str | None) -> URL | None:
        """Where a link leads; None for what is not followed: anchors, scripts, mail, anything but the web."""
        if href is None or href.strip().startswith("#") or len(self.links) >= _MAX_LINKS:
            return None
        if self._n_link_characters >= _MAX_LINK_CHARACTERS:
            return None
        try:
            return parse_url(href, self._base) if self._base or "://" in href else None
        except FetchError:
            return None

    def _add_to_link(self, data: str) -> None:
        self._link_text.append(data)
        self._link_length += len(data)
        if self._link_length > _MAX_LINK_TEXT:
            # No link is that long: it was never closed.
            self._end_link()

    def _end_link(self) -> None:
        link, text = self._link, "".join(self._link_text)
        self._link, self._link_text, self._link_length = None, [], 0
        if link is None:
            return
        shown = _one_line(text).replace("†", "‡")
        before, after = " " * text[:1].isspace(), " " * text[-1:].isspace()
        if not shown:
            return
        domain = domain_of(link)
        number = self._number(str(link))
        mark = f"【{number}†{shown}】" if domain == self._domain else f"【{number}†{shown}†{clean(domain)}】"
        super().handle_data(f"{before}{mark}{after}", entity_char=True)

    def _number(self, url: str) -> int:
        number = self._numbers.setdefault(url, len(self._numbers))
        if number not in self.links:
            self.links[number] = url
            self._n_link_characters += len(url)
        return number


def _one_line(text: str) -> str:
    return _BLANKS.sub(" ", clean(text)).strip()
