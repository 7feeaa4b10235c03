"""The completion fixtures, through all rules in the order of the pipeline: gates, stop rules, trimming.

The model is the text in the fixture, fed in pieces of three characters. ``--update`` rewrites what is expected.
"""

from pathlib import Path

import pytest

from harmony_ls.features.document import DocumentSnapshot
from harmony_ls.features.inline.context import CursorContext
from harmony_ls.features.inline.gates import TypingHistory, check
from harmony_ls.features.inline.refusal import Refusal
from harmony_ls.features.inline.request import InlineCompletionRequest
from harmony_ls.features.inline.stop_rules import StopDecision, StopRules
from harmony_ls.features.inline.trim import trim
from harmony_ls.settings.models import InlineCompletionSettings
from tests.features.inline.completion_fixtures import (
    CURSOR,
    FOLDER,
    Block,
    Expectation,
    read_blocks,
    unescaped,
    write_expectation,
)

SETTINGS = InlineCompletionSettings()
PATHS = sorted(FOLDER.glob("*.md"))


def request_of(block: Block) -> InlineCompletionRequest:
    text = block.body + "\n"
    assert text.count(CURSOR) == 1, "a document has one cursor"
    if "crlf" in block.words:
        text = text.replace("\n", "\r\n")
    offset = text.index(CURSOR)
    path = f"/project/{block.value('path') or 'example'}"
    document = DocumentSnapshot(f"file://{path}", path, block.language, 1, text.replace(CURSOR, ""))
    return InlineCompletionRequest(document, offset, invoked="invoked" in block.words)


def written(rules: StopRules, model_text: str) -> tuple[str, StopDecision | None]:
    """What is left of the model's text after the stop rules, and which of them spoke."""
    for end in range(3, len(model_text) + 3, 3):
        if decision := rules.check(model_text[:end]):
            return model_text[: decision.keep], decision
    if decision := rules.finish(model_text):
        return model_text[: decision.keep], decision
    return model_text, None


def outcome(document_block: Block, model_block: Block) -> Expectation:
    request = request_of(document_block)
    document = request.document
    if refusal := check(request, TypingHistory(), SETTINGS):
        return Expectation("refused", (), refusal.reason.value)
    context = CursorContext.at(document, request.offset)
    rules = StopRules(context, max_lines=SETTINGS.max_lines, single_line=context.wants_single_line)
    model_text = unescaped(model_block.body) if "escaped" in model_block.words else model_block.body
    text, decision = written(rules, model_text)
    trimmed = trim(
        text,
        document,
        context,
        is_whole=decision is not None or "cut" not in model_block.words,
        max_lines=SETTINGS.max_lines,
        invoked=request.invoked,
        stopped=decision,
    )
    stop = (f"stop={decision.rule.value}",) if decision else ()
    if isinstance(trimmed, Refusal):
        return Expectation("refused", stop, trimmed.reason.value)
    replaced = (f"replaced={trimmed.n_replaced}",) if trimmed.n_replaced else ()
    assert "\n" not in trimmed.text.replace(context.line_ending, ""), "the document's line ends are kept"
    return Expectation("offered", (*replaced, *stop), trimmed.text.replace(context.line_ending, "\n"))


def test_there_are_fixtures() -> None:
    assert len(PATHS) >= 40


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_completion(path: Path, update: bool) -> None:
    blocks = read_blocks(path)
    actual = outcome(blocks["document"], blocks["model"])
    if update:
        write_expectation(path, actual)
        return
    expected = blocks["expected"]
    assert actual == Expectation(expected.role, expected.words, expected.body)
