"""SearXNG, or anything that answers like it: GET with ``q`` and ``format=json``, ``results`` with ``content``.

As its documentation has it (docs.searxng.org/dev/search_api.html). An instance answers in JSON only where ``json`` is
among the ``search.formats`` of its settings; others answer 403.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from yarl import URL

from harmony_ls.tools.browser.fetch import WebRequest
from harmony_ls.tools.browser.search.results import SearchResult, mappings, text_of

__all__ = ["Searxng"]


@dataclass(frozen=True, slots=True)
class Searxng:
    """An instance at ``endpoint``. A key, where a proxy before it wants one, is sent as a bearer token."""

    endpoint: URL
    key: str = field(default="", repr=False)

    def request(self, query: str, n_results: int) -> WebRequest:
        """It has no parameter for the number of results; all that it sends are read."""
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        return WebRequest(self.endpoint.with_query(q=query, format="json"), headers=headers)

    def read(self, answer: Any) -> tuple[SearchResult, ...]:
        """The results, best first."""
        found = mappings(answer.get("results") if isinstance(answer, Mapping) else None)
        return tuple(
            SearchResult(text_of(each.get("url")), text_of(each.get("title")), text_of(each.get("content")))
            for each in found
        )
