"""From the bytes of an answer to a page: which kind of text it is, in which encoding, and what is no text at all."""

import codecs
import json
import re
from collections.abc import Mapping
from typing import Any

from harmony_ls.tools.browser.fetch import Fetched, FetchError, domain_of
from harmony_ls.tools.browser.html_page import html_text
from harmony_ls.tools.browser.page import MAX_CHARACTERS, Page, clean, compose, wrapped

__all__ = ["decode", "read_page"]

_TEXT_TYPES = re.compile(r"text/.*|application/(.*[+.-])?(json|xml|yaml|toml|javascript|ecmascript|x-sh|x-ndjson)|")
_HTML_TYPES = {"text/html", "application/xhtml+xml"}
_SIGNATURES = {
    b"%PDF-": "a PDF file",
    b"\x89PNG": "an image",
    b"GIF8": "an image",
    b"\xff\xd8\xff": "an image",
    b"PK\x03\x04": "an archive",
    b"\x1f\x8b": "compressed data",
    b"\x7fELF": "a program",
}
_LOOKS_LIKE_HTML = re.compile(rb"\s*(<!doctype\s+html|<html|<head|<body|<!--)", re.IGNORECASE)
_META_CHARSET = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([\w.:-]{1,40})", re.IGNORECASE)
_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
# Python knows encodings that are none (hex, zip, idna); some of them take for ever.
_ENCODINGS = re.compile(r"(utf-|iso8859|latin|ascii|cp\d|koi8|mac-|gb|hz$|big5|euc_|shift_jis|johab|iso2022|tis)")
_LARGEST_JSON = 200_000
_LINE_ENDS = re.compile(r"\r\n?|[\x0b\x0c\x85]")


def read_page(fetched: Fetched, *, view_source: bool = False) -> Page:
    """The page in an answer. Raises FetchError where it is no text."""
    _refuse_binary(fetched)
    url = str(fetched.url)
    text = decode(fetched.content, fetched.charset)
    is_html = fetched.content_type in _HTML_TYPES or (
        fetched.content_type in ("", "text/plain") and _LOOKS_LIKE_HTML.match(fetched.content) is not None
    )
    title, is_cut = "", fetched.is_cut
    links: Mapping[int, str] = {}
    if is_html and not view_source:
        read = html_text(text, url)
        title, text, links, is_cut = read.title, read.text, read.links, is_cut or read.is_cut
    else:
        text = clean(_with_line_feeds(_indented(text) if "json" in fetched.content_type else text))
    if is_cut:
        text += "\n\n(The rest of the page is left out: it is too large.)"
    if not text.strip():
        text = "(The page holds no text.)"
    lines = wrapped(compose(clean(url), text))
    return Page(url, title or domain_of(fetched.url), lines, links, "source" if view_source else "page")


def decode(content: bytes, charset: str | None) -> str:
    """Bytes as text, in the encoding that the bytes, the server or the page name; never an exception."""
    for mark, unicode_encoding in _MARKS.items():
        if content.startswith(mark):
            return content.decode(unicode_encoding, "replace")
    declared = _META_CHARSET.search(content[:4096])
    for name in (charset, declared[1].decode("ascii", "replace") if declared else None):
        if (encoding := _encoding(name)) is not None:
            return content.decode(encoding, "replace")
    try:
        return codecs.getincrementaldecoder("utf-8")().decode(content)
    except UnicodeDecodeError:
        return content.decode("cp1252", "replace")


def _refuse_binary(fetched: Fetched) -> None:
    kind = next((kind for mark, kind in _SIGNATURES.items() if fetched.content.startswith(mark)), None)
    if kind is None and not _TEXT_TYPES.fullmatch(fetched.content_type):
        kind = "a PDF file" if fetched.content_type == "application/pdf" else fetched.content_type[:80]
    head = fetched.content[:4096]
    if kind is None and head.count(0) > len(head) // 2 and not head.startswith(tuple(_MARKS)):
        kind = "binary data"
    if kind is not None:
        raise FetchError(f"it is not text but {clean(kind)}, which cannot be read here; look for a page in HTML")


def _encoding(name: str | None) -> str | None:
    try:
        known = codecs.lookup(name).name if name else ""
    except (LookupError, ValueError):
        return None
    return known if _ENCODINGS.match(known) else None


def _with_line_feeds(text: str) -> str:
    """The text with one kind of line ends. Form feeds are some, too: old documents part their pages by them."""
    return _LINE_ENDS.sub("\n", text)


def _indented(text: str) -> str:
    """JSON with a line for each value: in one long line nothing can be found or cited.

    Indentation can make a text that is nested deeply a thousand times as long; such a text is left as it is.
    """
    if len(text) > _LARGEST_JSON:
        return text
    try:
        value: Any = json.loads(text)
        pieces: list[str] = []
        n_characters = 0
        for piece in json.JSONEncoder(ensure_ascii=False, indent=2).iterencode(value):
            pieces.append(piece)
            n_characters += len(piece)
            if n_characters > MAX_CHARACTERS:
                return text
        return "".join(pieces)
    except (ValueError, RecursionError):
        return text
