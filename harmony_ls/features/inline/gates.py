"""Before the model: whether a completion is asked for at a place and a moment where one can help.

The checks cost microseconds and know nothing of the model. `TypingHistory` is the little that they need to remember of
a document between two requests. `apply_selection` and `restore_selection` are the way into the editor's completion
list and back: the request goes on as if the selected item were accepted already.
"""

import re
from dataclasses import dataclass, replace

from harmony_ls.features.document import DocumentSnapshot
from harmony_ls.features.exclusion import exclusion
from harmony_ls.features.inline.context import is_inert
from harmony_ls.features.inline.measures import n_visible
from harmony_ls.features.inline.refusal import Refusal
from harmony_ls.features.inline.request import InlineCompletion, InlineCompletionRequest, Reason
from harmony_ls.settings.models import InlineCompletionSettings

__all__ = ["TypingHistory", "apply_selection", "check", "observe", "restore_selection"]

LONGEST_LINE = 2_000
"""Characters on one line, counted in both directions from the cursor. Longer lines are data or minified code."""

FEWEST_VISIBLE = 3
"""Visible characters before the cursor without which the model only guesses what the file will be."""

DELETIONS_THAT_INVITE = 3
"""One or two deletions mend a typing error; from the third on a person makes room for something else."""

N_REMEMBERED = 64

_PLACEHOLDER = re.compile(r"\$(?:\d|\{\d)")
_LINE_END = re.compile(r"[\r\n]")


@dataclass(frozen=True, slots=True)
class TypingHistory:
    """What is remembered of a document: its length, the cursor, the text around it, and deletions in a row."""

    n_deletions: int = 0
    length: int | None = None
    offset: int = 0
    before: str = ""
    after: str = ""


def observe(history: TypingHistory, document: DocumentSnapshot, offset: int) -> TypingHistory:
    """The history after one more snapshot. Steps that the editor sends together count as one."""
    text = document.text
    offset = min(max(offset, 0), len(text))
    before, after = text[max(0, offset - N_REMEMBERED) : offset], text[offset : offset + N_REMEMBERED]
    if history.length is None:
        n_deletions = 0
    elif len(text) < history.length and _is_deletion(history, text, offset):
        n_deletions = history.n_deletions + 1
    elif (len(text), offset, before, after) == (history.length, history.offset, history.before, history.after):
        n_deletions = history.n_deletions
    else:
        n_deletions = 0
    return TypingHistory(n_deletions, len(text), offset, before, after)


def _is_deletion(history: TypingHistory, text: str, offset: int) -> bool:
    """Whether a shorter text came from deleting at the cursor, rather than from typing over a selection."""
    if offset > history.offset:
        return False
    start = history.offset - len(history.before)
    return offset <= start or text[start:offset] == history.before[: offset - start]


def check(
    request: InlineCompletionRequest, history: TypingHistory, settings: InlineCompletionSettings
) -> Refusal | None:
    """Why nothing should be offered, or None to go on. ``history`` has observed the request's document already."""
    document, offset, text = request.document, request.offset, request.document.text
    if not settings.enabled:
        return Refusal(Reason.DISABLED, "Inline completion is switched off (inlineCompletion.enabled).")
    if settings.trigger == "invoked" and not request.invoked:
        return Refusal(Reason.NOT_TRIGGERED, "Completions are offered only when asked for (inlineCompletion.trigger).")
    if not 0 <= offset <= len(text):
        return Refusal(Reason.POSITION_OUTSIDE, f"The cursor ({offset}) is outside the document ({len(text)}).")
    if excluded := exclusion(document, settings.exclude):
        return Refusal(Reason.EXCLUDED_FILE, f"Nothing is completed in this file: {excluded}.")
    if len(text) > settings.max_document_kb * 1024:
        return Refusal(
            Reason.DOCUMENT_TOO_LARGE,
            f"The document has {len(text):,} characters, more than {settings.max_document_kb} KiB "
            "(inlineCompletion.maxDocumentKb).",
        )
    before, rest = _line_around(text, offset)
    if len(before) > LONGEST_LINE or len(rest) > LONGEST_LINE:
        return Refusal(Reason.LINE_TOO_LONG, f"The line at the cursor is longer than {LONGEST_LINE:,} characters.")
    if refusal := _check_selection(request):
        return refusal
    if request.invoked:
        return None
    return _check_automatic(request, history, rest)


def _check_automatic(request: InlineCompletionRequest, history: TypingHistory, rest: str) -> Refusal | None:
    if 0 < history.n_deletions < DELETIONS_THAT_INVITE:
        return Refusal(Reason.DELETING, "Text was just deleted; the next typed character asks again.")
    if request.selected is not None:
        rest = rest[request.selected.end - request.offset :]
    if not is_inert(rest):
        return Refusal(Reason.MID_LINE, "There is text right of the cursor; ask by a command to complete there.")
    before = request.document.text[max(0, request.offset - LONGEST_LINE) : request.offset]
    if n_visible(before) < FEWEST_VISIBLE:
        return Refusal(Reason.NOTHING_TYPED, "There is no text before the cursor to go by.")
    return None


def _check_selection(request: InlineCompletionRequest) -> Refusal | None:
    selected, text = request.selected, request.document.text
    if selected is None:
        return None
    if not 0 <= selected.start <= request.offset <= selected.end <= len(text):
        return Refusal(Reason.COMPLETION_LIST, "The selected item of the completion list is not at the cursor.")
    if _LINE_END.search(text[selected.start : selected.end]):
        return Refusal(Reason.COMPLETION_LIST, "The selected item of the completion list replaces several lines.")
    if not selected.text.startswith(text[selected.start : request.offset]):
        return Refusal(Reason.COMPLETION_LIST, "The selected item of the completion list replaces what is typed.")
    if "(" in selected.text or _PLACEHOLDER.search(selected.text):
        return Refusal(Reason.COMPLETION_LIST, "The selected item of the completion list is a snippet.")
    return None


def _line_around(text: str, offset: int) -> tuple[str, str]:
    """The two halves of the cursor's line, each cut just beyond the length that is too long."""
    before = text[max(0, offset - LONGEST_LINE - 1) : offset]
    after = text[offset : offset + LONGEST_LINE + 1]
    return _LINE_END.split(before)[-1], _LINE_END.split(after, maxsplit=1)[0]


def apply_selection(request: InlineCompletionRequest) -> InlineCompletionRequest:
    """The request as it would be after accepting the selected item; the same request where nothing is selected.

    The request must have passed `check`.
    """
    selected = request.selected
    if selected is None:
        return request
    text = request.document.text
    accepted = replace(request.document, text=text[: selected.start] + selected.text + text[selected.end :])
    return InlineCompletionRequest(accepted, selected.start + len(selected.text), request.invoked)


def restore_selection(request: InlineCompletionRequest, completion: InlineCompletion) -> InlineCompletion | None:
    """A completion for the accepted state, as one for the document as it is.

    The protocol asks that it starts with the selected text and replaces the same range, and VS Code does not show it
    otherwise. So a completion that replaces text beyond is offered without its copy of that text, or not at all.
    """
    selected = request.selected
    if selected is None:
        return completion
    accepted = apply_selection(request)
    typed = accepted.document.text[completion.start : accepted.offset]
    if completion.start > accepted.offset or not completion.text.startswith(typed):
        return None
    text = completion.text[len(typed) :]
    replaced = accepted.document.text[accepted.offset : completion.end]
    if not text.endswith(replaced):
        return None
    return replace(
        completion,
        text=selected.text + text[: len(text) - len(replaced)],
        start=selected.start,
        end=selected.end,
    )
