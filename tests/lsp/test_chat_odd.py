"""What a chat survives: clients that repeat themselves, cancel at any time, name what is not there, and disks that are
full."""

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.lsp.chatting import PATIENCE, chatting, say
from tests.lsp.peer import SERVER, Peer, handshake, starting
from tests.models import Rule, build_scripted_model
from tests.session.support import final, said, scripted_gpt_oss

LONG = "word " * 400
RULES = (Rule("<|start|>assistant", final("Yes.")), Rule(said("Talk"), final(LONG)))

pytestmark = pytest.mark.usefixtures("harmony_vocabulary")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return scripted_gpt_oss(tmp_path / "model", RULES, max_position_embeddings=32_768)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


def deltas(peer: Peer, token: Any) -> list[dict[str, Any]]:
    return [
        params["part"]
        for method, params in peer.notifications
        if method == "harmony/chat/delta" and params["token"] == token
    ]


async def begun(peer: Peer, token: Any, text: str = "Talk", **params: Any) -> int:
    """A turn that has begun to answer."""
    number: int = peer.send_request("harmony/chat", {"token": token, "text": text, **params})
    async with asyncio.timeout(PATIENCE):
        while not deltas(peer, token):
            await peer.next_messages()
    return number


async def test_a_token_is_of_one_running_turn(model: Path, state: Path) -> None:
    async with chatting(model, state) as peer:
        number = await begun(peer, 7)
        second = peer.send_request("harmony/chat", {"token": 7, "text": "Hi"})
        refusal = await peer.wait_for_answer(second)
        assert "Take another one" in refusal["error"]["message"]
        other = await peer.request("harmony/chat", {"token": "7", "text": "Hi"})
        assert other["text"] == "Yes.", "a text is not a number"
        peer.cancel(number)
        first = (await peer.wait_for_answer(number))["result"]
        assert first["text"] == "".join(part["text"] for part in deltas(peer, 7) if part["kind"] == "text")
        assert (await peer.request("harmony/chat", {"token": 7, "text": "Hi"}))["text"] == "Yes."


async def test_what_is_said_when_the_server_is_shut_down_is_kept(model: Path, state: Path) -> None:
    async with chatting(model, state) as peer:
        session = (await say(peer, "Hi")).result["sessionId"]
        number = await begun(peer, "last", sessionId=session)
        assert await peer.shutdown() == 0
        assert peer.answers[number] <= 1, "who leaves at once may miss it"
    async with chatting(model, state) as peer:
        turns = (await peer.request("harmony/chat/open", {"sessionId": session}))["turns"]
        assert [turn["said"] for turn in turns] == ["Hi", "Talk"]


async def test_a_session_whose_model_is_gone_goes_on_with_the_one_of_the_settings(
    model: Path, state: Path, tmp_path: Path
) -> None:
    other = build_scripted_model(tmp_path / "other", [Rule("<|im_start|>assistant\n", "From elsewhere.")])
    async with chatting(model, state) as peer:
        first = await say(peer, "Who?", model=str(other), effort="high")
        assert first.text == "From elsewhere."
        session = first.result["sessionId"]
    shutil.rmtree(other)
    async with chatting(model, state) as peer:
        transcript = await peer.request("harmony/chat/open", {"sessionId": session})
        assert transcript["model"] == str(other)
        assert transcript["turns"][0]["parts"] == [{"kind": "text", "text": "From elsewhere."}]
        gone = await say(peer, "And now?", sessionId=session)
        assert str(other) in gone.error["message"]
        assert (await peer.request("harmony/chat/open", {"sessionId": session}))["turns"] == transcript["turns"]
        again = await say(peer, "And now?", sessionId=session, model="", effort="")
        assert (again.text, again.result["nTurns"]) == ("Yes.", 2)
        after = await peer.request("harmony/chat/open", {"sessionId": session})
        assert (after["model"], after["effort"]) == (None, None)


