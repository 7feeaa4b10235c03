"""Citations in what a model writes (``【3†L9-L11】``) as links that a person can follow. It is text in, text out.

A citation may come in pieces; what could become one is held back until it is one or cannot be one any more.
"""

import re
from collections.abc import Callable

from yarl import URL

from harmony_ls.tools.browser.fetch import domain_of

__all__ = ["CitationFilter", "ResolveCitation"]

ResolveCitation = Callable[[int, int], str | None]
"""The address behind a cursor and a line of what was displayed; None where there is none."""

# The form that GPT-OSS is told of, and what it makes of it: several places, the domain as in a link, no lines at all.
_CITATION = re.compile(
    r"【\s*(\d{1,6})\s*†\s*(?:L(\d{1,7})(?:\s*[-–,;]\s*L?\d{1,7})*|source)\s*(?:†[^【】†]*)?】"  # noqa: RUF001
)
_LONGEST = 48
_ENCODED = {"(": "%28", ")": "%29", "<": "%3C", ">": "%3E", " ": "%20"}


class CitationFilter:
    """A filter over the deltas of one text. Its state is what is held back."""

    def __init__(self, resolve: ResolveCitation) -> None:
        self._resolve = resolve
        self._held = ""
        self._last = " "

    def feed(self, delta: str) -> str:
        """The text that can be shown now."""
        text = self._held + delta
        start = text.rfind("【")
        may_go_on = start >= 0 and "】" not in text[start:] and len(text) - start <= _LONGEST
        self._held = text[start:] if may_go_on else ""
        return self._linked(text[:start] if may_go_on else text)

    def finish(self) -> str:
        """What was held back to the end: it is no citation, and nothing is lost."""
        held, self._held = self._held, ""
        return held

    def _linked(self, text: str) -> str:
        pieces: list[str] = []
        position = 0
        for found in _CITATION.finditer(text):
            pieces.append(text[position : found.start()])
            position = found.end()
            before = next((piece[-1] for piece in reversed(pieces) if piece), self._last)
            pieces.append(self._link(found, before))
        shown = "".join([*pieces, text[position:]])
        self._last = shown[-1:] or self._last
        return shown

    def _link(self, found: re.Match[str], before: str) -> str:
        # A longer one would not have been held back if it had come in pieces.
        url = self._resolve(int(found[1]), int(found[2] or 0)) if len(found[0]) <= _LONGEST else None
        if url is None:
            return found[0]
        target = "".join(_ENCODED.get(character, character) for character in url)
        space = "" if before.isspace() else " "
        return f"{space}([{domain_of(URL(url))}]({target}))"
