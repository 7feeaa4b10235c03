"""The server beside a client that is not ours: pytest-lsp's, with the capabilities of editors.

The capability files that it brings are older than inline completions, which are added where the editor has them today.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_lsp
from lsprotocol import types
from pytest_lsp import ClientServerConfig, LanguageClient, client_capabilities, make_test_lsp_client

from harmony_ls.lsp.client import SERVER_COMMAND

pytestmark = pytest.mark.asyncio(loop_scope="module")

URI = "file:///pytest_lsp.py"
FUNCTION = "def add(first, second):\n    return f"
PATIENCE = 60.0


def make_client() -> LanguageClient:
    """A client that takes what it does not know as an editor would, and keeps the status."""
    client = make_test_lsp_client()
    client.statuses = []  # type: ignore[attr-defined]
    client.is_ready = asyncio.Event()  # type: ignore[attr-defined]

    @client.feature("harmony/status")
    def status(params: Any) -> None:
        client.statuses.append(params.state)  # type: ignore[attr-defined]
        if params.state == "ready":
            client.is_ready.set()  # type: ignore[attr-defined]

    @client.feature(types.CLIENT_REGISTER_CAPABILITY)
    def register(params: types.RegistrationParams) -> None:
        """Agree."""

    return client


@pytest_lsp.fixture(
    scope="module",
    params=["neovim", "visual-studio-code", "emacs"],
    config=ClientServerConfig([*SERVER_COMMAND, "--trust-remote-code"], client_factory=make_client),
)
async def client(request: pytest.FixtureRequest, lsp_client: LanguageClient, adding_model: Path) -> AsyncIterator[None]:
    capabilities = client_capabilities(request.param)
    assert capabilities.text_document is not None
    if request.param != "emacs":
        capabilities.text_document.inline_completion = types.InlineCompletionClientCapabilities()
    lsp_client.set_configuration({"harmony-ls": {"inlineCompletion": {"maxTokens": 32}}})
    options = {"model": str(adding_model)}
    await lsp_client.initialize_session(
        types.InitializeParams(capabilities=capabilities, initialization_options=options)
    )
    item = types.TextDocumentItem(uri=URI, language_id="python", version=1, text=FUNCTION)
    lsp_client.text_document_did_open(types.DidOpenTextDocumentParams(text_document=item))
    async with asyncio.timeout(PATIENCE):
        await lsp_client.is_ready.wait()  # type: ignore[attr-defined]
    yield
    await lsp_client.shutdown_session()
    server = lsp_client._server
    assert server is not None
    assert server.returncode == 0


async def test_inline_completion(client: LanguageClient) -> None:
    place = types.Position(line=1, character=12)
    params = types.InlineCompletionParams(
        text_document=types.TextDocumentIdentifier(uri=URI),
        position=place,
        context=types.InlineCompletionContext(trigger_kind=types.InlineCompletionTriggerKind.Invoked),
    )
    async with asyncio.timeout(PATIENCE):
        answer = await client.text_document_inline_completion_async(params)
    assert isinstance(answer, types.InlineCompletionList)
    [item] = answer.items
    assert item.insert_text == "irst + second"
    assert item.range == types.Range(start=place, end=place)


async def test_completion(client: LanguageClient) -> None:
    """Only the editor without inline completions finds the offer in its list."""
    params = types.CompletionParams(
        text_document=types.TextDocumentIdentifier(uri=URI), position=types.Position(line=1, character=12)
    )
    async with asyncio.timeout(PATIENCE):
        answer = await client.text_document_completion_async(params)
    assert isinstance(answer, types.CompletionList)
    has_ghost_text = client.capabilities.text_document.inline_completion is not None
    assert [item.label for item in answer.items] == ([] if has_ghost_text else ["first + second"])


async def test_status_and_progress(client: LanguageClient) -> None:
    """Every bar that was begun has ended; the model is ready."""
    assert client.statuses[0] == "unloaded"  # type: ignore[attr-defined]
    assert "ready" in client.statuses  # type: ignore[attr-defined]
    for reports in client.progress_reports.values():
        if reports:
            assert isinstance(reports[0], types.WorkDoneProgressBegin)
            assert isinstance(reports[-1], types.WorkDoneProgressEnd)
    assert client.messages == []