ODD_FILES: list[tuple[dict[str, Any], str]] = [
    ({"kind": "file", "uri": "{folder}/binary.bin"}, "text"),
    ({"kind": "file", "uri": "{folder}/folder"}, "folder"),
    ({"kind": "file", "uri": "{folder}/pipe"}, "named pipe"),
    ({"kind": "file", "uri": "{folder}/gone.py"}, "does not exist"),
    ({"kind": "file", "uri": "{folder}"}, ""),
    ({"kind": "file", "uri": "{folder}/huge.txt"}, ""),
    ({"kind": "file", "uri": "http://example.com/a.py"}, "not open"),
    ({"kind": "file", "uri": "file://elsewhere/a.py"}, ""),
    ({"kind": "file", "uri": "not a uri"}, ""),
    ({"kind": "file", "uri": "file:///%00"}, ""),
    ({"kind": "", "uri": "untitled:1"}, "no kind of attachment"),
    ({"kind": "diff", "uri": "{folder}/gone/deep/a.py"}, ""),
    ({"kind": "diff", "uri": "untitled:1"}, "outside the workspace"),
    ({"kind": "symbol", "uri": "untitled:1", "position": {"line": 10**9, "character": 0}}, "no function"),
    ({"kind": "diagnostics", "uri": "untitled:1", "diagnostics": None}, "no diagnostics"),
]


async def test_odd_attachments_are_refused_in_words(model: Path, state: Path, tmp_path: Path) -> None:
    folder = tmp_path / "project"
    (folder / "folder").mkdir(parents=True)
    (folder / "binary.bin").write_bytes(bytes(range(256)))
    os.mkfifo(folder / "pipe")
    with (folder / "huge.txt").open("wb") as stream:
        stream.truncate(3 << 30)
    async with chatting(model, state, folder) as peer:
        peer.open("untitled:1", "x = 1\n")
        for attachment, reason in ODD_FILES:
            uri = attachment["uri"].replace("{folder}", folder.as_uri())
            turn = await say(peer, "What?", attachments=[attachment | {"uri": uri}])
            assert reason in turn.error["message"], attachment
            assert turn.error["code"] == -32803, attachment
        odd = {
            "kind": "diagnostics",
            "uri": "untitled:1",
            "diagnostics": [
                {"range": None, "message": 5, "severity": "high", "source": []},
                {"range": {"start": {"line": -1}}, "message": {"value": None}},
                {"range": {"start": {"line": 10**12}}, "message": "far"},
            ],
        }
        assert (await say(peer, "What?", attachments=[odd])).text == "Yes."
        reversed_range = {"start": {"line": 5, "character": 9}, "end": {"line": 0, "character": 0}}
        turn = await say(peer, "?", attachments=[{"kind": "selection", "uri": "untitled:1", "range": reversed_range}])
        assert turn.text == "Yes."
        turn = await say(peer, "x" * 1_000_001)
        assert "1,000,000 is the limit" in turn.error["message"]
        for text, attachments in (("/", []), ("/ explain", []), ("//explain", []), ("/usr/bin", []), ("/1", [])):
            assert (await say(peer, text, attachments=attachments)).text == "Yes.", text
        file = {"kind": "file", "uri": "untitled:1"}
        for text in ("/Explain", "/EXPLAIN\n\n  this \n", " /explain\tthis"):
            assert (await say(peer, text, attachments=[file])).text == "Yes.", text
            assert "needs code" in (await say(peer, text)).error["message"]
        titles = [each["title"] for each in await peer.request("harmony/chat/sessions", {})]
        assert "/Explain `untitled:1`" in titles, titles


async def test_thousands_of_sessions_hold_nobody_up(model: Path, state: Path) -> None:
    async with chatting(model, state) as peer:
        session = (await say(peer, "ÄÖ 漢字 🎈 \u202e")).result["sessionId"]
        [file] = (state / "harmony-ls" / "chats").rglob("*.json")
        content = json.loads(file.read_text())
        for number in range(3000):
            name = f"{number:032x}"
            file.with_name(f"{name}.json").write_text(json.dumps(content | {"id": name}))
        number = peer.send_request("harmony/chat/sessions", {})
        n_meanwhile = 0
        while peer.answer_to(number) is None:
            await peer.doctor()
            n_meanwhile += 1
        assert n_meanwhile > 1
        sessions = (peer.answer_to(number) or {})["result"]
        assert len(sessions) == 3001
        assert {each["title"] for each in sessions} == {"ÄÖ 漢字 🎈 \u202e"}
        assert session in {each["sessionId"] for each in sessions}


