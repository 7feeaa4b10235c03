"""Conversations over LSP, with the real server and a model that follows a script."""

import asyncio
import json
import stat
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.lsp.chatting import Turn, chatting, say
from tests.models import Rule, build_scripted_model
from tests.session.support import final, said, scripted_gpt_oss

Script = Callable[..., Path]


@pytest.fixture
def script(tmp_path: Path, harmony_vocabulary: None) -> Script:
    """Build a scripted GPT-OSS from rules."""
    return lambda *rules: scripted_gpt_oss(tmp_path / "model", rules)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


LONG = "word " * 400


async def test_an_answer_streams_in_typed_parts_and_ends_with_its_figures(script: Script, state: Path) -> None:
    model = script(Rule(said("Hello"), final("Hi there.", reasoning="A greeting.")))
    async with chatting(model, state) as peer:
        turn = await say(peer, "Hello", workDoneToken="work")
        assert turn.text == "Hi there."
        assert turn.joined("reasoning") == "A greeting."
        assert len(turn.of("text")) > 1, "it came in pieces"
        [usage] = turn.of("usage")
        assert usage["generatedTokens"] > 0
        assert turn.result["text"] == "Hi there."
        assert turn.result["finishReason"] == "stop"
        assert turn.result["title"] == "Hello"
        assert turn.result["nTurns"] == 1
        assert turn.result["usage"] == usage
        kinds = [
            params["value"]["kind"]
            for method, params in peer.notifications
            if method == "$/progress" and params["token"] == "work"
        ]
        assert kinds[0] == "begin"
        assert kinds[-1] == "end"
        assert {kinds.count("begin"), kinds.count("end")} == {1}


async def test_a_session_remembers_what_was_said(script: Script, state: Path) -> None:
    model = script(Rule(said("One"), final("First.")), Rule(f"First.<|end|>{said('Two')}", final("Second.")))
    async with chatting(model, state) as peer:
        first = await say(peer, "One")
        second = await say(peer, "Two", sessionId=first.result["sessionId"])
        assert second.text == "Second."
        assert second.result["sessionId"] == first.result["sessionId"]
        assert second.result["nTurns"] == 2
        usage = second.result["usage"]
        assert usage["computedTokens"] < usage["promptTokens"] / 2, "the first turn is not read again"


async def test_cancelling_keeps_the_partial_answer(script: Script, state: Path) -> None:
    model = script(Rule(said("Talk"), final(LONG)), Rule(f"<|end|>{said('And?')}", final("Done.")))
    async with chatting(model, state) as peer:
        turn = await say(peer, "Talk", cancel=True, until=lambda turn: len(turn.of("text")) > 5)
        assert turn.result["finishReason"] == "cancelled"
        assert turn.text == turn.result["text"]
        assert LONG.startswith(turn.text)
        assert turn.text not in ("", LONG)
        transcript = await peer.request("harmony/chat/open", {"sessionId": turn.result["sessionId"]})
        [stored] = transcript["turns"]
        assert stored["said"] == "Talk"
        assert stored["parts"] == [{"kind": "text", "text": turn.text}]
        assert (await say(peer, "And?", sessionId=turn.result["sessionId"])).text == "Done."


async def test_sessions_survive_a_restart_and_are_private(script: Script, state: Path, tmp_path: Path) -> None:
    model = script(
        Rule(said("One"), final("First.", reasoning="Hm.")), Rule(f"First.<|end|>{said('Two')}", final("Second."))
    )
    project = tmp_path / "project"
    project.mkdir()
    async with chatting(model, state, project) as peer:
        session = (await say(peer, "One", effort="high")).result["sessionId"]
    [file] = (state / "harmony-ls" / "chats").rglob("*.json")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    async with chatting(model, state, project) as peer:
        [listed] = await peer.request("harmony/chat/sessions", {})
        assert (listed["sessionId"], listed["title"], listed["nTurns"]) == (session, "One", 1)
        transcript = await peer.request("harmony/chat/open", {"sessionId": session})
        assert transcript["effort"] == "high"
        [turn] = transcript["turns"]
        assert turn["parts"] == [{"kind": "reasoning", "text": "Hm."}, {"kind": "text", "text": "First."}]
        assert (await say(peer, "Two", sessionId=session)).text == "Second."
    async with chatting(model, state, tmp_path) as peer:
        assert await peer.request("harmony/chat/sessions", {}) == [], "another workspace"


