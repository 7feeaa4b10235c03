"""You.com: GET with ``query`` and ``count``, the key in ``X-API-Key``, pages and news with snippets.

All of it as its documentation has it (you.com/docs/api-reference/search/v1-search); ``count`` holds for pages and news
each. Tested against servers of our own alone, never against the service.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from yarl import URL

from harmony_ls.tools.browser.fetch import WebRequest
from harmony_ls.tools.browser.search.results import SearchResult, mappings, text_of

__all__ = ["You"]


@dataclass(frozen=True, slots=True)
class You:
    """The service, asked at ``endpoint``."""

    default_endpoint: ClassVar[URL] = URL("https://ydc-index.io/v1/search")
    endpoint: URL
    key: str = field(repr=False)

    def request(self, query: str, n_results: int) -> WebRequest:
        """The request for a search."""
        return WebRequest(self.endpoint.with_query(query=query, count=n_results), headers={"X-API-Key": self.key})

    def read(self, answer: Any) -> tuple[SearchResult, ...]:
        """The pages, best first, and then the news."""
        results = answer.get("results") if isinstance(answer, Mapping) else None
        groups = [results.get("web"), results.get("news")] if isinstance(results, Mapping) else []
        return tuple(
            SearchResult(
                text_of(each.get("url")),
                text_of(each.get("title")),
                text_of(each.get("snippets")) or text_of(each.get("description")),
            )
            for group in groups
            for each in mappings(group)
        )
