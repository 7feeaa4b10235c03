"""While the model writes: when to stop it, because what follows would be dropped, repeats something, or goes astray.

Every rule looks at each character once, so that a token costs microseconds, not milliseconds, however long the text is.
The deadline, the token budget and the model's confidence are not decided here, and nothing is polished: that is `trim`.
"""

from dataclasses import dataclass
from enum import StrEnum

from harmony_ls.features.inline.context import CursorContext
from harmony_ls.features.inline.measures import (
    OPENER_OF,
    closes_tag_of,
    is_closing_line,
    is_similar,
    n_indentation_columns,
    open_quote,
    scan_brackets,
    start_of_open_string,
)
from harmony_ls.features.inline.refusal import Refusal
from harmony_ls.features.inline.request import Reason
from harmony_ls.features.inline.statements import PROSE_LANGUAGES, cut_to_lines

__all__ = ["StopDecision", "StopRule", "StopRules"]

SIMILAR_SHARE = 0.1
SHORTEST_SIMILAR = 5
SUFFIX_START = 20
"""So many characters of what follows the cursor, written again, are no coincidence."""

SAME_LINE_TIMES = 3
LONGEST_PERIOD = 48
MOST_LEADING_LINE_ENDS = 3

_LOOSE_BRACKET_LANGUAGES = PROSE_LANGUAGES | {"shellscript", "sh", "bash", "zsh", "fish"}
_PREPROCESSOR_LANGUAGES = frozenset({"c", "cpp", "objective-c", "objective-cpp", "csharp", "cuda"})


class StopRule(StrEnum):
    """What ended a suggestion."""

    LINE_BELOW = "lineBelow"
    SIMILAR_LINE_BELOW = "similarLineBelow"
    SUFFIX_AGAIN = "suffixAgain"
    SAME_LINE = "sameLine"
    LOOP = "loop"
    BLOCK_END = "blockEnd"
    BLANK_LINE = "blankLine"
    ONLY_LINE_ENDS = "onlyLineEnds"
    MAX_LINES = "maxLines"
    SINGLE_LINE = "singleLine"
    CLOSING_BRACKET = "closingBracket"
    FENCE = "fence"


@dataclass(frozen=True, slots=True)
class StopDecision:
    """Stop now, and keep the text up to ``keep``."""

    keep: int
    rule: StopRule

    @property
    def refusal(self) -> Refusal:
        """What to answer where nothing is kept."""
        return Refusal(*_REFUSALS[self.rule])


_REFUSALS = {
    StopRule.LINE_BELOW: (Reason.REPEATS_DOCUMENT, "The model writes the line below the cursor again."),
    StopRule.SIMILAR_LINE_BELOW: (Reason.REPEATS_DOCUMENT, "The model writes nearly the line below the cursor again."),
    StopRule.SUFFIX_AGAIN: (Reason.REPEATS_DOCUMENT, "The model writes what follows the cursor again."),
    StopRule.SAME_LINE: (Reason.REPEATS_ITSELF, "The model writes the same line over and over."),
    StopRule.LOOP: (Reason.REPEATS_ITSELF, "The model writes the same few characters over and over."),
    StopRule.BLOCK_END: (Reason.EMPTY_ANSWER, "The model leaves the block of the cursor at once."),
    StopRule.BLANK_LINE: (Reason.EMPTY_ANSWER, "The model writes blank lines."),
    StopRule.ONLY_LINE_ENDS: (Reason.EMPTY_ANSWER, "The model writes blank lines."),
    StopRule.MAX_LINES: (Reason.EMPTY_ANSWER, "The model writes blank lines."),
    StopRule.SINGLE_LINE: (Reason.EMPTY_ANSWER, "The model ends the line here."),
    StopRule.CLOSING_BRACKET: (Reason.EMPTY_ANSWER, "The model closes a bracket that nothing has opened."),
    StopRule.FENCE: (Reason.EMPTY_ANSWER, "The model ends its answer at once."),
}


def _repeats_needed(period: int) -> int:
    """How many characters must repeat the ones a period before them. Rulers (``# -----``) are longer than words."""
    if period == 1:
        return 96
    return max(3 * period, 48)


_NEEDED = [0, *(_repeats_needed(period) for period in range(1, LONGEST_PERIOD + 1))]


