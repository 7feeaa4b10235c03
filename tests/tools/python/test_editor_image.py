"""Docker that starts after a chat has begun, and an image that the person at the editor agrees to fetch."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from docker import DockerClient
from docker.errors import ImageNotFound

from harmony_ls.lsp.chat.approvals import ALLOW_ONCE
from harmony_ls.lsp.chat.image_offers import FETCH, NOT_NOW
from harmony_ls.settings.models import ToolSettings
from harmony_ls.tools.python.engine import address_of
from tests.lsp.chatting import Turn, say
from tests.lsp.editor_connections import EditorPeer, chatting_editor
from tests.lsp.peer import PATIENCE
from tests.models import Rule
from tests.session.support import calls, final, said, scripted_gpt_oss, tool_result
from tests.tools.python.image_registry import Stall, serving

pytestmark = pytest.mark.usefixtures("harmony_vocabulary")

RULES = (
    Rule("<|start|>assistant", final("Done.")),
    Rule(said("Six times seven?"), calls("print(6 * 7)", "python")),
    Rule(tool_result("42"), final("It is 42.")),
)


@asynccontextmanager
async def editing(tmp_path: Path, tools: str) -> AsyncIterator[EditorPeer]:
    """A server whose user has these settings of tools, and the editor that is its client."""
    model = scripted_gpt_oss(tmp_path / "model", RULES, max_position_embeddings=32_768)
    async with chatting_editor(model, tmp_path / "state", own_settings=f"[tools]\n{tools}") as peer:
        yield peer
        await peer.shutdown()


def results(turn: Turn) -> list[str]:
    return [part["text"] for part in turn.of("toolResult")]


def told(turn: Turn) -> list[str]:
    """The notices about python."""
    return [part["text"] for part in turn.of("notice") if part["text"].startswith("python")]


def shown(peer: EditorPeer) -> list[str]:
    return [params["message"] for method, params in peer.notifications if method == "window/showMessage"]


def reports(peer: EditorPeer, kind: str) -> list[dict[str, Any]]:
    """What was told of progress, but that of the turns."""
    told = [params["value"] for method, params in peer.notifications if method == "$/progress"]
    begun = [value["title"] for value in told if value["kind"] == "begin"]
    assert "Answering" in begun
    return [value for value in told if value["kind"] == kind and value.get("title") != "Answering"]


def is_ended(peer: EditorPeer, token: str) -> bool:
    return any(
        method == "$/progress" and params["token"] == token and params["value"]["kind"] == "end"
        for method, params in peer.notifications
    )


async def until_asked(peer: EditorPeer, n_times: int) -> None:
    async with asyncio.timeout(PATIENCE):
        while len(peer.editor.questions) < n_times:
            await peer.next_messages()


async def until_shown(peer: EditorPeer, n_messages: int = 1) -> str:
    async with asyncio.timeout(PATIENCE):
        while len(shown(peer)) < n_messages:
            await peer.next_messages()
    return shown(peer)[-1]


async def test_docker_that_starts_later_is_of_use_from_the_next_turn_on(
    python_settings: ToolSettings, engine: DockerClient, tmp_path: Path
) -> None:
    socket = tmp_path / "engine.sock"
    tools = f'pythonImage = "{python_settings.python_image}"\ndockerHost = "unix://{socket}"\n'
    async with editing(tmp_path, tools) as peer:
        first = await say(peer, "Six times seven?")
        [notice] = told(first)
        assert notice.startswith("python is not available: The python tool needs Docker")
        assert "There is no tool 'python'" in results(first)[0]
        socket.symlink_to(address_of(engine).removeprefix("unix://"))
        session = first.result["sessionId"]
        async with asyncio.timeout(PATIENCE):  # what was found out holds for some seconds
            while True:
                peer.editor.answers = [ALLOW_ONCE]
                later = await say(peer, "Six times seven?", sessionId=session)
                if "There is no tool" not in results(later)[0]:
                    break
        assert results(later) == ["42"]
        assert later.text == "It is 42."
        assert told(later) == []


async def test_a_missing_image_is_fetched_where_the_person_agrees_while_the_chat_goes_on(
    engine: DockerClient, tmp_path: Path
) -> None:
    async with serving(engine) as image, editing(tmp_path, f'pythonImage = "{image}"\n') as peer:
        first = await say(peer, "Hello")
        assert first.text == "Done.", "nobody waits for the answer"
        [notice] = told(first)
        assert image in notice
        await until_asked(peer, 1)
        [question] = peer.editor.questions
        assert image in question["message"]
        assert [each["title"] for each in question["actions"]] == [FETCH, NOT_NOW]
        assert told(await say(peer, "Hello", sessionId=first.result["sessionId"])) == []
        assert len(peer.editor.questions) == 1, "it is asked once"
        peer.editor.reply(FETCH)
        assert "is there. Python can be used from the next message on." in await until_shown(peer)
        assert f"Fetching {image}" in [each["title"] for each in reports(peer, "begin")]
        assert reports(peer, "report")[-1]["percentage"] == 100
        assert engine.images.get(image) is not None
        peer.editor.answers = [None]
        second = await say(peer, "Six times seven?", sessionId=first.result["sessionId"])
        assert told(second) == []
        [result] = results(second)
        assert "The person did not allow this" in result, "there is the tool"


async def test_what_is_not_wanted_is_not_fetched_and_what_fails_is_told_and_offered_again(
    engine: DockerClient, tmp_path: Path
) -> None:
    async with serving(engine) as image, editing(tmp_path, f'pythonImage = "{image}-gone"\n') as peer:
        peer.editor.answers = [FETCH]
        await say(peer, "Hello")
        assert "could not be fetched" in await until_shown(peer)
        peer.editor.answers = [NOT_NOW]
        await say(peer, "Hello")
        await until_asked(peer, 2)
        await say(peer, "Hello")
        await peer.doctor()
        assert len(peer.editor.questions) == 2
        assert len(shown(peer)) == 1


async def test_fetching_ends_where_the_person_gives_up(engine: DockerClient, tmp_path: Path) -> None:
    stall = Stall(in_layer=True)
    async with serving(engine, stall) as image, editing(tmp_path, f'pythonImage = "{image}"\n') as peer:
        peer.editor.answers = [FETCH]
        await say(peer, "Hello")
        async with asyncio.timeout(PATIENCE):
            await stall.is_reached.wait()
            while not reports(peer, "begin"):
                await peer.next_messages()
        [token] = [
            params["token"]
            for method, params in peer.notifications
            if method == "$/progress" and params["value"].get("title", "").startswith("Fetching")
        ]
        peer.notify("window/workDoneProgress/cancel", {"token": token})
        async with asyncio.timeout(PATIENCE):
            while not is_ended(peer, token):
                await peer.next_messages()
        assert shown(peer) == []
        with pytest.raises(ImageNotFound):
            engine.images.get(image)


async def test_an_editor_that_leaves_ends_the_fetching(engine: DockerClient, tmp_path: Path) -> None:
    stall = Stall(in_layer=True)
    async with serving(engine, stall) as image:
        async with editing(tmp_path, f'pythonImage = "{image}"\n') as peer:
            peer.editor.answers = [FETCH]
            await say(peer, "Hello")
            async with asyncio.timeout(PATIENCE):
                await stall.is_reached.wait()
        assert peer.process.returncode == 0, "nobody waits for the registry"
        with pytest.raises(ImageNotFound):
            engine.images.get(image)


async def test_who_has_said_nothing_of_the_tool_is_not_asked(python_settings: ToolSettings, tmp_path: Path) -> None:
    """Whether or not this machine has the image that the settings name by default."""
    async with editing(tmp_path, "") as peer:
        await say(peer, "Hello")
        await say(peer, "Hello")
        await peer.doctor()
        assert peer.editor.questions == []
