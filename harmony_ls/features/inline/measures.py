"""Measures that several rules share: how alike two lines are, how deep one is indented, which brackets are open.

They know no language's grammar. Brackets inside strings are told from code line by line, which is right often enough
for rules that only ever shorten or drop a suggestion.
"""

import re
from dataclasses import dataclass

__all__ = [
    "OPENER_OF",
    "Brackets",
    "closes_tag_of",
    "is_closing_line",
    "is_similar",
    "n_indentation_columns",
    "n_visible",
    "open_quote",
    "scan_brackets",
    "start_of_open_string",
]

TAB_COLUMNS = 4
SLIP_LENGTH = 6
"""One wrong character in so many is a slip; in a shorter word it makes another word."""

FEWEST_SAME_WORDS = 5
"""Beside so many equal words another one is a slip; beside fewer it is what the line is about."""

_CLOSER_OF = {"(": ")", "[": "]", "{": "}"}
OPENER_OF = {closer: opener for opener, closer in _CLOSER_OF.items()}
_STRING = re.compile(r""""(?:\\.|[^"\\\n])*+"|'(?:\\.|[^'\\\n])*+'|`(?:\\.|[^`\\\n])*+`""")
_CLOSING_LINE = re.compile(r"""\s*(?:[)\]}>;,"'`\s]+|</[\w.:-]*>;?|(?:end|fi|done|esac|endif)\b[);,]*)\s*""")
_END_TAG = re.compile(r"\s*</([\w.:-]+)")
_PIECE = re.compile(r"\w+|[^\w\s]")
_ANY_QUOTE = re.compile('["`]')
_DIGITS = re.compile(r"\d+")
_ALL_QUOTES = "\"'`"
_STRING_PREFIXES = frozenset("rRbBfFuULtT")


def n_visible(text: str) -> int:
    """The number of characters that leave ink."""
    return sum(len(word) for word in text.split())


def n_indentation_columns(line: str) -> int:
    """The width of a line's leading blanks, a tab reaching to the next multiple of four."""
    columns = 0
    for character in line:
        if character == " ":
            columns += 1
        elif character == "\t":
            columns += TAB_COLUMNS - columns % TAB_COLUMNS
        else:
            break
    return columns


def is_closing_line(line: str) -> bool:
    """Whether a line does nothing but close what earlier lines opened: ``})``, ``</div>``, ``end``."""
    return bool(line.strip()) and _CLOSING_LINE.fullmatch(line) is not None


def closes_tag_of(text: str, line: str) -> bool:
    """Whether a line like ``</ul>`` closes an element that the text before it has opened."""
    tag = _END_TAG.match(line)
    return tag is not None and text.count(f"<{tag[1]}") > text.count(f"</{tag[1]}")


def is_similar(line: str, other: str, share: float) -> bool:
    """Whether two lines are the same but for blanks, the kind of quotes, and a slip of the pen in one long word.

    A slip is less than ``share`` of the line. Lines that differ in a number, an operator or several words are the next
    entry of a list or the other half of a pair, which is what a person wants.
    """
    pieces, others = _pieces(line), _pieces(other)
    if len(pieces) != len(others) or not pieces:
        return False
    differing = [(piece, other) for piece, other in zip(pieces, others, strict=True) if piece != other]
    if not differing:
        return True
    if len(differing) > 1 or sum(piece.isidentifier() for piece in pieces) <= FEWEST_SAME_WORDS:
        return False
    word, other_word = differing[0]
    n_edits = min(int(max(len(line.strip()), len(other.strip())) * share - 1e-9), len(word) // SLIP_LENGTH)
    if n_edits < 1 or abs(len(word) - len(other_word)) > n_edits:
        return False
    return _DIGITS.findall(word) == _DIGITS.findall(other_word) and _is_within(word, other_word, n_edits)


def _pieces(line: str) -> list[str]:
    """The words and signs of a line, with one kind of quote and without a comma or semicolon at the end."""
    return _PIECE.findall(_ANY_QUOTE.sub("'", line).rstrip(" \t,;"))


def _is_within(line: str, other: str, n_edits: int) -> bool:
    """Whether at most ``n_edits`` insertions, deletions and substitutions turn one line into the other (banded)."""
    beyond = n_edits + 1
    previous = [j if j <= n_edits else beyond for j in range(len(other) + 1)]
    for i, character in enumerate(line, 1):
        first, last = max(1, i - n_edits), min(len(other), i + n_edits)
        current = [beyond] * (len(other) + 1)
        if i <= n_edits:
            current[0] = i
        for j in range(first, last + 1):
            current[j] = min(previous[j - 1] + (character != other[j - 1]), previous[j] + 1, current[j - 1] + 1, beyond)
        if min(current[first - 1 : last + 1]) > n_edits:
            return False
        previous = current
    return previous[-1] <= n_edits


@dataclass(frozen=True, slots=True)
class Brackets:
    """What a text leaves unbalanced: ``closers`` (offset, character) it did not open, ``openers`` it did not close.

    A closing quote counts as a closer when the text began inside a string.
    """

    closers: tuple[tuple[int, str], ...]
    openers: tuple[str, ...]


def open_quote(line_prefix: str, quotes: str = _ALL_QUOTES) -> str | None:
    """The quote of the string that a line is inside of at its end, if any. ``quotes`` are those of the language."""
    return line_prefix[start_of_open_string(line_prefix, quotes) :][:1] or None


def start_of_open_string(line_prefix: str, quotes: str = _ALL_QUOTES) -> int:
    """Where the string begins that a line is inside of at its end; the length of the line if it is in none."""
    position = 0
    while position < len(line_prefix):
        character = line_prefix[position]
        if character in quotes:
            if string := _STRING.match(line_prefix, position):
                position = string.end()
                continue
            before = line_prefix[position - 1 : position]
            is_apostrophe = character == "'" and before.isalnum() and before not in _STRING_PREFIXES
            if not is_apostrophe:
                return position
        elif character == "\\":
            position += 1
        position += 1
    return len(line_prefix)


def scan_brackets(
    text: str, quote: str | None = None, openers: tuple[str, ...] = (), quotes: str = _ALL_QUOTES
) -> Brackets:
    """Match the brackets of a text that begins inside a string of ``quote`` and inside the given open brackets.

    A closer that meets the wrong open bracket counts as one that the text did not open, and leaves the rest as it is.
    """
    closers: list[tuple[int, str]] = []
    stack = list(openers)
    position = 0
    if quote is not None:
        end = _end_of_string(text, quote)
        if end is not None:
            closers.append((end, quote))
            position = end + 1
    while position < len(text):
        character = text[position]
        if character in _CLOSER_OF:
            stack.append(character)
        elif character in OPENER_OF:
            if stack and stack[-1] == OPENER_OF[character]:
                stack.pop()
            else:
                closers.append((position, character))
        elif character in quotes and (string := _STRING.match(text, position)):
            position = string.end()
            continue
        position += 1
    return Brackets(tuple(closers), tuple(stack))


def _end_of_string(text: str, quote: str) -> int | None:
    for position, character in enumerate(text):
        if character == "\n" and quote != "`":
            return None
        if character == quote and text[position - 1 : position] != "\\":
            return position
    return None
