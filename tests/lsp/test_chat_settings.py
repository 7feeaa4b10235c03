"""A chat and a code action that are asked for before the client has told its settings, as in VS Code they may be."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.lsp.acting import ACTING, actions, asked, named, place, resolved
from tests.lsp.peer import PATIENCE, Peer, handshake, starting
from tests.models import Rule
from tests.session.support import final, scripted_gpt_oss

pytestmark = pytest.mark.usefixtures("harmony_vocabulary")


async def request_for_settings(peer: Peer) -> int:
    """The id of the server's question for the settings, which a silent client leaves open; all others are answered."""
    n_seen = 0
    async with asyncio.timeout(PATIENCE):
        while True:
            messages, n_seen = peer.received[n_seen:], len(peer.received)
            for message in messages:
                if message.get("method") == "workspace/configuration":
                    number: int = message["id"]
                    return number
                if "method" in message and "id" in message:
                    peer.send({"jsonrpc": "2.0", "id": message["id"], "result": None})
            await peer.next_messages()


async def test_the_first_message_waits_for_the_settings_that_name_the_model_and_exclude_files(tmp_path: Path) -> None:
    rules = [Rule("<|start|>assistant", final("Hello."))]
    model = scripted_gpt_oss(tmp_path / "model", rules, max_position_embeddings=32_768)
    (tmp_path / "notes.md").write_text("private\n")
    uri = (tmp_path / "notes.md").as_uri()
    environment = {"XDG_STATE_HOME": str(tmp_path / "state"), "XDG_CONFIG_HOME": str(tmp_path / "config")}
    settings: dict[str, Any] = {
        "chat": {"model": str(model), "temperature": 0},
        "inlineCompletion": {"enabled": False, "exclude": ["notes.md"]},
    }
    async with starting("--trust-remote-code", environment=environment) as peer:
        peer.silent = True
        await handshake(peer, folder=tmp_path)
        peer.open(uri, "private\n", "markdown")
        attached = [{"kind": "file", "uri": uri}]
        asked = peer.send_request("harmony/chat", {"token": "one", "text": "Hi"})
        refused = peer.send_request("harmony/chat", {"token": "two", "text": "Hi", "attachments": attached})
        # What completes waits a moment only, and goes on with what there is.
        await peer.inline_completion(uri, peer.text(uri).position_at(0))
        question = await request_for_settings(peer)
        assert peer.answer_to(asked) is None
        peer.silent = False
        peer.configuration = settings
        peer.send({"jsonrpc": "2.0", "id": question, "result": [settings]})
        answer = await peer.wait_for_answer(asked)
        assert answer["result"]["text"] == "Hello.", answer
        refusal = await peer.wait_for_answer(refused)
        assert "excludes it" in refusal["error"]["message"]


async def test_the_first_actions_wait_for_the_settings_that_name_the_model(tmp_path: Path) -> None:
    rules = [asked("improve", "```python\na = 2\n```")]
    model = scripted_gpt_oss(tmp_path / "model", rules, max_position_embeddings=32_768)
    uri = (tmp_path / "code.py").as_uri()
    environment = {"XDG_STATE_HOME": str(tmp_path / "state"), "XDG_CONFIG_HOME": str(tmp_path / "config")}
    settings = {"chat": {"model": str(model), "temperature": 0}, "inlineCompletion": {"enabled": False}}
    async with starting("--trust-remote-code", environment=environment) as peer:
        peer.silent = True
        await handshake(peer, capabilities=ACTING, folder=tmp_path)
        peer.open(uri, "a = 1\n")
        listing = asyncio.create_task(actions(peer, uri, place((0, 0))))
        question = await request_for_settings(peer)
        assert not listing.done()
        peer.silent = False
        peer.configuration = settings
        peer.send({"jsonrpc": "2.0", "id": question, "result": [settings]})
        edit = await resolved(peer, named(await listing, "refactor.rewrite.harmony.improve"))
        assert edit["documentChanges"][0]["edits"]
