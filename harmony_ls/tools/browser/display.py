"""The pages that were displayed in one conversation, by their cursors, and how one of them is displayed."""

import re
from collections.abc import Iterator
from urllib.parse import unquote

from yarl import URL

from harmony_ls.tools.browser.fetch import domain_of
from harmony_ls.tools.browser.page import Page, clean, strip_links

__all__ = ["PageStack", "UsageError", "find_in", "shown"]

# A screen of the model's own browser is 1024 tokens; a token is about four bytes of text.
_SCREEN_BYTES = 4096
_LONGEST_SCREEN_BYTES = 32_768
_MAX_HEADER = 1024
_N_KEPT = 64
_MAX_MATCHES = 50
_MATCH_LINES = 4
_LINK = re.compile(r"【(\d+)†")


class UsageError(Exception):
    """A call that does not fit what was displayed. The message is for the model."""


class PageStack:
    """What was displayed, newest last. The oldest are forgotten; cursors never change their meaning."""

    def __init__(self) -> None:
        self._pages: list[Page] = []
        self._n_forgotten = 0

    @property
    def next_cursor(self) -> int:
        """The cursor of the page that is displayed next."""
        return self._n_forgotten + len(self._pages)

    def begin_at(self, cursor: int) -> None:
        """Forget all pages, and go on with this cursor."""
        self._pages.clear()
        self._n_forgotten = cursor

    def add(self, page: Page) -> int:
        """Put a page on top; its cursor."""
        self._pages.append(page)
        n_more = max(0, len(self._pages) - _N_KEPT)
        del self._pages[:n_more]
        self._n_forgotten += n_more
        return self.next_cursor - 1

    def at(self, cursor: int) -> Page:
        """The page of a cursor; -1 is the newest. Raises UsageError."""
        if not self._pages:
            raise UsageError("No pages to access!")
        last = self.next_cursor - 1
        number = last if cursor == -1 else cursor
        if not self._n_forgotten <= number <= last:
            raise UsageError(
                f"Cursor `{cursor}` is out of range. Available cursor indices: [{self._n_forgotten} - {last}]."
            )
        return self._pages[number - self._n_forgotten]

    def with_url(self, url: str) -> Page | None:
        """The newest page that was read from an address."""
        return next((page for page in reversed(self._pages) if page.url == url and page.kind == "page"), None)

    def leads_to(self, url: str, *, from_domain: str | None = None) -> bool:
        """Whether an address was displayed: as that of a page, or of a link, ``from_domain`` on a page of that domain.

        Whoever opens such an address says nothing by it that the page did not say.
        """
        return any(
            url == page.url or url in page.links.values()
            for page in self._pages
            if from_domain is None or (page.url and domain_of(URL(page.url)) == from_domain)
        )

    def citation_url(self, cursor: int, line: int) -> str | None:
        """Where a cited line comes from. On a page of search results that is the result that the line belongs to."""
        try:
            page = self.at(cursor) if cursor >= 0 else None
        except UsageError:
            return None
        if page is None:
            return None
        if page.kind != "search":
            return page.origin.url if page.origin else page.url
        numbers = [int(number) for text in page.lines[: line + 1] for number in _LINK.findall(text)]
        return page.links.get(numbers[-1]) if numbers else None


def shown(page: Page, cursor: int, loc: int, n_lines: int) -> str:
    """One screen of a page, from line ``loc``; ``n_lines`` below 1 fills the screen. Raises UsageError."""
    n_all = len(page.lines)
    if loc >= n_all:
        raise UsageError(f"Invalid location parameter: `{loc}`. Cannot exceed page maximum of {n_all - 1}.")
    limit = _SCREEN_BYTES if n_lines < 1 else _LONGEST_SCREEN_BYTES
    lines = list(_numbered(page, loc, n_all if n_lines < 1 else min(n_all, loc + n_lines), limit))
    url = clean(" ".join(unquote(page.url).split()))[:_MAX_HEADER]
    header = f"[{cursor}] {page.title}{f' ({url})' if url else ''}"
    return "\n".join((header, f"**viewing lines [{loc} - {loc + len(lines) - 1}] of {n_all - 1}**", "", *lines))


def find_in(page: Page, pattern: str) -> Page:
    """The page with all places where ``pattern`` stands, as plain text and whatever its case."""
    lines = strip_links(page.lines)
    wanted = pattern.lower()
    places: list[int] = []
    number = 0
    while number < len(lines) and len(places) < _MAX_MATCHES:
        is_match = wanted in lines[number].lower()
        if is_match:
            places.append(number)
        number += _MATCH_LINES if is_match else 1
    blocks = [
        "\n".join((f"# 【{index}†match at L{place}】", *lines[place : place + _MATCH_LINES]))
        for index, place in enumerate(places)
    ]
    named = clean(" ".join(pattern.split()))[:100]
    text = "\n\n".join(blocks) if blocks else f"No `find` results for pattern: `{named}`"
    title = f"Find results for text: `{named}` in `{page.title}`"
    links = dict.fromkeys(range(len(places)), page.url)
    return Page(page.url, title, tuple(text.split("\n")), links, "find", tuple(places), page)


def _numbered(page: Page, start: int, end: int, limit: int) -> Iterator[str]:
    """Lines with their numbers, as many as fit ``limit`` bytes, one at least."""
    size = 0
    for number in range(start, end):
        line = f"L{number}: {page.lines[number]}"
        size += len(line.encode()) + 1
        if size > limit and number > start:
            return
        yield line