class StopRules:
    """The rules for one generation at one cursor. Feed it the whole text after every token, growing at its end."""

    def __init__(self, context: CursorContext, *, max_lines: int, single_line: bool) -> None:
        self._context = context
        self._max_lines = max_lines
        self._single_line = single_line
        self._line_below = context.line_below
        self._needle = _start_of_suffix(context)
        self._reference_columns = n_indentation_columns(context.line_prefix)
        self._is_prose = context.language_id in PROSE_LANGUAGES
        self._brackets_count = context.language_id not in _LOOSE_BRACKET_LANGUAGES and context.starts_document
        string = start_of_open_string(context.line_prefix, context.quotes)
        above = "\n".join((*context.lines_above, context.line_prefix[:string])) if self._brackets_count else ""
        self._openers = scan_brackets(above, quotes=context.quotes).openers
        self._own_openers: tuple[str, ...] = ()
        self._quote = open_quote(context.line_prefix, context.quotes)

        self._n_read = 0
        self._line_start = 0
        self._line_index = 0
        self._line_has_ink = False
        self._content_end = 0
        """Where the last line that shows something ends."""
        self._last_line = ""
        self._n_same_lines = 0
        self._same_lines_end = 0
        self._runs = [0] * (LONGEST_PERIOD + 1)
        self._in_fence = False

    def check(self, text: str) -> StopDecision | None:
        """Whether to stop after this text. It begins with the text of the call before."""
        start = self._n_read
        self._n_read = len(text)
        for offset in range(start, len(text)):
            character = text[offset]
            decision = self._at_line_end(text, offset) if character == "\n" else self._at_character(text, offset)
            if decision is None and self._loops(text, offset):
                decision = StopDecision(self._content_end, StopRule.LOOP)
            if decision is None and self._needle.endswith(character):
                decision = self._repeats_suffix(text, offset + 1)
            if decision is not None:
                return decision
        return None

    def finish(self, text: str) -> StopDecision | None:
        """Whether less than the whole text should be kept, now that the model has ended it itself."""
        decision = self.check(text)
        if decision is None and self._line_start < len(text):
            decision = self._at_line_end(text, len(text))
        return decision if decision is None or decision.keep < len(text) else None

    def _at_character(self, text: str, offset: int) -> StopDecision | None:
        if self._line_has_ink or text[offset] in " \t\r":
            return None
        self._line_has_ink = True
        if self._line_index >= self._max_lines:
            return self._after_too_many_lines(text, offset)
        if self._line_index == 0 or self._is_prose or self._in_fence or self._stays_in_block(text, offset):
            return None
        return StopDecision(self._content_end, StopRule.BLOCK_END)

    def _after_too_many_lines(self, text: str, offset: int) -> StopDecision:
        """What to keep when a line begins that is one too many, unless it leaves the block: then all is written."""
        if not (self._is_prose or self._in_fence or self._stays_in_block(text, offset)):
            return StopDecision(self._content_end, StopRule.BLOCK_END)
        return StopDecision(len(cut_to_lines(text[: offset + 1], self._max_lines, self._context)), StopRule.MAX_LINES)

    def _stays_in_block(self, text: str, offset: int) -> bool:
        """Whether a line whose first visible character is at ``offset`` may follow the line of the cursor."""
        if n_indentation_columns(text[self._line_start : offset]) >= self._reference_columns:
            return True
        if text[offset] == "#" and self._context.language_id in _PREPROCESSOR_LANGUAGES:
            return True
        return text[offset] in ")]}<edf"  # it may close the block; the whole line tells

    def _at_line_end(self, text: str, offset: int) -> StopDecision | None:
        line = text[self._line_start : offset].rstrip("\r")
        whole_line = self._context.line_prefix + line if self._line_index == 0 else line
        decision = self._after_line(text, line, whole_line, offset)
        if line.strip() and not (self._in_fence and self._line_index == 0):
            self._content_end = offset
        self._line_start = offset + 1
        self._line_index += 1
        self._line_has_ink = False
        return decision

    def _after_line(self, text: str, line: str, whole_line: str, offset: int) -> StopDecision | None:
        kept = self._content_end
        if not line.strip():
            if kept > 0 and self._line_index > 0:
                return StopDecision(kept, StopRule.BLANK_LINE)
            if self._line_index + 1 >= MOST_LEADING_LINE_ENDS:
                return StopDecision(0, StopRule.ONLY_LINE_ENDS)
            return None
        if fence := self._fence(line, kept):
            return fence
        own = scan_brackets(line, self._quote, self._own_openers, self._context.quotes)
        self._own_openers = own.openers
        closes_own = is_closing_line(line) and (
            closes_tag_of(text[: self._line_start], line) or (line.strip()[0] in ")]}" and not own.closers)
        )
        if not closes_own and (rule := self._repeats_line_below(whole_line)) is not None:
            return StopDecision(kept, rule)
        if self._closes_too_much(line):
            return StopDecision(kept, StopRule.CLOSING_BRACKET)
        if self._line_index > 0 and not (self._is_prose or self._in_fence) and self._leaves_block(line):
            return self._at_block_end(line, kept, offset)
        if self._single_line:
            return StopDecision(offset, StopRule.SINGLE_LINE)
        if self._max_lines == 1:  # there is nothing to choose from, so the next line need not be awaited
            return StopDecision(offset, StopRule.MAX_LINES)
        return self._same_line(whole_line, offset)

    def _fence(self, line: str, kept: int) -> StopDecision | None:
        """A fence that opens the answer is a chat model's habit and is unwrapped later; any other ends it."""
        if line.startswith("diff --git "):
            return StopDecision(kept, StopRule.FENCE)
        if self._is_prose or not line.lstrip().startswith("```"):
            return None
        if kept == 0 and not self._in_fence:
            self._in_fence = True
            return None
        return StopDecision(kept, StopRule.FENCE)

    def _repeats_line_below(self, line: str) -> StopRule | None:
        below = self._line_below
        if below is None or (self._line_index == 0 and not self._context.rest_is_blank):
            return None
        if n_indentation_columns(line) != n_indentation_columns(below) or line.lstrip().startswith("@"):
            return None  # what is decorated alike is not the same
        if line.strip() == below.strip():
            is_first_closer = self._line_index == 0 and is_closing_line(line)
            return None if is_first_closer else StopRule.LINE_BELOW
        if len(line.strip()) >= SHORTEST_SIMILAR and is_similar(line, below, SIMILAR_SHARE):
            return StopRule.SIMILAR_LINE_BELOW
        return None

    def _leaves_block(self, line: str) -> bool:
        if line.lstrip().startswith("#") and self._context.language_id in _PREPROCESSOR_LANGUAGES:
            return False
        return n_indentation_columns(line) < self._reference_columns

    def _at_block_end(self, line: str, kept: int, offset: int) -> StopDecision:
        """The line that closes the block belongs to the answer where the document does not close it yet."""
        below = self._line_below
        is_closed = (
            below is not None
            and n_indentation_columns(below) <= n_indentation_columns(line)
            and (is_closing_line(below) or below.strip()[:1] in (")", "]", "}"))
        )
        if is_closing_line(line) and not is_closed:
            return StopDecision(offset, StopRule.BLOCK_END)
        return StopDecision(kept, StopRule.BLOCK_END)

    def _closes_too_much(self, line: str) -> bool:
        """Whether a line closes a bracket that nothing above has opened."""
        if not self._brackets_count:
            return False
        brackets = scan_brackets(line, self._quote, self._openers, self._context.quotes)
        if self._quote is not None and not any(character == self._quote for _, character in brackets.closers):
            self._brackets_count = False  # the cursor is in a string of several lines: brackets are text
            return False
        self._quote = None
        # A stray bracket in a comment above must not make the right one look wrong: any open one of its kind will do.
        if any(OPENER_OF.get(character, "") not in (*self._openers, "") for _, character in brackets.closers):
            return True
        self._openers = brackets.openers
        return False

    def _same_line(self, line: str, offset: int) -> StopDecision | None:
        if line.rstrip() != self._last_line:
            self._last_line, self._n_same_lines, self._same_lines_end = line.rstrip(), 1, offset
            return None
        self._n_same_lines += 1
        if self._n_same_lines < SAME_LINE_TIMES:
            return None
        return StopDecision(self._same_lines_end, StopRule.SAME_LINE)

    def _loops(self, text: str, offset: int) -> bool:
        """Whether the last characters repeat a short piece over and over; blanks alone are indentation."""
        character, runs, found = text[offset], self._runs, False
        for period in range(1, min(LONGEST_PERIOD, offset) + 1):
            if text[offset - period] == character:
                runs[period] += 1
                # One character over and over repeats with every period; only the first counts.
                found = found or (runs[period] >= _NEEDED[period] and (period == 1 or runs[1] < period))
            else:
                runs[period] = 0
        return found and bool(text[max(0, offset - LONGEST_PERIOD) : offset + 1].strip())

    def _repeats_suffix(self, text: str, end: int) -> StopDecision | None:
        found = end - len(self._needle)
        if not self._needle or found < 0 or not text.startswith(self._needle, found):
            return None
        if self._context.suffix.startswith(self._needle):
            return StopDecision(found, StopRule.SUFFIX_AGAIN)
        # What begins a line below is repeated only where it begins a line.
        line_start = text.rfind("\n", 0, found) + 1
        if text[line_start:found].strip() or (line_start == 0 and self._context.line_prefix.strip()):
            return None
        return StopDecision(len(text[:found].rstrip()), StopRule.SUFFIX_AGAIN)


def _start_of_suffix(context: CursorContext) -> str:
    """The first visible characters after the cursor, or nothing where they say too little to be recognised.

    Neighbouring lines often begin alike, so of a line below the whole is taken.
    """
    suffix = context.suffix.lstrip()
    n_characters = SUFFIX_START if context.line_suffix.strip() else max(SUFFIX_START, len(suffix.partition("\n")[0]))
    needle = suffix[:n_characters]
    return needle if len(needle) >= SUFFIX_START and len(set(needle)) >= SUFFIX_START // 3 else ""
