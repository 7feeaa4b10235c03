"""What a search answers, whoever was asked, and the page that the model sees of it."""

import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from yarl import URL

from harmony_ls.tools.browser.fetch import WebRequest

__all__ = ["SearchResult", "SearchService", "mappings", "results_html", "text_of"]

_LONGEST_TITLE = 200
_LONGEST_SUMMARY = 1000


@dataclass(frozen=True, slots=True)
class SearchResult:
    """One result."""

    url: str
    title: str
    summary: str = ""


class SearchService(Protocol):
    """A service that is asked with one request and answers in JSON."""

    @property
    def endpoint(self) -> URL:
        """Where it is asked."""

    def request(self, query: str, n_results: int) -> WebRequest:
        """The request for a search."""

    def read(self, answer: Any) -> tuple[SearchResult, ...]:
        """The results in the service's JSON, whatever is wrong or missing in it."""


def results_html(results: Sequence[SearchResult]) -> str:
    """The results as the HTML page whose text the model knows."""
    items = "".join(
        f'<li><a href="{html.escape(each.url)}">{html.escape(each.title[:_LONGEST_TITLE] or each.url)}</a> '
        f"{html.escape(each.summary[:_LONGEST_SUMMARY])}</li>"
        for each in results
    )
    return f"<html><body><h1>Search Results</h1><ul>{items}</ul></body></html>"


def mappings(value: object) -> Iterable[Mapping[str, Any]]:
    """The objects in a list, if it is one."""
    return (each for each in value if isinstance(each, Mapping)) if isinstance(value, list) else ()


def text_of(value: object) -> str:
    """A text, or texts in a row; "" for anything else."""
    if isinstance(value, list):
        return " ".join(each for each in value if isinstance(each, str))
    return value if isinstance(value, str) else ""
