"""Earlier answers: what is on screen while a person types it, and a bounded memory of what the model wrote before.

An answer is found again by the text before the cursor where it was given, so it survives typing (the typed characters
are walked back over), deleting and typing again, and edits elsewhere. It is lost when the text after the cursor
changes, except for closing brackets, quotes and blanks directly at the cursor: editors insert those by themselves and
let them be typed over.

The answer on screen comes first: while what is typed is a beginning of it, its remainder is returned and nothing
replaces it, however good. The cost of a look-up is bounded by the length of an answer, not of the document.
"""

import re
from collections import OrderedDict
from dataclasses import dataclass

from harmony_ls.features.document import DocumentSnapshot
from harmony_ls.features.inline.context import CursorContext
from harmony_ls.features.inline.overlap import fit_rest_of_line
from harmony_ls.features.inline.refusal import Refusal
from harmony_ls.features.line_ends import with_plain_line_ends

__all__ = ["Answer", "Answers"]

CAPACITY = 250
N_BEFORE = 256
N_ABOVE = 4_000
N_AFTER = 64
N_AFTER_CLOSERS = 64
N_INDENTATION = 40
LONGEST_WALK = 1_000

_CLOSERS = re.compile(r"""[)\]}>"'`\s]{0,64}""")

_Key = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Answer:
    """What is left of an earlier answer: ``text`` for the cursor, replacing ``n_replaced`` characters after it."""

    text: str
    n_replaced: int
    is_shown: bool


@dataclass(frozen=True, slots=True)
class _Entry:
    key: _Key
    text: str
    n_replaced: int
    closers: str
    """The closing brackets, quotes and blanks that stood directly after the cursor."""
    above: int
    """A fingerprint of the text further above: the model has read it, and would answer anew if it had changed."""


class Answers:
    """The answers of all documents, the least recently used forgotten first."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._entries: OrderedDict[_Key, _Entry] = OrderedDict()
        self._shown: dict[str, _Entry] = {}
        self._longest = 0

    def show(self, document: DocumentSnapshot, offset: int, text: str, n_replaced: int = 0) -> None:
        """Remember a text that the editor is about to show in this document, in place of any before.

        It fits at ``offset``, as `trim` returns it, and is found again when the cursor comes there later.
        """
        self._shown[document.uri] = self._store(document, offset, text, n_replaced)

    def lookup(self, document: DocumentSnapshot, offset: int) -> Answer | None:
        """What is left of an answer given here or a few typed characters ago: the one shown, else the longest."""
        text, uri = document.text, document.uri
        _, after = _after(text, offset)
        shown, longest, found = self._shown.get(uri), None, None
        for n_typed in range(min(offset, self._longest, LONGEST_WALK) + 1):
            anchor = offset - n_typed
            key = (uri, text[max(0, anchor - N_BEFORE) : anchor], after)
            if shown is not None and shown.key == key and (answer := self._left(shown, document, offset, n_typed)):
                return answer
            entry = self._entries.get(key)
            if entry is None or (answer := self._left(entry, document, offset, n_typed)) is None:
                continue
            if longest is None or len(answer.text) > len(longest.text):
                longest, found = answer, key
        if found is not None:
            self._entries.move_to_end(found)
        return longest

    def forget(self, uri: str) -> None:
        """Drop all answers of a document that was closed."""
        self._shown.pop(uri, None)
        for key in [key for key in self._entries if key[0] == uri]:
            del self._entries[key]

    def clear(self) -> None:
        """Drop everything: another model or other settings would answer differently."""
        self._longest = 0
        self._shown.clear()
        self._entries.clear()

    def _store(self, document: DocumentSnapshot, offset: int, text: str, n_replaced: int) -> _Entry:
        closers, after = _after(document.text, offset)
        key = (document.uri, document.text[max(0, offset - N_BEFORE) : offset], after)
        entry = _Entry(key, text, n_replaced, closers, _above(document.text, offset))
        self._entries[key] = entry
        # Deeper automatic indentation makes what is typed longer than the answer.
        self._longest = max(self._longest, len(text) + N_INDENTATION)
        self._entries.move_to_end(key)
        while len(self._entries) > self._capacity:
            self._entries.popitem(last=False)
        return entry

    def _left(self, entry: _Entry, document: DocumentSnapshot, offset: int, n_typed: int) -> Answer | None:
        """What is left of an answer after ``n_typed`` characters, or None where they are no beginning of it."""
        left = _after_typing(entry.text, document.text[offset - n_typed : offset])
        if entry.above != _above(document.text, offset - n_typed):
            return None
        if left is None or not left.strip():
            return None
        closers, _ = _after(document.text, offset)
        is_shown = self._shown.get(document.uri) is entry
        if closers == entry.closers:
            return Answer(left, entry.n_replaced, is_shown)
        if entry.closers.endswith(closers):
            n_typed_over = len(entry.closers) - len(closers)
            return Answer(left, max(0, entry.n_replaced - n_typed_over), is_shown)
        if not closers.endswith(entry.closers):
            return None
        inserted = closers[: len(closers) - len(entry.closers)]
        return _fitted(left, inserted, entry, CursorContext.at(document, offset), is_shown)


def _fitted(left: str, inserted: str, entry: _Entry, context: CursorContext, is_shown: bool) -> Answer | None:
    """What is left of an answer, less the closing signs that the editor has put after the cursor meanwhile."""
    left, inserted = with_plain_line_ends(left), with_plain_line_ends(inserted)
    if not inserted.strip():
        return Answer(left.replace("\n", context.line_ending), entry.n_replaced, is_shown)
    if "\n" in inserted:
        closing = inserted.strip()
        if not left.rstrip().endswith(closing):
            return None
        text, n_replaced = left.rstrip()[: -len(closing)].rstrip(), 0
    else:
        fitted = fit_rest_of_line(left, context.line_prefix, inserted, context.quotes)
        if isinstance(fitted, Refusal):
            return None
        text, n_replaced = fitted.text, fitted.n_replaced
        if entry.n_replaced:
            n_replaced = len(inserted) + entry.n_replaced
    if not text.strip():
        return None
    return Answer(text.replace("\n", context.line_ending), n_replaced, is_shown)


def _above(text: str, offset: int) -> int:
    return hash(text[max(0, offset - N_ABOVE) : max(0, offset - N_BEFORE)])


def _after_typing(text: str, typed: str) -> str | None:
    """The rest of a text after its beginning was typed.

    An editor may indent a new line deeper than the text does; then the lines that follow move along.
    """
    if text.startswith(typed):
        return text[len(typed) :]
    lines = typed.rstrip(" \t")
    if not lines.endswith(("\n", "\r")) or not text.startswith(lines):
        return None
    indentation, left = typed[len(lines) :], text[len(lines) :]
    line_ending = "\r\n" if lines.endswith("\r\n") else lines[-1]
    content = left.lstrip(" \t")
    expected = left[: len(left) - len(content)]
    if not content.strip() or not indentation.startswith(expected):
        return None
    extra = indentation[len(expected) :]
    first, *others = content.split(line_ending)
    return line_ending.join((first, *(extra + line if line.strip() else line for line in others)))


def _after(text: str, offset: int) -> tuple[str, str]:
    """The closing signs and blanks directly after the cursor, and the beginning of what follows them."""
    window = text[offset : offset + N_AFTER_CLOSERS + N_AFTER]
    closers = _CLOSERS.match(window)
    n_closers = closers.end() if closers else 0
    return window[:n_closers], window[n_closers : n_closers + N_AFTER]
