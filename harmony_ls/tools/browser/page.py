"""What the model sees of a page: lines with numbers, and links by their number. Nothing is fetched here.

The form is the one that GPT-OSS was trained on: wrapped at 80 characters, links as ``【0†text】`` with the domain
behind it where it is another one, the address on top.
"""

import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["MAX_CHARACTERS", "Page", "clean", "compose", "strip_links", "wrapped"]

MAX_CHARACTERS = 400_000
"""The longest text that is kept of a page."""

_WIDTH = 80
# The marks of links and citations are ours alone: in the text of a page they become look-alikes.
_MARKS = {ord("【"): "〖", ord("】"): "〗", ord("◼"): "◾"}
# What is not seen could still speak to the model, or turn the text that a person reads around: control characters,
# what Unicode calls default ignorable (tags and variation selectors can spell any text), and halves of surrogate pairs.
_UNSEEN = [
    *range(0x00, 0x09),
    *range(0x0B, 0x20),
    *range(0x7F, 0xA0),
    0xAD,
    0x034F,
    0x061C,
    *range(0x115F, 0x1161),
    *range(0x17B4, 0x17B6),
    *range(0x180B, 0x1810),
    *range(0x200B, 0x2010),
    *range(0x202A, 0x202F),
    *range(0x2060, 0x2070),
    0x3164,
    *range(0xD800, 0xE000),
    *range(0xFE00, 0xFE10),
    0xFEFF,
    0xFFA0,
    *range(0xFFF0, 0xFFFC),
    *range(0x1BCA0, 0x1BCA4),
    *range(0x1D173, 0x1D17B),
    *range(0xE0000, 0xE1000),
]
# Lines are numbered where we break them, and end nowhere else.
_LINE_ENDS = dict.fromkeys((0x2028, 0x2029), " ")
_CLEAN = str.maketrans(dict.fromkeys(_UNSEEN, "") | _LINE_ENDS | _MARKS)
_LINK = re.compile(r"【\d+†([^】†]*)(?:†[^】]*)?】")
_BLANK_LINES = re.compile(r"\n{3,}")


@dataclass(frozen=True, slots=True)
class Page:
    """Something that was displayed. ``links`` are addresses by the number that they have in the text.

    ``places`` are the lines of `origin` that the matches of a ``find`` page stand for.
    """

    url: str
    title: str
    lines: tuple[str, ...]
    links: Mapping[int, str] = field(default_factory=dict)
    kind: Literal["page", "source", "search", "find"] = "page"
    places: tuple[int, ...] = ()
    origin: "Page | None" = None


def clean(text: str) -> str:
    """Text of others without marks that mean something to us and without characters that nobody sees."""
    return text.translate(_CLEAN)


def compose(url: str, text: str) -> str:
    """The text of a page as the model knows it: the address, then the text with at most one blank line in a row."""
    lines = "\n".join(line.rstrip() for line in text.split("\n"))
    body = _BLANK_LINES.sub("\n\n", lines).strip("\n")
    if len(body) > MAX_CHARACTERS:
        body = f"{body[:MAX_CHARACTERS]}\n\n(The rest of the page is left out: it is too large.)"
    return f"\nURL: {url}\n{body}"


def wrapped(text: str) -> tuple[str, ...]:
    """The lines of a text, no longer than the model is used to. White space within them stays."""
    lines: list[str] = []
    for line in text.split("\n"):
        lines += _wrap(line)
    return tuple(lines)


def strip_links(lines: Sequence[str]) -> list[str]:
    """The lines with the texts of links instead of their marks; a link may go on in the next line."""
    return _LINK.sub(lambda link: link[1], "\n".join(lines)).split("\n")


def _wrap(line: str) -> list[str]:
    if len(line) <= _WIDTH:
        return [line]
    return textwrap.wrap(line, _WIDTH, replace_whitespace=False, drop_whitespace=False) or [""]
