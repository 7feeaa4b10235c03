"""Messages that are not quite as they should be: what can be understood without guessing is understood."""

from typing import Any

import pytest
from lsprotocol import types

from harmony_ls.lsp.connection.reading import read_code_action, readable_changes
from harmony_ls.lsp.messages.messages import harmony_converter

MOST = 2**31 - 1


def place(line: Any, character: Any) -> dict[str, Any]:
    return {"start": {"line": 0, "character": 0}, "end": {"line": line, "character": character}}


def changed(where: Any) -> dict[str, Any]:
    return {"textDocument": {"uri": "file:///a", "version": 2}, "contentChanges": [{"range": where, "text": "x"}]}


@pytest.mark.parametrize(
    ("given", "read"),
    [
        (place(2**32 - 1, 0), place(MOST, 0)),
        (place(1, 1.7976931348623157e308), place(1, MOST)),
        (place(1, 2**53 - 1), place(1, MOST)),
    ],
)
def test_a_number_beyond_the_protocols_is_its_greatest(given: dict[str, Any], read: dict[str, Any]) -> None:
    assert readable_changes(changed(given)) == changed(read)
    request = {"jsonrpc": "2.0", "method": "textDocument/didChange", "params": readable_changes(changed(given))}
    structured = harmony_converter().structure(request, types.DidChangeTextDocumentNotification)
    assert isinstance(structured.params.content_changes[0], types.TextDocumentContentChangePartial)


@pytest.mark.parametrize("where", [place(0, 1), place(-1, 0), place("1", None), [], "x", 3])
def test_other_changes_are_left_as_they_are(where: Any) -> None:
    """What is no place stays none: whoever guessed one would lose the person's text."""
    given = changed(where)
    assert readable_changes(given) is given
    assert readable_changes({"contentChanges": 3}) == {"contentChanges": 3}


def test_no_range_may_be_null() -> None:
    assert readable_changes(changed(None))["contentChanges"] == [{"text": "x"}]


def code_action(diagnostics: Any, **context: Any) -> types.CodeActionParams:
    params = {
        "textDocument": {"uri": "file:///a"},
        "range": place(5, 0),
        "context": {"diagnostics": diagnostics, **context},
    }
    return read_code_action(harmony_converter(), params)


def test_diagnostics_near_the_place_come_first_where_there_are_many() -> None:
    far = [{"range": {"start": {"line": n, "character": 0}, "end": {"line": n, "character": 1}}} for n in range(9, 500)]
    near = {"range": place(3, 0), "message": "near"}
    odd: list[Any] = [
        None,
        {},
        {"range": {"start": {}, "end": {}}},
        {"range": {"start": {"line": "x"}, "end": {"line": 1}}},
    ]
    read = code_action([*far, *odd, near]).context.diagnostics
    assert [each.message for each in read] == ["near"] + [""] * 99
    assert [each.range.start.line for each in read[1:]] == list(range(9, 108)), "in the order in which they came"
    assert [each.message for each in code_action([*far[:50], near]).context.diagnostics][-1] == "near", (
        "few stay as given"
    )


def test_what_is_odd_in_a_context_goes_alone() -> None:
    kinds: list[Any] = [[1, 2], "quickfix", 3, {}]
    for only in kinds:
        read = code_action("none", only=only, triggerKind="x").context
        assert (read.diagnostics, read.only, read.trigger_kind) == ([], None, None)
    read = code_action([], only=["quickfix"], triggerKind=1).context
    assert list(read.only or ()) == [types.CodeActionKind.QuickFix]
    assert read.trigger_kind is types.CodeActionTriggerKind.Invoked


@pytest.mark.parametrize("context", [None, [], "x"])
def test_a_context_that_is_none_is_refused(context: Any) -> None:
    with pytest.raises(TypeError):
        read_code_action(harmony_converter(), {"textDocument": {"uri": "a"}, "range": place(0, 0), "context": context})
