"""What holds for every document, cursor and model: nothing raises, nothing unsafe is shown or written twice."""

import re
import unicodedata

from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from harmony_ls.features.document import DocumentSnapshot
from harmony_ls.features.inline.context import CursorContext
from harmony_ls.features.inline.gates import TypingHistory, apply_selection, check, observe, restore_selection
from harmony_ls.features.inline.refusal import Refusal
from harmony_ls.features.inline.request import InlineCompletion, InlineCompletionRequest, SelectedCompletion, Source
from harmony_ls.features.inline.safety import clean
from harmony_ls.features.inline.stop_rules import StopRules
from harmony_ls.features.inline.trim import Trimmed, trim
from harmony_ls.features.line_ends import with_plain_line_ends
from harmony_ls.settings.models import InlineCompletionSettings

SETTINGS = InlineCompletionSettings()
LANGUAGES = st.sampled_from(["python", "javascript", "rust", "go", "c", "html", "markdown", "yaml", "shellscript", ""])

# Pieces that rules react to, so that random texts meet them often.
PIECES = st.sampled_from(
    [
        *("foo", "bar(", ")", "):", "]", "}", "{", '"', "'", "`", " ", "    ", "\t", "\n", "\r\n", "\r", "\n\n"),
        *("return x", "if a:", "</a>", "<a>", "```", "```py\n", "é", "🎉", "\u200d", "\x00", "\x0c", "\u2028"),
        *("\u202e", "\ud800", "\ufffd", "\ufe0f", "\U000e0041", "<|", "|>", "<|end|>", "<|fim_middle|>"),
        *("<fim_prefix>", "[SUFFIX]", "<\uff5c", "\uff5c>", "</s>", "0, ", "diff --git a b\n", "\\", ";", ","),
        *("x = 1\n", "#", "// "),
    ]
)
TEXTS = st.lists(PIECES, max_size=40).map("".join) | st.text(max_size=80)
HIDDEN = re.compile(
    "[\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff\ufffd\U000e0000-\U000e0fff]"
)
MARKERS = re.compile(r"<\|\w+\|>|<fim_\w+>|\[SUFFIX\]|<\uff5c\w+\uff5c>")


@st.composite
def cursors(draw: st.DrawFn) -> tuple[DocumentSnapshot, int]:
    before, after = draw(TEXTS), draw(TEXTS)
    return DocumentSnapshot("file:///a", "/a", draw(LANGUAGES), 1, before + after), len(before)


def complete(document: DocumentSnapshot, offset: int, text: str, *, invoked: bool = True) -> Trimmed | Refusal:
    """What the pipeline makes of a model's text."""
    context = CursorContext.at(document, offset)
    rules = StopRules(context, max_lines=12, single_line=context.wants_single_line)
    decision = None
    for end in range(0, len(text) + 4, 4):
        if decision := rules.check(text[:end]):
            break
    decision = decision or rules.finish(text)
    kept = text if decision is None else text[: decision.keep]
    return trim(kept, document, context, is_whole=True, max_lines=12, invoked=invoked, stopped=decision)


@given(cursors(), TEXTS, st.booleans())
@settings(max_examples=400, deadline=None)
def test_whatever_is_offered_is_safe_and_ends_well(
    cursor: tuple[DocumentSnapshot, int], text: str, invoked: bool
) -> None:
    document, offset = cursor
    result = complete(document, offset, text, invoked=invoked)
    if isinstance(result, Refusal):
        assert result.detail.endswith((".", ")"))
        return
    context = CursorContext.at(document, offset)
    assert result.text.strip()
    assert clean(result.text, document) == with_plain_line_ends(result.text)
    assert not HIDDEN.search(result.text)
    for character in with_plain_line_ends(result.text):
        assert character in "\t\n" or unicodedata.category(character) not in ("Cc", "Cs", "Zl", "Zp")
    for marker in MARKERS.findall(result.text):
        assert marker in document.text or marker.strip("[]") in document.text
    assert with_plain_line_ends(result.text).replace("\n", context.line_ending) == result.text
    assert 0 <= result.n_replaced <= len(context.line_suffix)
    assert with_plain_line_ends(result.text).count("\n") < 12