async def test_fork_and_delete(script: Script, state: Path) -> None:
    model = script(
        Rule(said("One"), final("First.")),
        Rule(f"First.<|end|>{said('Two')}", final("Second.")),
        Rule(f"First.<|end|>{said('Three')}", final("Third.")),
    )
    async with chatting(model, state) as peer:
        session = (await say(peer, "One")).result["sessionId"]
        await say(peer, "Two", sessionId=session)
        fork = await peer.request("harmony/chat/fork", {"sessionId": session, "nTurns": 1})
        assert fork["sessionId"] != session
        assert [turn["said"] for turn in fork["turns"]] == ["One"]
        assert (await say(peer, "Three", sessionId=fork["sessionId"])).text == "Third."
        assert {each["sessionId"]: each["nTurns"] for each in await peer.request("harmony/chat/sessions", {})} == {
            session: 2,
            fork["sessionId"]: 2,
        }
        await peer.request("harmony/chat/delete", {"sessionId": session})
        assert [each["sessionId"] for each in await peer.request("harmony/chat/sessions", {})] == [fork["sessionId"]]
        gone = await say(peer, "Two", sessionId=session)
        assert "There is no conversation" in gone.error["message"]


async def test_files_that_cannot_be_read_are_told_of_and_left_alone(script: Script, state: Path) -> None:
    model = script(Rule(said("One"), final("First.")))
    async with chatting(model, state) as peer:
        session = (await say(peer, "One")).result["sessionId"]
    [file] = (state / "harmony-ls" / "chats").rglob("*.json")
    old, damaged = "0" * 32, "1" * 32
    content = json.loads(file.read_text())
    file.with_name(f"{old}.json").write_text(json.dumps(content | {"id": old, "version": 0}))
    file.with_name(f"{damaged}.json").write_bytes(file.read_bytes()[:-40])
    async with chatting(model, state) as peer:
        listed = {each["sessionId"]: each for each in await peer.request("harmony/chat/sessions", {})}
        assert listed[session]["problem"] is None
        assert "another version" in listed[old]["problem"]
        assert "damaged" in listed[damaged]["problem"]
        turn = await say(peer, "One", sessionId=damaged)
        assert "damaged" in turn.error["message"]
        assert (await say(peer, "One")).text == "First.", "the others are of use"
    assert len(list(file.parent.glob("*.json"))) == 4


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"text": "  "}, "empty"),
    ({"text": "/explain"}, "needs code"),
    ({"text": "/nonsense"}, "There is no command /nonsense"),
    ({"text": "Hi", "effort": "extreme"}, "The effort is one of"),
    ({"text": "Hi", "sessionId": "../../etc/passwd"}, "no id of a conversation"),
    ({"text": "Hi", "sessionId": "f" * 32}, "There is no conversation"),
    ({"text": "Hi", "model": "/nowhere"}, "/nowhere"),
    ({"text": "Hi", "attachments": [{"kind": "song", "uri": "file:///a.py"}]}, "no kind of attachment"),
    ({"text": "Hi", "attachments": [{"kind": "file", "uri": "untitled:Untitled-1"}]}, "not open"),
    ({"text": "Hi", "attachments": [{"kind": "file"}]}, "needs a uri"),
    ({"text": "Hi", "attachments": [{"kind": "diff"}]}, "no folder is open"),
]


async def test_what_cannot_be_asked_is_refused_in_words(script: Script, state: Path) -> None:
    model = script(Rule(said("Hi"), final("Hello.")))
    async with chatting(model, state) as peer:
        for params, reason in REFUSED:
            turn = await say(peer, **params)
            assert reason in turn.error["message"]
            assert turn.parts == [], params
        assert (await say(peer, "Hi")).text == "Hello.", "the server goes on"


async def test_the_embedded_model_says_that_it_cannot_chat(state: Path) -> None:
    async with chatting(Path("unused"), state, settings={"chat": {}}) as peer:
        turn = await say(peer, "Hello")
        assert "cannot chat" in turn.error["message"]


async def test_one_turn_at_a_time(script: Script, state: Path) -> None:
    model = script(Rule(said("Talk"), final(LONG)), Rule(said("Hi"), final("Hello.")))
    async with chatting(model, state) as peer:
        session = (await say(peer, "Hi")).result["sessionId"]
        begun = asyncio.Event()

        def note(turn: Turn) -> bool:
            if turn.of("text"):
                begun.set()
            return bool(turn.of("text")) and refused.done()

        refused: asyncio.Task[Turn] = asyncio.create_task(_later(begun, peer, session))
        fork = asyncio.create_task(say(peer, "Talk", sessionId=session, cancel=True, until=note))
        assert "Wait for its end" in (await refused).error["message"]
        assert (await fork).result["finishReason"] in ("cancelled", "stop")


async def _later(begun: asyncio.Event, peer: Any, session: str) -> Turn:
    await begun.wait()
    return await say(peer, "Hi", sessionId=session)


