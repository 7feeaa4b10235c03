"""Exa (exa.ai): POST with JSON, the key in ``x-api-key``, results with a summary or the beginning of their text.

The address, the header, ``query``, ``numResults``, and ``results`` with ``title``, ``url`` and ``summary`` are those of
OpenAI's reference (gpt_oss/tools/simple_browser/backend.py in openai/gpt-oss); ``contents.text.maxCharacters`` and
``highlights`` are those of Exa's documentation (exa.ai/docs/reference/search). Tested against servers of our own alone,
never against the service.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from yarl import URL

from harmony_ls.tools.browser.fetch import WebRequest
from harmony_ls.tools.browser.search.results import SearchResult, mappings, text_of

__all__ = ["Exa"]

_SUMMARY_CHARACTERS = 500


@dataclass(frozen=True, slots=True)
class Exa:
    """The service, asked at ``endpoint``."""

    default_endpoint: ClassVar[URL] = URL("https://api.exa.ai/search")
    endpoint: URL
    key: str = field(repr=False)

    def request(self, query: str, n_results: int) -> WebRequest:
        """The request for a search, with a piece of each result's text."""
        wanted = {"query": query, "numResults": n_results, "contents": {"text": {"maxCharacters": _SUMMARY_CHARACTERS}}}
        return WebRequest(self.endpoint, "POST", {"x-api-key": self.key}, wanted)

    def read(self, answer: Any) -> tuple[SearchResult, ...]:
        """The results, best first."""
        found = mappings(answer.get("results") if isinstance(answer, Mapping) else None)
        return tuple(
            SearchResult(
                text_of(each.get("url")),
                text_of(each.get("title")),
                text_of(each.get("summary")) or text_of(each.get("highlights")) or text_of(each.get("text")),
            )
            for each in found
        )