@given(cursors(), TEXTS)
@settings(max_examples=300, deadline=None)
def test_cleaning_twice_changes_nothing(cursor: tuple[DocumentSnapshot, int], text: str) -> None:
    cleaned = clean(text, cursor[0])
    if not isinstance(cleaned, Refusal):
        assert clean(cleaned, cursor[0]) == cleaned


@given(st.text(alphabet="abc.( ", max_size=12), st.from_regex(r"[a-c]{1,4}[ +.()a-c]{2,8}[a-c]", fullmatch=True), TEXTS)
@settings(max_examples=400, deadline=None)
@example("x = ", "aa + bb", "cc + aa + bb")
def test_the_rest_of_the_line_is_not_doubled(typed: str, rest: str, text: str) -> None:
    document = DocumentSnapshot("file:///a", "/a", "python", 1, typed + rest + "\nnext = 1\n")
    result = complete(document, len(typed), text + rest)
    if isinstance(result, Trimmed):
        line = (typed + result.text + rest[result.n_replaced :]).split("\n")[-1]
        assert not line.endswith(rest + rest) or text.endswith(rest)


@given(cursors(), TEXTS, st.integers(1, 9))
@settings(max_examples=300, deadline=None)
def test_stop_rules_do_not_depend_on_the_size_of_tokens(
    cursor: tuple[DocumentSnapshot, int], text: str, size: int
) -> None:
    document, offset = cursor

    def kept(size: int) -> str:
        context = CursorContext.at(document, offset)
        rules = StopRules(context, max_lines=5, single_line=False)
        for end in range(size, len(text) + size, size):
            if decision := rules.check(text[:end]):
                assert 0 <= decision.keep <= end
                assert decision.refusal.detail
                return text[: decision.keep]
        decision = rules.finish(text)
        return text if decision is None else text[: decision.keep]

    assert kept(size) == kept(1)


@given(cursors(), st.integers(-5, 200), st.booleans(), TEXTS)
@settings(max_examples=300, deadline=None)
def test_gates_take_any_document(
    cursor: tuple[DocumentSnapshot, int], offset: int, invoked: bool, selected_text: str
) -> None:
    document, inside = cursor
    history = observe(observe(TypingHistory(), document, inside), document, offset)
    selected = SelectedCompletion(min(inside, offset), max(inside, offset), selected_text)
    for selection in (None, selected):
        refusal = check(InlineCompletionRequest(document, offset, invoked, selection), history, SETTINGS)
        assert refusal is None or refusal.detail


@given(
    cursors(), st.integers(0, 6), st.integers(0, 6), st.text("ab.", max_size=4), st.text("ab.", min_size=1, max_size=9)
)
@settings(max_examples=300, deadline=None)
def test_a_selected_item_is_extended(
    cursor: tuple[DocumentSnapshot, int], n_before: int, n_after: int, extra: str, text: str
) -> None:
    document, offset = cursor
    start, end = max(0, offset - n_before), min(len(document.text), offset + n_after)
    selected = SelectedCompletion(start, end, document.text[start:offset] + extra)
    request = InlineCompletionRequest(document, offset, True, selected)
    assume(check(request, TypingHistory(), SETTINGS) is None)
    accepted = apply_selection(request)
    completion = InlineCompletion(text, accepted.offset, accepted.offset, Source.MODEL)
    restored = restore_selection(request, completion)
    assert restored is not None
    assert restored.text.startswith(selected.text)
    assert (restored.start, restored.end) == (start, end)
    in_place = document.text[: restored.start] + restored.text + document.text[restored.end :]
    step_by_step = accepted.document.text[: accepted.offset] + text + accepted.document.text[accepted.offset :]
    assert in_place == step_by_step
