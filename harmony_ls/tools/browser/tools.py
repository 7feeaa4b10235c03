"""The three tools ``browser.search``, ``browser.open`` and ``browser.find`` over one stack of displayed pages.

Before anything leaves the machine the person sees the whole address; the answer may hold for its domain. What pages
say comes back marked as untrusted, and then it holds for links alone: an address that the model makes up after it has
read a page could carry away what a page asked it for. A question to the search service is no such address: the user
chose who is asked, and no page can read it there.
"""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from yarl import URL

from harmony_ls.messages import Message, Role, ToolCall, ToolSpec
from harmony_ls.tools.browser.arguments import ArgumentError, arguments_of, flag, is_number, number, text
from harmony_ls.tools.browser.citations import CitationFilter
from harmony_ls.tools.browser.display import PageStack, UsageError, find_in, shown
from harmony_ls.tools.browser.fetch import (
    Fetcher,
    FetchError,
    Limits,
    WebRequest,
    domain_of,
    host_and_port,
    parse_url,
)
from harmony_ls.tools.browser.html_page import html_text
from harmony_ls.tools.browser.page import Page, clean, compose, wrapped
from harmony_ls.tools.browser.reading import read_page
from harmony_ls.tools.browser.search.results import SearchResult, SearchService, results_html
from harmony_ls.tools.tool import ApprovalRequest, TextFilter, Tool, ToolOutput

__all__ = ["Browser"]

# Beyond this an address or a question is long enough to carry a piece of somebody's file away.
_LONG = 300
# A longer name of a domain cannot be shown whole in an answer, and its end says whose it is.
_LONGEST_SCOPE = 80
_MOST_RESULTS = 20
_LINES_BEFORE_MATCH = 4

_SEARCH = ToolSpec(
    "browser.search",
    "Search the web for `query` and show the `topn` best results. What is shown begins with its cursor in "
    "brackets, `[0]`; its lines are numbered, and links look like `【3†text】`. Cite what you use by cursor and lines: "
    "`【0†L3-L5】`.",
    {
        "type": "object",
        "properties": {
            "query": {"type": "string"},
            "topn": {"type": "number", "default": 10},
            "source": {"type": "string"},
        },
        "required": ["query"],
    },
)
_OPEN = ToolSpec(
    "browser.open",
    "Open the link with the number `id` of the page `cursor` (the newest page if it is left out), or the address `id`, "
    "and show `num_lines` lines from line `loc` on. Without `id`, scroll in the page to `loc`.",
    {
        "type": "object",
        "properties": {
            "id": {"type": ["number", "string"], "default": -1},
            "cursor": {"type": "number", "default": -1},
            "loc": {"type": "number", "default": -1},
            "num_lines": {"type": "number", "default": -1},
            "view_source": {"type": "boolean", "default": False},
            "source": {"type": "string"},
        },
    },
)
_FIND = ToolSpec(
    "browser.find",
    "Find all places where the text `pattern` stands in the page `cursor` (the newest page if it is left out).",
    {
        "type": "object",
        "properties": {"pattern": {"type": "string"}, "cursor": {"type": "number", "default": -1}},
        "required": ["pattern"],
    },
)

_NAMES = {spec.name for spec in (_SEARCH, _OPEN, _FIND)}
_CURSOR = re.compile(r"\[([0-9]{1,9})\] ")


