"""After the model: make of its text what can be accepted as it is, or say why nothing can.

The result, put at the cursor, repeats nothing that stands around it, ends where a line or a word ends, and has the
document's line ends. `fit` is the part that must be done again whenever the text right of the cursor changes, as it
does while an editor closes brackets by itself. Confidence is not judged here.
"""

import re
from dataclasses import dataclass
from textwrap import dedent

from harmony_ls.features.document import DocumentSnapshot
from harmony_ls.features.inline.context import CursorContext, is_inert
from harmony_ls.features.inline.measures import (
    closes_tag_of,
    is_closing_line,
    is_similar,
    n_indentation_columns,
    n_visible,
    open_quote,
    scan_brackets,
)
from harmony_ls.features.inline.overlap import Fitted, fit_rest_of_line, without_repeated_prefix
from harmony_ls.features.inline.refusal import Refusal
from harmony_ls.features.inline.request import Reason
from harmony_ls.features.inline.safety import clean
from harmony_ls.features.inline.statements import cut_to_lines
from harmony_ls.features.inline.stop_rules import StopDecision

__all__ = ["Trimmed", "fit", "trim"]

FEWEST_VISIBLE = 4
FEWEST_VISIBLE_CLOSING = 2
N_COMPARED_LINES = 3
N_LOOP_CHARACTERS = 160
SIMILAR_TO_NEXT_LINES = 0.05

_FENCED = re.compile(r"\s*```[^\n`]*\n(.*?)(?:\n[ \t]*```.*|\Z)", re.DOTALL)
_OPENS_BLOCK = re.compile(r"""(?:[(\[{:,=\\>|&+]|\b(?:then|do|else|begin|try|finally|and|or|in|return))\s*\Z""")
_COLUMNS = re.compile(r"\S(?: {2,}|\t+)\S")
_LOOP_AT_END = re.compile(r"(\S[^\n]{2,}?)\1{5,}\s*\Z|(\S[^\n]{9,}?)\2{3,}\s*\Z")
_WORD_AT_END = re.compile(r"\w+\Z")
_CLOSES = re.compile(r"""[)\]}"'`:;,{>\s]+""")


@dataclass(frozen=True, slots=True)
class Trimmed:
    """``text`` is put at the cursor and replaces the next ``n_replaced`` characters, which it holds itself."""

    text: str
    n_replaced: int = 0


def trim(
    text: str,
    document: DocumentSnapshot,
    context: CursorContext,
    *,
    is_whole: bool,
    max_lines: int,
    invoked: bool = False,
    stopped: StopDecision | None = None,
) -> Trimmed | Refusal:
    """What of the model's text to offer. ``is_whole`` is false when tokens or time ran out before it ended.

    ``stopped`` is what the stop rules said of it, if anything: where they kept nothing, they know why.
    """
    if stopped is not None and not text.strip():
        return stopped.refusal
    cleaned = clean(text, document)
    if isinstance(cleaned, Refusal):
        return cleaned
    if context.language_id != "markdown" and (fenced := _FENCED.match(cleaned)):
        cleaned = _reindented(fenced.group(1), context.line_prefix)
    if not cleaned.strip():
        return Refusal(Reason.EMPTY_ANSWER, "The model adds nothing here.")
    if not is_whole:
        cleaned = _without_cut_end(cleaned)
    cleaned = without_repeated_prefix(cleaned, context.line_prefix)
    begun = _begin(cleaned, context)
    if isinstance(begun, Refusal):
        return begun
    begun = cut_to_lines(begun, max_lines, context)
    loop = _LOOP_AT_END.search(begun[-N_LOOP_CHARACTERS:])
    if loop is not None and len(set(loop.group().strip())) > 1:
        return Refusal(Reason.REPEATS_ITSELF, "The model repeats the same words over and over.")
    if refusal := _repeats_lines_around(begun, context):
        return refusal
    fitted = fit(begun, context)
    if isinstance(fitted, Refusal):
        return fitted
    if not invoked and _is_too_short(fitted.text, context):
        return Refusal(Reason.TOO_SHORT, f"{fitted.text.strip()!r} is typed sooner than read.")
    checked = clean(fitted.text, document)
    if isinstance(checked, Refusal):
        return checked
    return Trimmed(checked.replace("\n", context.line_ending), fitted.n_replaced)


def fit(text: str, context: CursorContext) -> Fitted | Refusal:
    """The text without what follows the cursor already; its line ends are ``\\n``."""
    text = _without_lines_below(text, context)
    # A blank at the end is right in front of more code on the line, and nowhere else.
    if not (context.wants_single_line and context.line_suffix[:1].strip()):
        text = text.rstrip()
    fitted = fit_rest_of_line(text, context.line_prefix, context.line_suffix, context.quotes)
    if isinstance(fitted, Refusal):
        return fitted
    if not fitted.text.strip():
        return Refusal(Reason.REPEATS_DOCUMENT, "The model writes only what follows the cursor already.")
    return fitted


def _reindented(text: str, line_prefix: str) -> str:
    """A chat model's code, written from the margin, moved to where the cursor is."""
    if line_prefix.strip():
        return text
    first, *others = dedent(text).split("\n")
    return "\n".join((first, *(line_prefix + line if line.strip() else line for line in others)))


