"""What a completion shares with its own line: with the typed half before the cursor, and with the half after it.

A shared end is cut where possible, because then the edit is a plain insertion at the cursor, which every editor draws
well. Where the completion holds what follows somewhere in its middle (``a) {`` before an auto-closed ``)``), that text
is replaced instead.
"""

from dataclasses import dataclass

from harmony_ls.features.inline.context import is_inert
from harmony_ls.features.inline.measures import Brackets, open_quote, scan_brackets
from harmony_ls.features.inline.refusal import Refusal
from harmony_ls.features.inline.request import Reason

__all__ = ["Fitted", "fit_rest_of_line", "without_repeated_prefix"]

SHORTEST_REPEATED_PREFIX = 4
SHORTEST_CONTAINED_REST = 3

_REFUSED = Refusal(Reason.MID_LINE, "The model writes several lines, but the cursor's line goes on.")


@dataclass(frozen=True, slots=True)
class Fitted:
    """A text for the cursor, and how many characters right of the cursor it replaces because it holds them."""

    text: str
    n_replaced: int = 0


def without_repeated_prefix(text: str, line_prefix: str) -> str:
    """The text without a beginning that repeats the end of what is typed, as models do that restart the line."""
    typed = line_prefix.lstrip()
    bare = text.lstrip(" \t")
    if len(typed) >= SHORTEST_REPEATED_PREFIX and bare.startswith(typed) and len(bare) > len(typed):
        return bare[len(typed) :]
    for n_shared in range(min(len(typed), len(text) - 1), SHORTEST_REPEATED_PREFIX - 1, -1):
        shared = text[:n_shared]
        if not typed.endswith(shared) or not any(character.isalnum() for character in shared):
            continue
        if shared.rstrip().endswith(","):
            continue  # ``void 0, void 0, ``: the next entry of a list
        before = typed[: len(typed) - n_shared]
        if _is_word_boundary(before, shared) and _is_word_boundary(shared, text[n_shared:]):
            return text[n_shared:]
    return text


def fit_rest_of_line(text: str, line_prefix: str, line_suffix: str, quotes: str) -> Fitted | Refusal:
    """The text for a cursor with ``line_suffix`` right of it: nothing of it twice, nothing torn from it."""
    rest = line_suffix.rstrip()
    if not rest.strip():
        return Fitted(text)
    quote = open_quote(line_prefix, quotes)
    if "\n" in text and not is_inert(rest):
        text = text.partition("\n")[0]
        if scan_brackets(text, quote, quotes=quotes).openers:
            return _REFUSED
    brackets = scan_brackets(text, quote, quotes=quotes)
    n_shared = _n_shared_with_rest(text, rest, brackets)
    n_replaced = _n_replaced(text, rest, brackets)
    if n_shared and not _closes_in_the_middle(rest, brackets, len(text) - n_shared):
        fitted = Fitted(text[: len(text) - n_shared])
    else:
        fitted = Fitted(text, n_replaced)
    return _one_line_unless_whole(fitted, rest, quote, quotes) if "\n" in fitted.text else fitted


def _closes_in_the_middle(rest: str, brackets: Brackets, start: int) -> bool:
    """Whether the rest begins with all that the text closes, in order, and some of that stands before ``start``.

    Then the end of the text and the beginning of the rest are alike by chance: ``).])`` before ``)])``.
    """
    closers = "".join(closer for _, closer in brackets.closers)
    return bool(closers) and rest.lstrip().startswith(closers) and brackets.closers[0][0] < start


def _n_shared_with_rest(text: str, rest: str, brackets: Brackets) -> int:
    """The length of the longest end of the text with which the rest of the line begins."""
    starts = {rest, rest.lstrip()}
    longest = 0
    for start in starts:
        for n_shared in range(min(len(text), len(start)), longest, -1):
            shared = start[:n_shared]
            if text.endswith(shared) and _is_repeated(text, start, shared, brackets.closers):
                longest = n_shared
                break
    return longest


def _is_repeated(text: str, rest: str, shared: str, closers: tuple[tuple[int, str], ...]) -> bool:
    """Whether the shared text is one thing written twice, and no coincidence."""
    if any(_is_word(character) for character in shared):
        if shared == rest:
            return True
        before, after = text[: -len(shared)], rest[len(shared) :]
        is_torn = not (_is_word_boundary(before, shared) and _is_word_boundary(shared, after))
        return not is_torn and len(shared) >= SHORTEST_CONTAINED_REST
    if not shared.strip():
        return False
    start = len(text) - len(shared)
    n_brackets = sum(character in ")]}\"'`" for character in shared)
    return sum(offset >= start for offset, _ in closers) >= n_brackets


def _n_replaced(text: str, rest: str, brackets: Brackets) -> int:
    """How much of the rest the text holds in its middle: closers in the same order, or the whole of it."""
    position = len(rest) - len(rest.lstrip())
    n_replaced = last = 0
    for offset, closer in brackets.closers:
        if rest[position : position + 1] != closer:
            break
        position += 1
        n_replaced, last = position, offset + 1
    left = rest[n_replaced:].strip()
    if n_replaced and left and (text[last:].lstrip().startswith(left) or text.endswith(left)):
        return len(rest)
    if n_replaced == 0 and not is_inert(rest) and len(rest.strip()) >= SHORTEST_CONTAINED_REST and rest.strip() in text:
        return len(rest)
    return n_replaced


def _one_line_unless_whole(fitted: Fitted, rest: str, quote: str | None, quotes: str) -> Fitted | Refusal:
    """Several lines stand before closers alone, and only when they leave nothing open themselves."""
    left = rest[fitted.n_replaced :]
    brackets = scan_brackets(fitted.text, quote, quotes=quotes)
    if is_inert(left) and not brackets.openers and len(brackets.closers) <= fitted.n_replaced:
        return fitted
    first_line = fitted.text.partition("\n")[0].rstrip()
    if not first_line or scan_brackets(first_line, quote, quotes=quotes).openers:
        return _REFUSED
    return fit_rest_of_line(first_line, quote or "", rest, quotes)


def _is_word_boundary(before: str, after: str) -> bool:
    """Whether no word spans the seam of two texts."""
    return not (_is_word(before[-1:]) and _is_word(after[:1]))


def _is_word(character: str) -> bool:
    return character.isalnum() or character == "_"
