"""Several editors around one process and one resident model: nothing of one shows in another."""

import asyncio
import json
from pathlib import Path
from typing import Any

from harmony_ls.lsp.backend import Backend
from harmony_ls.lsp.server import HarmonyServer
from tests.lsp.connections import Connection, connected, listening
from tests.models import Rule
from tests.session.support import final, said, scripted_gpt_oss


def initialize(folder: Path, model: Path) -> dict[str, Any]:
    return {
        "processId": None,
        "workspaceFolders": [{"uri": folder.as_uri(), "name": "project"}],
        "rootUri": folder.as_uri(),
        "capabilities": {},
        "initializationOptions": {"chat": {"model": str(model), "temperature": 0}},
    }


def deltas(connection: Connection, token: str) -> str:
    """The text that came for a token."""
    return "".join(deltas_of(message, token) for message in connection.received)


def deltas_of(message: dict[str, Any], token: str) -> str:
    if message.get("method") != "harmony/chat/delta" or message["params"]["token"] != token:
        return ""
    part = message["params"]["part"]
    return part["text"] if part["kind"] == "text" else ""


async def test_two_windows_share_the_model_and_nothing_else(tmp_path: Path, harmony_vocabulary: None) -> None:
    model = scripted_gpt_oss(
        tmp_path / "model",
        [
            Rule(said("One"), final("First.")),
            Rule(said("Two"), final("Second.")),
            Rule(f"First.<|end|>{said('More')}", final("On.")),
            Rule(said("Talk"), final("word " * 400)),
        ],
    )
    project = tmp_path / "project"
    project.mkdir()
    async with (
        listening("--trust-remote-code", XDG_STATE_HOME=str(tmp_path / "state")) as (_server, port),
        connected(port) as one,
    ):
        async with connected(port) as two:
            for connection in (one, two):
                await connection.call(1, "initialize", initialize(project, model))
                connection.notify("initialized", {})
            first, second = await asyncio.gather(
                one.call(2, "harmony/chat", {"token": "one", "text": "One"}),
                two.call(2, "harmony/chat", {"token": "two", "text": "Two"}),
            )
            assert (first["text"], second["text"]) == ("First.", "Second.")
            assert (deltas(one, "one"), deltas(two, "two")) == ("First.", "Second.")
            assert deltas(one, "two") == deltas(two, "one") == ""
            assert "Second." not in json.dumps(one.received)
            report = await one.call(3, "harmony/doctor", {})
            assert report["status"]["state"] in ("ready", "unloaded", "loading", "busy")

            # Both have the same folder open, and each sees the conversations that it has open itself.
            assert [each["title"] for each in await one.call(4, "harmony/chat/sessions", {})] == ["One"]
            assert [each["title"] for each in await two.call(4, "harmony/chat/sessions", {})] == ["Two"]
            refusal = await two.error(5, "harmony/chat/open", {"sessionId": first["sessionId"]})
            assert "open in another window" in refusal["message"]
            refusal = await two.error(6, "harmony/chat/delete", {"sessionId": first["sessionId"]})
            assert "open in another window" in refusal["message"]
            fork = await two.call(7, "harmony/chat/fork", {"sessionId": first["sessionId"]})
            assert [turn["said"] for turn in fork["turns"]] == ["One"], "a copy may be had"
            two.notify("exit")
            await two.closed()

        # What a window had open is free once it is closed.
        more = await one.call(8, "harmony/chat", {"token": "more", "text": "More", "sessionId": fork["sessionId"]})
        assert more["text"] == "On."

        # Whose window closes in the middle of an answer, and whose server is ended right after, loses nothing of it.
        talk = {"token": "talk", "text": "Talk", "sessionId": fork["sessionId"]}
        await one.until_told(9, "harmony/chat", talk, lambda message: deltas_of(message, "talk") != "")
    [file] = (tmp_path / "state").rglob(f"{fork['sessionId']}.json")
    said_last = json.loads(file.read_text())["said"][-1]["text"]
    assert said_last == "Talk"


async def test_a_window_that_opens_makes_nothing_anew_that_all_can_share() -> None:
    """Making the converter takes a fifth of a second on the event loop of all."""
    servers = [HarmonyServer(Backend(), {}, on_exit=lambda _code: None) for _ in range(2)]
    assert servers[0].protocol._converter is servers[1].protocol._converter
    for server in servers:
        await server.close()