def _without_cut_end(text: str) -> str:
    """The text without its last line, which is cut in the middle; of a single line, without its last word."""
    whole_lines, _, _ = text.rpartition("\n")
    if whole_lines.strip():
        return whole_lines
    without_word = _WORD_AT_END.sub("", text)
    return without_word if without_word.strip() else text


def _begin(text: str, context: CursorContext) -> str | Refusal:
    """The text with a beginning that continues the cursor's line."""
    prefix = context.line_prefix
    if prefix[-1:] in (" ", "\t") and prefix.strip() and not _is_aligned(context):
        text = text.lstrip(" \t")
    first_line, line_end, others = text.partition("\n")
    if first_line.strip() or not line_end:
        return text
    if not prefix.strip():
        return _without_leading_blank_lines(text, prefix)
    if not context.rest_is_blank and not is_inert(context.line_suffix):
        return Refusal(Reason.MID_LINE, "The model begins a new line, but this one goes on after the cursor.")
    if _OPENS_BLOCK.search(prefix) or not context.suffix.strip():
        return "\n" + others.lstrip("\n") if others.strip() else ""
    return Refusal(Reason.EMPTY_ANSWER, "The model ends the line here.")


def _is_aligned(context: CursorContext) -> bool:
    """Whether this line or a neighbour is laid out in columns, so that several blanks in a row are meant."""
    lines = (context.line_above or "", context.line_prefix + "|", context.line_below or "")
    return any(_COLUMNS.search(line.strip()) for line in lines)


def _without_leading_blank_lines(text: str, indentation: str) -> str | Refusal:
    """On a blank line, the first line that is not blank, less the indentation that stands there already."""
    lines = text.split("\n")
    while lines and not lines[0].strip():
        lines.pop(0)
    if not lines:
        return ""
    if not lines[0].startswith(indentation):
        return Refusal(Reason.EMPTY_ANSWER, "The model leaves this line blank.")
    return "\n".join((lines[0][len(indentation) :], *lines[1:]))


def _repeats_lines_around(text: str, context: CursorContext) -> Refusal | None:
    first, *others = text.split("\n")
    lines = [line for line in (context.line_prefix + first, *others) if line.strip()]
    below = [line for line in context.lines_below if line.strip()]
    if not lines or not context.rest_is_blank:
        return None
    n_compared = min(len(lines), len(below), N_COMPARED_LINES)
    if n_compared == min(len(lines), N_COMPARED_LINES) and all(
        _is_same_line(line, other) for line, other in zip(lines[:n_compared], below, strict=False)
    ):
        return Refusal(Reason.REPEATS_DOCUMENT, "The lines below the cursor say this already.")
    above = context.line_above
    if (
        len(lines) == 1
        and above is not None
        and len(above.strip()) > FEWEST_VISIBLE
        and not is_closing_line(above)
        and is_similar(lines[0], above, 0)
    ):
        return Refusal(Reason.REPEATS_DOCUMENT, "The line above the cursor says this already.")
    return None


def _is_same_line(line: str, other: str) -> bool:
    if is_closing_line(line):
        return line.strip() == other.strip() and n_indentation_columns(line) == n_indentation_columns(other)
    return is_similar(line, other, SIMILAR_TO_NEXT_LINES)


def _without_lines_below(text: str, context: CursorContext) -> str:
    """The text without its last lines where the next lines of the document are the same.

    A line that only closes must close something that the text did not open itself, and at the same indentation.
    """
    below = [line for line in context.lines_below if line.strip()]
    lines = text.split("\n")
    for n_lines in range(min(len(lines) - 1, len(below)), 0, -1):
        last = lines[-n_lines:]
        if any(line.rstrip() != other.rstrip() for line, other in zip(last, below, strict=False)):
            continue
        if any(not is_closing_line(line) for line in last) or _opened_before(lines, n_lines, context.quotes):
            return "\n".join(lines[:-n_lines])
    return text


def _opened_before(lines: list[str], n_last: int, quotes: str) -> bool:
    """Whether what the last lines close was open before the first of all lines."""
    text, last = "\n".join(lines), "\n".join(lines[-n_last:])
    start = len(text) - len(last)
    if last.lstrip().startswith("</"):
        return not closes_tag_of(text[:start], last)
    if last.strip()[0] not in ")]}":
        return True
    return any(offset >= start for offset, _ in scan_brackets(text, quotes=quotes).closers)


def _is_too_short(text: str, context: CursorContext) -> bool:
    """Whether a text is not worth the interruption.

    Fewer than four visible characters are typed sooner than read, but for a closing: ``):`` or ``"])`` asks for
    thought, and for shifted keys. It must close what the line has opened, and be more than one key.
    """
    n_characters = n_visible(text)
    if n_characters >= FEWEST_VISIBLE:
        return False
    if n_characters < FEWEST_VISIBLE_CLOSING or not _CLOSES.fullmatch(text):
        return True
    brackets = scan_brackets(text, open_quote(context.line_prefix, context.quotes), quotes=context.quotes)
    return not (brackets.closers and brackets.closers[0][0] == len(text) - len(text.lstrip()))