async def test_no_marker_reaches_the_client(script: Script, state: Path) -> None:
    model = script(Rule(said("Break"), "<|channel|>analysis<|message|>x<|call|><|start|>assistant<|channel|>final"))
    async with chatting(model, state) as peer:
        turn = await say(peer, "Break")
        shown = json.dumps(turn.parts) + json.dumps(turn.answer)
        assert "<|" not in shown
        assert "result" in turn.answer


async def test_a_client_that_can_nothing_is_served_and_loses_nothing_when_it_vanishes(
    script: Script, state: Path, tmp_path: Path
) -> None:
    model = script(Rule("<|start|>assistant", final("Yes.")), Rule(said("Talk"), final(LONG)))
    async with chatting(model, state, tmp_path, capabilities={}) as peer:
        odd = await say(peer, "half \ud800, zero \x00 and <|end|>")
        assert (odd.text, odd.result["nTurns"]) == ("Yes.", 1)
        session = odd.result["sessionId"]
        [file] = (state / "harmony-ls" / "chats").rglob("*.json")
        for _ in range(40):
            name = uuid.uuid4().hex
            file.with_name(f"{name}.json").write_text(json.dumps(json.loads(file.read_text()) | {"id": name}))
        assert len(await peer.request("harmony/chat/sessions", {})) == 41

        # Cancelled again and again, before, while and after something is there to be cancelled.
        numbers = []
        for cancels in range(5):
            params = {"token": f"cancelled {cancels}", "text": "Talk", "sessionId": session}
            numbers.append(peer.send_request("harmony/chat", params))
            for _ in range(cancels + 1):
                peer.cancel(numbers[-1])
                await peer.doctor()
            await peer.wait_for_answer(numbers[-1])
            peer.cancel(numbers[-1])
        await peer.doctor()
        assert set(peer.answers.values()) == {1}
        for number in numbers:
            answer = peer.answer_to(number)
            assert answer is not None
            assert answer.get("error", {}).get("code") == -32800 or answer["result"]["finishReason"] == "cancelled"
        n_kept = len((await peer.request("harmony/chat/open", {"sessionId": session}))["turns"])

        number = peer.send_request("harmony/chat", {"token": "last", "text": "Talk", "sessionId": session})
        while not [
            each
            for each in peer.received
            if each.get("method") == "harmony/chat/delta" and each["params"]["token"] == "last"
        ]:
            await peer.next_messages()
        assert peer.process.stdin is not None
        peer.process.stdin.close()
        await peer.ended()
        assert peer.answers[number] <= 1
        methods = {each["method"] for each in peer.received if "method" in each}
        assert methods <= {"harmony/chat/delta", "harmony/status", "window/logMessage", "window/showMessage"}
    async with chatting(model, state, tmp_path, capabilities={}) as peer:
        turns = (await peer.request("harmony/chat/open", {"sessionId": session}))["turns"]
        assert len(turns) == n_kept + 1
        assert turns[0]["said"] == "half \ud800, zero \x00 and <|end|>"
        [part] = turns[-1]["parts"]
        assert LONG.startswith(part["text"])
        assert 0 < len(part["text"]) < len(LONG)


async def test_a_session_goes_on_with_other_models_and_outgrows_one(
    script: Script, state: Path, tmp_path: Path
) -> None:
    rules = (Rule("<|start|>assistant", final("Yes.")),)
    model = script(*rules)
    other = build_scripted_model(tmp_path / "other", [Rule("<|im_start|>assistant\n", "From elsewhere.")])
    async with chatting(
        model, state, settings={"chat": {"model": str(model), "temperature": 0, "maxTokens": 60}}
    ) as peer:
        first = await say(peer, "a" * 300)
        session, n_tokens = first.result["sessionId"], first.result["usage"]["promptTokens"]
        changed = await say(peer, "Who?", sessionId=session, model=str(other))
        assert (changed.text, changed.result["nTurns"]) == ("From elsewhere.", 2)
        assert (await say(peer, "And now?", sessionId=session)).text == "From elsewhere.", "the choice holds"
        assert (await say(peer, "Back", sessionId=session, model=str(model))).text == "Yes."

        small = scripted_gpt_oss(tmp_path / "small", rules, max_position_embeddings=n_tokens + 200)
        grown = await say(peer, "b" * 200, sessionId=session, model=str(small))
        assert grown.text == "Yes."
        [notice] = grown.of("notice")
        assert notice["text"].endswith("no longer shown to the model: the conversation has outgrown its context.")
        assert grown.parts.index(notice) == 0
        refused = await say(peer, "c" * 5000, sessionId=session)
        assert "The message is too long" in refused.error["message"]
        transcript = await peer.request("harmony/chat/open", {"sessionId": session})
        assert len(transcript["turns"]) == 5, "what is hidden from the model is not from the person"
