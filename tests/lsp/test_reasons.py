"""Every empty answer has a reason, in the journal and in the outcome, also those for which no model was asked."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from lsprotocol import types

from harmony_ls.features.inline.request import Reason
from harmony_ls.lsp.backend import Backend
from harmony_ls.lsp.completion.inline_completion import offer_at
from harmony_ls.lsp.server import HarmonyServer
from harmony_ls.settings import Source, resolve
from tests.lsp.test_protocol import INITIALIZE, Wire

URI = "file:///reasons.py"
OUTCOMES = {"experimental": {"harmonyOutcomes": True}}
# Such a client is asked for its settings, and the engine is not started before it has answered.
SILENT = OUTCOMES | {"workspace": {"configuration": True}}


async def ask(inline: dict[str, Any], capabilities: dict[str, Any], *, n_characters: int = 10) -> tuple[Wire, str]:
    """The outcome of one inline completion; no document is opened for no characters."""
    wire = Wire()
    options = {"initializationOptions": {"inlineCompletion": inline}, "capabilities": capabilities}
    item = {"uri": URI, "languageId": "python", "version": 1, "text": "x" * n_characters}
    place = {"position": {"line": 0, "character": 0}, "context": {"triggerKind": 2}}
    await wire.send(
        {"id": 0, "method": "initialize", "params": INITIALIZE | options},
        {"method": "initialized", "params": {}},
        *([{"method": "textDocument/didOpen", "params": {"textDocument": item}}] if n_characters else []),
        {"id": 1, "method": "textDocument/inlineCompletion", "params": {"textDocument": {"uri": URI}} | place},
        {"id": 2, "method": "harmony/doctor"},
    )
    result = (await wire.answer(1))["result"]
    assert result is None or result["items"] == []
    [outcome] = [each["params"] for each in wire.sent if each.get("method") == "harmony/inlineCompletion/outcome"]
    journal = wire.server.journal()
    assert journal["counts"] == {outcome["outcome"]: 1}
    assert outcome["uri"] == URI
    assert outcome["detail"]
    wire.server.close()
    return wire, str(outcome["outcome"])


@pytest.mark.parametrize(
    ("inline", "n_characters", "reason"),
    [
        ({"enabled": False}, 10, Reason.DISABLED),
        ({"enabled": False, "maxDocumentKb": 1}, 1025, Reason.DISABLED),
        ({"enabled": False}, 0, Reason.NOT_OPEN),
    ],
)
async def test_reasons_that_need_no_engine(inline: dict[str, Any], n_characters: int, reason: Reason) -> None:
    wire, outcome = await ask(inline, OUTCOMES, n_characters=n_characters)
    assert outcome == reason
    assert wire.server.backend.engine is None


async def test_a_document_that_is_too_large_is_not_put_together() -> None:
    """Its size is known without its text and without the engine, which has not been started yet."""
    wire, outcome = await ask({"maxDocumentKb": 1, "deadlineMs": 50}, SILENT, n_characters=1025)
    assert outcome == Reason.DOCUMENT_TOO_LARGE
    assert wire.server.backend.engine is None


async def test_the_engine_is_being_started() -> None:
    _, outcome = await ask({"deadlineMs": 50}, SILENT)
    assert outcome == Reason.MODEL_LOADING


async def test_nothing_is_loaded_where_completion_is_switched_off(tiny_llama: Path) -> None:
    """The client's settings come after its first document."""
    server = HarmonyServer(Backend(), {"model": str(tiny_llama)}, on_exit=lambda _code: None)
    try:
        warming_up = asyncio.create_task(server.warm_up())
        await asyncio.sleep(0)
        switched_off = Source("the editor's settings", {"inlineCompletion": {"enabled": False}})
        server.configuration.resolved = resolve([switched_off], server.configuration.resolved)
        await warming_up
        assert server.backend.engine is None
    finally:
        server.close()
        await server.backend.close(10)


async def test_a_request_that_is_cancelled_has_an_outcome_before_its_answer() -> None:
    wire = Wire()
    item = {"uri": URI, "languageId": "python", "version": 7, "text": "x"}
    place = {"position": {"line": 0, "character": 1}, "context": {"triggerKind": 1}}
    await wire.send(
        {"id": 0, "method": "initialize", "params": INITIALIZE | {"capabilities": SILENT}},
        {"method": "initialized", "params": {}},
        {"method": "textDocument/didOpen", "params": {"textDocument": item}},
        {"id": 1, "method": "textDocument/inlineCompletion", "params": {"textDocument": {"uri": URI}} | place},
        {"method": "$/cancelRequest", "params": {"id": 1}},
    )
    answer = await wire.answer(1)
    assert answer["error"]["code"] == types.LSPErrorCodes.RequestCancelled
    [outcome] = [each for each in wire.sent if each.get("method") == "harmony/inlineCompletion/outcome"]
    assert wire.sent.index(outcome) < wire.sent.index(answer)
    assert {name: outcome["params"][name] for name in ("uri", "version", "outcome", "detail")} == {
        "uri": URI,
        "version": 7,
        "outcome": "cancelled",
        "detail": "The editor cancelled the request.",
    }
    assert wire.server.journal()["counts"] == {"cancelled": 1}
    wire.server.close()


async def test_an_offer_that_the_client_cannot_show(adding_model: Path) -> None:
    patient = {"inlineCompletion": {"deadlineMs": 10_000}}
    settings = {"model": str(adding_model), "trustRemoteCode": True} | patient
    server = HarmonyServer(Backend(), settings, on_exit=lambda _code: None)
    server.documents.open(URI, "python", 1, "def add(first, second):\n    return ")
    place = types.Position(line=1, character=11)
    try:
        offer, items = await offer_at(server, URI, place, lambda completion: completion.text, invoked=True)
        assert (items, offer.reason) == (["first + second"], None)
        offer, items = await offer_at(server, URI, place, lambda _completion: None, invoked=True)
        assert (items, offer.items, offer.reason) == ([], (), Reason.NOT_SHOWABLE)
        assert [each["outcome"] for each in server.journal()["last"]] == ["notShowable", "model"]
    finally:
        server.close()
        await server.backend.close(10)