@asynccontextmanager
async def with_a_full_disk(model: Path, state: Path) -> AsyncIterator[Peer]:
    """A server that can write no file longer than a page."""
    environment = {"XDG_STATE_HOME": str(state), "XDG_CONFIG_HOME": str(state / "config")}
    command = ("prlimit", "--fsize=4096", *SERVER)
    async with starting("--trust-remote-code", command=command, environment=environment) as peer:
        await handshake(peer, options={"chat": {"model": str(model), "temperature": 0}})
        yield peer


async def test_a_full_disk_costs_no_word(model: Path, state: Path) -> None:
    async with with_a_full_disk(model, state) as peer:
        first = await say(peer, "Hi")
        session = first.result["sessionId"]
        full = await say(peer, "x" * 5000, sessionId=session)
        assert full.text == "Yes."
        [notice] = full.of("notice")
        assert "cannot be saved" in notice["text"]
        again = await say(peer, "Hi", sessionId=session)
        assert again.result["nTurns"] == 3
        transcript = await peer.request("harmony/chat/open", {"sessionId": session})
        assert [len(turn["said"]) for turn in transcript["turns"]] == [2, 5000, 2]
        [file] = _files(state)
        assert json.loads(file.read_text())["said"][-1]["text"] == "Hi"


def _files(state: Path) -> list[Path]:
    return [path for path in (state / "harmony-ls" / "chats").rglob("*") if path.is_file()]


async def test_cancelling_before_the_model_is_there_forgets_the_session(model: Path, state: Path) -> None:
    async with chatting(model, state) as peer:
        numbers = [peer.send_request("harmony/chat", {"token": each, "text": "Hi"}) for each in range(6)]
        for number in numbers[:5]:
            peer.cancel(number)
        for number in numbers[:5]:
            answer = await peer.wait_for_answer(number)
            assert answer.get("error", {}).get("code") == -32800 or answer["result"]["finishReason"] == "cancelled"
        assert (await peer.wait_for_answer(numbers[5]))["result"]["text"] == "Yes."
        listed = await peer.request("harmony/chat/sessions", {})
        kept = [number for number in numbers if "result" in (peer.answer_to(number) or {})]
        assert len(listed) == len(kept)


async def test_deleting_forking_and_opening_a_session_that_is_being_answered(model: Path, state: Path) -> None:
    async with chatting(model, state) as peer:
        session = (await say(peer, "Hi")).result["sessionId"]
        number = await begun(peer, "talk", sessionId=session)
        refused = peer.send_request("harmony/chat/delete", {"sessionId": session})
        assert "Cancel it first" in (await peer.wait_for_answer(refused))["error"]["message"]
        fork = await peer.request("harmony/chat/fork", {"sessionId": session})
        opened = await peer.request("harmony/chat/open", {"sessionId": session})
        assert opened["turns"] == fork["turns"]
        assert [turn["said"] for turn in opened["turns"]] == ["Hi"]
        assert (await say(peer, "Hi", sessionId=fork["sessionId"])).result["nTurns"] == 2
        peer.cancel(number)
        await peer.wait_for_answer(number)
        await peer.request("harmony/chat/delete", {"sessionId": session})
        assert [each["sessionId"] for each in await peer.request("harmony/chat/sessions", {})] == [fork["sessionId"]]
        for wrong in ({"sessionId": session, "nTurns": 1}, {"sessionId": fork["sessionId"], "nTurns": 3}):
            refused = peer.send_request("harmony/chat/fork", wrong)
            assert (await peer.wait_for_answer(refused))["error"]["code"] == -32803