class Browser:
    """What one conversation has displayed, and its tools. Without ``search`` pages can only be opened."""

    def __init__(self, fetcher: Fetcher, search: SearchService | None = None) -> None:
        self._fetcher = fetcher
        self._search = search
        self._pages = PageStack()
        self.tools: tuple[Tool, ...] = (
            *((_BrowserTool(_SEARCH, self._ask_search, self._run_search),) if search is not None else ()),
            _StackTool(_OPEN, self._ask_open, self._run_open, self),
            _BrowserTool(_FIND, _ask_nothing, self._run_find),
        )

    def citations(self) -> CitationFilter:
        """A filter for one text that the model writes, which makes links of its citations."""
        return CitationFilter(self._pages.citation_url)

    def go_on(self, messages: Sequence[Message]) -> None:
        """Give no cursor again that was given in ``messages``: what is said of the one page would be linked to the
        other. Of a conversation that was kept and is gone on with, the pages themselves are gone."""
        if not messages:
            self._pages.begin_at(0)
        shown_before = (each.content for each in messages if each.role is Role.TOOL and each.name in _NAMES)
        cursors = [int(found[1]) for found in map(_CURSOR.match, shown_before) if found is not None]
        if cursors and max(cursors) >= self._pages.next_cursor:
            self._pages.begin_at(max(cursors) + 1)

    def _ask_search(self, call: ToolCall) -> ApprovalRequest:
        assert self._search is not None
        query, domain = text(arguments_of(call), "query"), domain_of(self._search.endpoint)
        return ApprovalRequest(
            call, f"Search the web with {domain}", query, is_sensitive=len(query) > _LONG, scope=domain
        )

    async def _run_search(self, call: ToolCall) -> str:
        assert self._search is not None
        arguments = arguments_of(call)
        query = text(arguments, "query")
        wanted = number(arguments, "topn", number(arguments, "top_n", 10))
        n_results = min(max(wanted, 1), _MOST_RESULTS)
        try:
            results = await _asked(self._fetcher.limits, self._search, query, n_results)
        except FetchError as error:
            raise FetchError(f"Error during search for `{clean(query)[:200]}`: {error}") from error
        return self._displayed(await asyncio.to_thread(_results_page, query, results[:n_results]))

    def _ask_open(self, call: ToolCall) -> ApprovalRequest | None:
        opening = self._opening(call)
        if opening.page is not None:
            return None
        url = opening.url
        scope = _scope_of(url)
        # A page may lead into the person's own network, and what is asked there may do something: the links that count
        # there are those of the same server.
        from_domain = domain_of(url) if self._fetcher.may_be_private(url) else None
        return ApprovalRequest(
            call,
            f"Open a page of {scope}",
            str(url),
            is_sensitive=len(str(url)) > _LONG or len(scope) > _LONGEST_SCOPE,
            scope=scope,
            is_steerable=not self._pages.leads_to(str(url), from_domain=from_domain),
        )

    async def _run_open(self, call: ToolCall) -> str:
        opening = self._opening(call)
        page = opening.page
        if page is None:
            page = await self._loaded(opening.url, view_source=opening.views_source)
        return self._displayed(page, opening.loc, opening.n_lines)

    async def _run_find(self, call: ToolCall) -> str:
        arguments = arguments_of(call)
        pattern = text(arguments, "pattern")
        page = self._pages.at(number(arguments, "cursor"))
        if page.kind in ("search", "find"):
            raise UsageError("Cannot run `find` on search results page or find results page")
        return self._displayed(await asyncio.to_thread(find_in, page, pattern))

    def _opening(self, call: ToolCall) -> "_Opening":
        """What a call opens. Raises ArgumentError, UsageError and FetchError."""
        arguments = arguments_of(call)
        views_source = flag(arguments, "view_source")
        loc, n_lines = number(arguments, "loc"), number(arguments, "num_lines")
        cursor = number(arguments, "cursor")
        given = arguments.get("id")
        if isinstance(given, str) and given.strip() and not is_number(given):
            return _Opening(_address(given), None, max(loc, 0), n_lines, views_source)
        link = -1 if given == "" else number(arguments, "id")
        page = self._pages.at(cursor)
        if link < 0:
            if not views_source:
                return _Opening(URL(), page, max(loc, 0), n_lines)
            if not page.url:
                raise UsageError("A page of search results has no source.")
            return _Opening(_address(page.url), None, max(loc, 0), n_lines, views_source)
        if link not in page.links:
            raise UsageError(f"Invalid link id `{link}`.")
        if page.kind == "find" and not views_source:
            place = page.places[link]
            start = place - _LINES_BEFORE_MATCH if place > _LINES_BEFORE_MATCH else place
            return _Opening(URL(), page.origin, start if loc < 0 else loc, n_lines)
        url = page.links[link]
        known = None if views_source else self._pages.with_url(url)
        return _Opening(_address(url), known, max(loc, 0), n_lines, views_source)

    async def _loaded(self, url: URL, *, view_source: bool) -> Page:
        domain = domain_of(url)
        try:
            # The person agreed to this domain: what leads elsewhere is a new question.
            fetched = await self._fetcher.fetch(WebRequest(url), lambda target: domain_of(target) == domain)
            return await asyncio.to_thread(read_page, fetched, view_source=view_source)
        except FetchError as error:
            raise FetchError(f"Error fetching URL `{_short(url)}`: {error}") from error

    def _displayed(self, page: Page, loc: int = 0, n_lines: int = -1) -> str:
        if loc >= len(page.lines):
            # What cannot be displayed gets no cursor.
            shown(page, -1, loc, n_lines)
        return shown(page, self._pages.add(page), loc, n_lines)


