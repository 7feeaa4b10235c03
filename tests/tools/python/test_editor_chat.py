"""Python in a chat over LSP: asked for, run in a real container, shown as parts, and nothing of it left behind."""

from pathlib import Path

import pytest
from docker import DockerClient

from harmony_ls.lsp.chat.approvals import ALLOW_ONCE, allow_for_session
from harmony_ls.settings.models import ToolSettings
from tests.lsp.chatting import say
from tests.lsp.editor_connections import chatting_editor
from tests.models import Rule
from tests.session.support import calls, final, said, scripted_gpt_oss, tool_result
from tests.tools.python.support import containers_of, until


@pytest.mark.usefixtures("harmony_vocabulary")
async def test_python_is_asked_for_run_and_shown_and_its_container_goes_with_the_editor(
    python_settings: ToolSettings, engine: DockerClient, tmp_path: Path
) -> None:
    rules = (
        Rule(said("Six times seven?"), calls("x = 6 * 7; print(x)", "python")),
        Rule(tool_result("42"), final("It is 42.")),
        Rule(said("And one more?"), calls("print(x + 1)", "python")),
        Rule(tool_result("43"), final("It is 43.")),
        Rule(said("Wait"), calls("while True: pass", "python")),
    )
    model = scripted_gpt_oss(tmp_path / "model", rules, max_position_embeddings=32_768)
    own_settings = f'[tools]\npython = "ask"\npythonImage = "{python_settings.python_image}"\npythonSeconds = 30\n'
    async with chatting_editor(model, tmp_path / "state", own_settings=own_settings) as peer:
        pid = peer.process.pid
        peer.editor.answers.append(ALLOW_ONCE)
        first = await say(peer, "Six times seven?")
        assert first.text == "It is 42.", first
        [approval] = first.of("approval")
        assert approval["detail"] == "x = 6 * 7; print(x)"
        [result] = first.of("toolResult")
        assert (result["name"], result["text"], result["isError"]) == ("python", "42", False)
        assert [part["state"] for part in first.of("toolCall")][-1] == "complete"
        assert len(containers_of(engine, pid)) == 1

        # What a program has written may carry instructions, so that it is asked about each time from now on.
        session = first.result["sessionId"]
        peer.editor.answers.append(ALLOW_ONCE)
        second = await say(peer, "And one more?", sessionId=session)
        assert second.text == "It is 43.", "the notebook is the conversation's"
        assert allow_for_session() not in [each["title"] for each in peer.editor.questions[-1]["actions"]]

        # Cancelled while it runs, it ends, and so does the turn.
        peer.editor.answers.append(ALLOW_ONCE)
        third = await say(peer, "Wait", sessionId=session, cancel=True, until=lambda turn: bool(turn.of("approval")))
        assert third.result["finishReason"] == "cancelled"
        transcript = await peer.request("harmony/chat/open", {"sessionId": session})
        assert [part["kind"] for part in transcript["turns"][0]["parts"]] == ["toolCall", "toolResult", "text"]
        await peer.shutdown()
    await until(lambda: containers_of(engine, pid) == [])
