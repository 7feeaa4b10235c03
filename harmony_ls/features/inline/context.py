"""The text around a cursor, cut into the pieces that the rules of an inline completion look at.

Every piece is bounded, so that making one costs the same in a file of ten lines and in one of fifty thousand. Line ends
are ``\\n`` in all pieces, whatever the document has; ``line_ending`` says what to write back. It is no prompt: which
text the model sees is the window's affair.
"""

import re
from dataclasses import dataclass

from harmony_ls.features.document import DocumentSnapshot

__all__ = ["CursorContext", "is_inert"]

N_CHARACTERS_BEFORE = 4_000
N_CHARACTERS_AFTER = 2_000

_LINE_END = re.compile(r"\r\n|\r|\n")
# Text that an editor puts there by itself, or that ends the construct being typed: closing brackets, quotes, comment
# ends and tags, then at most one sign that ends or opens a statement. The quantifiers are possessive: no backtracking.
_INERT = re.compile(r"""(?:[)\]}>"'`\s]|\*/|-->|%>|\?>|</[\w.:-]*+>)*+[:{;,]?\s*+""")


def is_inert(rest_of_line: str) -> bool:
    """Whether a person who types in front of this text is, to all intents, at the end of the line."""
    return _INERT.fullmatch(rest_of_line) is not None


# Where a single quote is an apostrophe, a lifetime or part of a name, it opens no string.
_QUOTES = {
    **dict.fromkeys(("rust", "haskell", "ocaml", "fsharp", "elm", "lisp", "clojure", "scheme", "c", "cpp"), '"'),
    **dict.fromkeys(("markdown", "plaintext", "latex", "tex", "restructuredtext", "asciidoc", "git-commit"), ""),
    **dict.fromkeys(("html", "xml", "svg"), '"'),
}
_MOST_QUOTES = "\"'`"


@dataclass(frozen=True, slots=True)
class CursorContext:
    """The line of the cursor in two halves, and some lines above and below it (both in document order).

    ``starts_document`` is true when ``lines_above`` reach up to the first line, ``ends_document`` when ``lines_below``
    reach down to the last.
    """

    language_id: str
    line_prefix: str
    line_suffix: str
    lines_above: tuple[str, ...]
    lines_below: tuple[str, ...]
    line_ending: str
    starts_document: bool
    ends_document: bool

    @classmethod
    def at(cls, document: DocumentSnapshot, offset: int) -> "CursorContext":
        text = document.text
        offset = min(max(offset, 0), len(text))
        start = max(0, offset - N_CHARACTERS_BEFORE)
        end = min(len(text), offset + N_CHARACTERS_AFTER)
        before, after = text[start:offset], text[offset:end]
        *above, line_prefix = _LINE_END.split(before)
        line_suffix, *below = _LINE_END.split(after)
        # The first line of a cut piece lacks its beginning, the last one its end: neither can be compared with.
        if start > 0 and above:
            above = above[1:]
        if end < len(text) and below:
            below = below[:-1]
        return cls(
            language_id=document.language_id,
            line_prefix=line_prefix,
            line_suffix=line_suffix,
            lines_above=tuple(above),
            lines_below=tuple(below),
            line_ending=_line_ending(before, after),
            starts_document=start == 0,
            ends_document=end == len(text),
        )

    @property
    def rest_is_blank(self) -> bool:
        """Whether the cursor stands at the end of its line, trailing blanks aside."""
        return not self.line_suffix.strip()

    @property
    def wants_single_line(self) -> bool:
        """Whether only the rest of the line makes sense: code that is no mere closing follows on it."""
        return not is_inert(self.line_suffix)

    @property
    def quotes(self) -> str:
        """The characters that open and close a string in this language."""
        return _QUOTES.get(self.language_id, _MOST_QUOTES)

    @property
    def line_below(self) -> str | None:
        """The nearest line below with something visible on it."""
        return next((line for line in self.lines_below if line.strip()), None)

    @property
    def line_above(self) -> str | None:
        """The nearest line above with something visible on it."""
        return next((line for line in reversed(self.lines_above) if line.strip()), None)

    @property
    def suffix(self) -> str:
        """What follows the cursor, as far as it is known."""
        return "\n".join((self.line_suffix, *self.lines_below))


def _line_ending(before: str, after: str) -> str:
    """The line end nearest above the cursor, else nearest below, else the one that most files have."""
    last = max(before.rfind("\n"), before.rfind("\r"))
    if last >= 0:
        if before[last] == "\r":
            return "\r\n" if last == len(before) - 1 and after.startswith("\n") else "\r"
        return "\r\n" if before[last - 1 : last] == "\r" else "\n"
    first = _LINE_END.search(after)
    return first.group() if first else "\n"