@dataclass(frozen=True, slots=True)
class _Opening:
    """What a call opens: ``page`` that is known already, or ``url`` to fetch."""

    url: URL
    page: Page | None
    loc: int
    n_lines: int
    views_source: bool = False


class _BrowserTool:
    """`Tool` over a pair of functions, with what goes wrong in them told to the model."""

    def __init__(
        self,
        spec: ToolSpec,
        ask: Callable[[ToolCall], ApprovalRequest | None],
        act: Callable[[ToolCall], Awaitable[str]],
    ) -> None:
        self._spec = spec
        self._ask = ask
        self._act = act

    @property
    def spec(self) -> ToolSpec:
        """What the model is told."""
        return self._spec

    async def prepare(self, call: ToolCall) -> ApprovalRequest | ToolOutput | None:
        """The address that would be asked; None where all is here already."""
        try:
            return self._ask(call)
        except (ArgumentError, UsageError, FetchError) as error:
            return ToolOutput(str(error), is_error=True)

    async def run(self, call: ToolCall) -> ToolOutput:
        """Display a page."""
        try:
            return ToolOutput(await self._act(call), is_untrusted=True)
        except (ArgumentError, UsageError) as error:
            return ToolOutput(str(error), is_error=True)
        except FetchError as error:
            # A server has a say in it: where it redirects to.
            return ToolOutput(str(error), is_error=True, is_untrusted=True)

    async def close(self) -> None:
        """Nothing outlives a call."""


class _StackTool(_BrowserTool):
    """The one of the browser's tools that is always there, and speaks of the displayed pages for all of them."""

    def __init__(
        self,
        spec: ToolSpec,
        ask: Callable[[ToolCall], ApprovalRequest | None],
        act: Callable[[ToolCall], Awaitable[str]],
        browser: Browser,
    ) -> None:
        super().__init__(spec, ask, act)
        self._browser = browser

    def text_filter(self) -> TextFilter:
        """Links of citations."""
        return self._browser.citations()

    def go_on(self, messages: Sequence[Message]) -> None:
        """Go on with the cursors of a conversation."""
        self._browser.go_on(messages)


def _ask_nothing(_call: ToolCall) -> None:
    return None


def _address(given: str) -> URL:
    try:
        return parse_url(given)
    except FetchError as error:
        raise FetchError(f"Error fetching URL `{clean(' '.join(given.split()))[:1024]}`: {error}") from error


def _scope_of(url: URL) -> str:
    """What a person allows: a domain. Without encryption it may be anybody who answers for it, so that is another."""
    return domain_of(url) if url.scheme == "https" else f"{url.scheme}://{domain_of(url)}"


def _short(url: URL) -> str:
    return clean(str(url))[:1024]


async def _asked(limits: Limits, search: SearchService, query: str, n_results: int) -> tuple[SearchResult, ...]:
    """Ask a search service. Its host is the user's own choice, so it may be a private one."""
    request = search.request(query, n_results)
    fetcher = Fetcher([host_and_port(request.url)], limits)
    fetched = await fetcher.fetch(request, lambda _target: False)
    try:
        answer = await asyncio.to_thread(json.loads, fetched.content)
    except (ValueError, RecursionError):
        raise FetchError("the search service does not answer in JSON") from None
    return tuple(result for result in search.read(answer) if result.url)


def _results_page(query: str, results: tuple[SearchResult, ...]) -> Page:
    title = clean(" ".join(query.split()))[:200]
    read = html_text(results_html(results), "")
    links: Mapping[int, str] = read.links
    return Page("", title, wrapped(compose("", read.text)), links, "search")
