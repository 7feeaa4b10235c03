"""Which part of a document a prompt shows, chosen so that it changes as little as possible from key to key.

The window's start is anchored: it stays where it is while the document grows in front of the cursor, and jumps forward
by half of what it may hold when it is full, never line by line. The suffix starts at the next line, so that brackets
which the editor closes on the present line do not change it, and small changes in it are ignored. Both are what makes
the next prompt a continuation of the last one; a sliding window makes every key recompute the prompt.

Sizes are characters: what a token holds is known only after tokenising.
"""

from dataclasses import dataclass
from difflib import SequenceMatcher

from harmony_ls.features.line_ends import with_plain_line_ends

__all__ = ["PromptWindow", "Window", "WindowLimits"]

# The pinned suffix stays while at least this share of its beginning is unchanged.
_PINNED_SIMILARITY = 0.9
_COMPARED_CHARACTERS = 200
# Lines longer than this inside the window are generated data; they would fill the prompt.
_LONGEST_LINE = 1000


@dataclass(frozen=True, slots=True)
class WindowLimits:
    """The most that a prompt shows before and after the cursor, in characters."""

    before: int
    after: int


@dataclass(frozen=True, slots=True)
class Window:
    """What a prompt shows: the lines ``before`` the one being typed, its typed part, and what comes ``after``."""

    before: str
    line: str
    after: str


class PromptWindow:
    """The window of one document; it remembers where it was."""

    def __init__(self) -> None:
        self._start = 0
        self._before = ""
        self._after = ""

    def place(self, text: str, offset: int, limits: WindowLimits, *, rest_of_line: bool = False) -> Window:
        """The window around ``offset``. ``rest_of_line`` shows the rest of the line too (mid-line)."""
        if "\n" not in text:
            # A document with the line ends of old Macs; offsets stay what they are.
            text = text.replace("\r", "\n")
        line_start = _line_start(text, offset)
        self._start = self._anchor(text, line_start, limits.before)
        self._before = text[self._start : line_start]
        return Window(
            before=_shown(self._before),
            line=_end_of_line(text, line_start, offset),
            after=_shown(self._suffix(text, offset, limits.after, rest_of_line)),
        )

    def _anchor(self, text: str, line_start: int, limit: int) -> int:
        """Where the window starts: where it did as long as the text since then is the same and fits."""
        kept = self._kept_anchor(text, line_start)
        # Near its start the window would show too little of what stands above the cursor.
        if kept is not None and line_start - kept <= limit and (not kept or line_start - kept >= limit // 4):
            return kept
        # Half full after a jump: it takes as many characters as were dropped to fill the window again.
        wanted = max(0, line_start - limit // 2)
        return _next_line_start(text, wanted - 1, line_start) if wanted else 0

    def _kept_anchor(self, text: str, line_start: int) -> int | None:
        head = self._before[:_COMPARED_CHARACTERS]
        if not head:
            return None
        if self._start <= line_start and text.startswith(head, self._start):
            return self._start
        # An edit above the window moved it: find it again by its first lines.
        found = text.rfind(head, 0, line_start)
        return found if found >= 0 else None

    def _suffix(self, text: str, offset: int, limit: int, rest_of_line: bool) -> str:
        next_line = _next_line_start(text, offset, len(text))
        following = _whole_lines(text, next_line, limit)
        if rest_of_line:
            return (text[offset : min(next_line, offset + limit)] + following)[:limit]
        if not following.strip():
            following = ""
        if len(self._after) > limit or not self._is_pinned(following):
            self._after = following
        return self._after

    def _is_pinned(self, following: str) -> bool:
        if following == self._after:
            return True
        old, new = self._after[:_COMPARED_CHARACTERS], following[:_COMPARED_CHARACTERS]
        if not old or not new or old.partition("\n")[0] != new.partition("\n")[0]:
            return False
        return SequenceMatcher(None, old, new, autojunk=False).ratio() >= _PINNED_SIMILARITY


def _whole_lines(text: str, start: int, limit: int) -> str:
    if len(text) - start <= limit:
        return text[start:]
    end = text.rfind("\n", start, start + limit)
    return text[start : end + 1] if end >= 0 else text[start : start + limit]


def _line_start(text: str, offset: int) -> int:
    """Where the line of ``offset`` starts, by any of the three line ends."""
    newline = text.rfind("\n", 0, offset)
    return max(newline, text.rfind("\r", newline + 1, offset)) + 1


def _next_line_start(text: str, offset: int, end: int) -> int:
    """Where the next line after ``offset`` starts, ``end`` if there is none before."""
    newline = text.find("\n", offset, end)
    found = text.find("\r", offset, end if newline < 0 else newline)
    if found < 0 or found + 1 == newline:
        found = newline
    return end if found < 0 else found + 1


def _end_of_line(text: str, start: int, offset: int) -> str:
    """The typed part of the line; of an endless one its end, which begins at the same place for hundreds of keys."""
    n_hidden = max(0, offset - start - _LONGEST_LINE // 2) // (_LONGEST_LINE // 2) * (_LONGEST_LINE // 2)
    return text[start + n_hidden : offset]


def _shown(text: str) -> str:
    """The text as a model reads it: line ends are ``\\n``, and no line is endless."""
    plain = with_plain_line_ends(text)
    if all(len(line) <= _LONGEST_LINE for line in plain.split("\n")):
        return plain
    return "\n".join(line[:_LONGEST_LINE] for line in plain.split("\n"))
