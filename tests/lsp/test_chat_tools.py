"""Tools in a chat over LSP: a scripted GPT-OSS works on the buffers of an editor that really applies edits."""

import asyncio
import contextlib
import json
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from harmony_ls.lsp.chat.approvals import ALLOW_ONCE, NEVER, REVIEW, allow_for_session
from tests.chat_templates import CHAT_RECIPES
from tests.lsp.chatting import chatting, say
from tests.lsp.editor import CAPABILITIES, Refusal
from tests.lsp.editor_connections import chatting_editor
from tests.lsp.peer import PATIENCE
from tests.models import Rule, build_scripted_model
from tests.session.support import calls, final, said, scripted_gpt_oss, tool_result

BROKEN = "def area(radius):\n    return math.pi * radius ** 2\n"
MENDED = "import math\n\n\ndef area(radius):\n    return math.pi * radius ** 2\n"
PATCH = (
    "*** Begin Patch\n*** Update File: shapes.py\n@@\n+import math\n+\n+\n def area(radius):\n"
    "     return math.pi * radius ** 2\n*** End Patch\n"
)
SUCCESS = "Success. Updated the following files:\nM shapes.py"
DIAGNOSTIC = {
    "range": {"start": {"line": 1, "character": 11}, "end": {"line": 1, "character": 15}},
    "severity": 1,
    "source": "ruff",
    "message": "Undefined name `math`",
}


def patching(text: str = PATCH) -> str:
    return calls(text, "functions.apply_patch")


def after(result: str) -> str:
    """How a prompt ends after a tool's answer, whatever stands before it."""
    return tool_result(result)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "shapes.py").write_text(BROKEN)
    return folder


def editing(
    project: Path, *rules: Rule, capabilities: Any = CAPABILITIES, **options: Any
) -> AbstractAsyncContextManager[Any]:
    """A server with a scripted model, and the editor that is its client."""
    # A token is a byte here, and what the model is told of its tools takes some thousands.
    model = scripted_gpt_oss(project.parent / "model", rules, max_position_embeddings=32_768)
    return chatting_editor(model, project.parent / "state", project, capabilities=capabilities, settings=options)


pytestmark = pytest.mark.usefixtures("harmony_vocabulary")


async def test_a_real_diagnostic_is_mended_in_the_buffer(project: Path) -> None:
    asked = Rule("<|start|>assistant", f"<|channel|>analysis<|message|>No import.<|end|><|start|>assistant{patching()}")
    told = Rule(after(SUCCESS), final("I have added the import."))
    path = project / "shapes.py"
    async with editing(project, asked, told) as peer:
        editor = peer.editor
        uri = editor.open(path)
        editor.insert(uri, len(BROKEN), "# not saved yet\n")
        editor.answers.append(ALLOW_ONCE)
        turn = await say(peer, "/fix", attachments=[{"kind": "diagnostics", "uri": uri, "diagnostics": [DIAGNOSTIC]}])
        assert turn.text == "I have added the import.", turn
        assert editor.text(path) == f"{MENDED}# not saved yet\n"
        assert path.read_text() == BROKEN, "saving is the person's"
        editor.undo(uri)
        assert editor.text(path) == f"{BROKEN}# not saved yet\n", "one step takes it back"

        states = [part["state"] for part in turn.of("toolCall")]
        assert states[0] == "begun"
        assert states[-1] == "complete"
        assert set(states[1:-1]) == {"growing"}
        previews = [part["preview"] for part in turn.of("toolCall") if part.get("preview")]
        assert previews[-1] == [{"operation": "update", "path": "shapes.py", "newPath": None, "added": 3, "removed": 0}]
        assert [preview[0]["added"] for preview in previews] == sorted(preview[0]["added"] for preview in previews)
        [approval] = turn.of("approval")
        assert approval["summary"] == "Change shapes.py"
        assert "+import math" in approval["detail"]
        [question] = editor.questions
        assert question["message"].startswith("Change shapes.py?")
        assert [action["title"] for action in question["actions"]] == [
            ALLOW_ONCE,
            allow_for_session(),
            REVIEW,
            NEVER,
        ]
        [result] = turn.of("toolResult")
        assert (result["text"], result["isError"]) == (SUCCESS, False)
        assert turn.parts.index(approval) < turn.parts.index(result)
        assert {part["call"] for part in (approval, result, *turn.of("toolCall"))} == {1}


@pytest.mark.parametrize("answer", [None, NEVER, Refusal("no"), "Nonsense"])
async def test_what_is_not_allowed_is_not_done(project: Path, answer: Any) -> None:
    path = project / "shapes.py"
    async with editing(
        project, Rule(said("Mend it"), patching()), Rule("<|start|>assistant", final("Then not."))
    ) as peer:
        peer.editor.open(path)
        peer.editor.answers.append(answer)
        turn = await say(peer, "Mend it")
        assert turn.text == "Then not."
        assert peer.editor.text(path) == BROKEN
        assert peer.editor.edits == []
        [result] = turn.of("toolResult")
        assert result["isError"]
        transcript = await peer.request("harmony/chat/open", {"sessionId": turn.result["sessionId"]})
        assert result in transcript["turns"][0]["parts"]


async def test_allowed_for_the_session_is_asked_once_and_not_in_another(project: Path) -> None:
    back = PATCH.replace("+import math\n+\n+\n", "-import math\n-\n-\n")
    rules = (
        Rule(said("Mend it"), patching()),
        Rule(said("Take it back"), patching(back)),
        Rule("<|start|>assistant", final("Done.")),
    )
    path = project / "shapes.py"
    async with editing(project, *rules) as peer:
        peer.editor.open(path)
        peer.editor.answers.append(allow_for_session())
        first = await say(peer, "Mend it")
        assert peer.editor.text(path) == MENDED
        second = await say(peer, "Take it back", sessionId=first.result["sessionId"])
        assert second.of("approval") == []
        assert peer.editor.text(path) == BROKEN
        assert len(peer.editor.questions) == 1
        peer.editor.answers.append(None)
        await say(peer, "Mend it")
        assert len(peer.editor.questions) == 2, "another session asks for itself"


async def test_settings_that_change_in_a_turn_count_from_the_next_one_but_what_they_forbid_at_once(
    project: Path,
) -> None:
    path = project / "shapes.py"
    back = patching(PATCH.replace("+import math\n+\n+\n", "-import math\n-\n-\n"))
    rules = (
        Rule(said("Mend it"), patching()),
        Rule(after(SUCCESS), back),
        Rule("<|start|>assistant", final("Then not.")),
    )
    async with editing(project, *rules) as peer:
        peer.editor.open(path)
        turn = asyncio.create_task(say(peer, "Mend it"))
        async with asyncio.timeout(PATIENCE):
            await peer.editor.asked.wait()
        peer.configuration = {"chat": {"model": "/nowhere", "temperature": 0}, "tools": {"applyPatch": "off"}}
        peer.notify("workspace/didChangeConfiguration", {"settings": None})
        async with asyncio.timeout(PATIENCE):
            while (await peer.doctor())["settings"]["tools"]["applyPatch"] != "off":
                pass
        peer.editor.reply(allow_for_session())
        first = await turn
        assert (first.text, first.result["finishReason"]) == ("Then not.", "stop")
        allowed, forbidden = first.of("toolResult")
        assert allowed["text"] == SUCCESS, "what the person has just allowed is done"
        assert "There is no tool 'apply_patch'" in forbidden["text"]
        assert peer.editor.text(path) == MENDED
        refused = await say(peer, "And?", sessionId=first.result["sessionId"])
        assert "/nowhere" in refused.error["message"]


async def test_what_is_forbidden_while_one_call_runs_is_not_done_by_the_next_of_the_same_answer(project: Path) -> None:
    def call(patch: str) -> str:
        document = {"name": "apply_patch", "arguments": {"input": patch}}
        return f"<tool_call>\n{json.dumps(document)}\n</tool_call>"

    (project / "other.py").write_text(BROKEN)
    both = f"{call(PATCH)}\n{call(PATCH.replace('shapes.py', 'other.py'))}"
    rules = (
        Rule("Mend it<|im_end|>\n<|im_start|>assistant\n", both),
        Rule("<|im_start|>assistant\n", "Then not."),
    )
    config = {"max_position_embeddings": 32_768}
    folder = project.parent / "model"
    model = build_scripted_model(folder, rules, recipe=CHAT_RECIPES["qwen"], markers={}, config=config)
    settings = {"tools": {"applyPatch": "allow"}}
    async with chatting_editor(model, project.parent / "state", project, settings=settings) as peer:
        peer.editor.holds_edits = True
        turn = asyncio.create_task(say(peer, "Mend it"))
        async with asyncio.timeout(PATIENCE):
            await peer.editor.asked.wait()
        peer.configuration = {"tools": {"applyPatch": "off"}}
        peer.notify("workspace/didChangeConfiguration", {"settings": None})
        async with asyncio.timeout(PATIENCE):
            while (await peer.doctor())["settings"]["tools"]["applyPatch"] != "off":
                pass
        peer.editor.holds_edits = False
        peer.editor.release()
        done, forbidden = (await turn).of("toolResult")
        assert done["text"] == SUCCESS
        assert "There is no tool 'apply_patch'" in forbidden["text"]
        assert peer.editor.text(project / "shapes.py") == MENDED
        assert peer.editor.text(project / "other.py") == BROKEN


async def test_cancelling_at_the_question_withdraws_it_and_changes_nothing(project: Path) -> None:
    path = project / "shapes.py"
    async with editing(project, Rule(said("Mend it"), patching())) as peer:
        peer.editor.open(path)
        turn = await say(
            peer, "Mend it", cancel=True, until=lambda turn: bool(turn.of("approval") and peer.editor.questions)
        )
        assert turn.result["finishReason"] == "cancelled"
        await peer.doctor()
        assert len(peer.editor.withdrawn) == 1
        peer.editor.reply(ALLOW_ONCE)
        await peer.doctor()
        assert peer.editor.edits == []
        assert peer.editor.text(path) == BROKEN


async def test_an_editor_that_goes_while_the_person_thinks_finds_the_turn_again(project: Path) -> None:
    rules = (Rule(said("Mend it"), patching()), Rule("<|start|>assistant", final("Then not.")))
    async with editing(project, *rules) as peer:
        peer.editor.open(project / "shapes.py")
        turn = asyncio.create_task(say(peer, "Mend it"))
        async with asyncio.timeout(PATIENCE):
            await peer.editor.asked.wait()
        assert peer.process.stdin is not None
        peer.process.stdin.close()
        await peer.ended()
        with contextlib.suppress(EOFError, AssertionError):
            await turn
    assert (project / "shapes.py").read_text() == BROKEN
    async with editing(project, *rules) as peer:
        [listed] = await peer.request("harmony/chat/sessions", {})
        [stored] = (await peer.request("harmony/chat/open", {"sessionId": listed["sessionId"]}))["turns"]
        [result] = [part for part in stored["parts"] if part["kind"] == "toolResult"]
        assert result["isError"]
        assert "stopped" in result["text"]
        assert (await say(peer, "And?", sessionId=listed["sessionId"])).text == "Then not."


async def test_a_document_that_changes_while_the_person_thinks_is_left_alone(project: Path) -> None:
    path = project / "shapes.py"
    rules = (Rule(said("Mend it"), patching()), Rule("<|start|>assistant", final("It changed.")))
    async with editing(project, *rules) as peer:
        uri = peer.editor.open(path)
        turn = asyncio.create_task(say(peer, "Mend it"))
        async with asyncio.timeout(PATIENCE):
            await peer.editor.asked.wait()
        peer.editor.insert(uri, 0, "# typed meanwhile\n")
        peer.editor.reply(ALLOW_ONCE)
        [result] = (await turn).of("toolResult")
        assert result["isError"]
        assert "changed in the meantime" in result["text"]
        assert peer.editor.text(path) == f"# typed meanwhile\n{BROKEN}"


async def test_files_are_created_moved_and_deleted_in_one_edit(project: Path) -> None:
    (project / "old.py").write_text("x = 1\n")
    (project / "gone.py").write_text("y = 1\n")
    patch = (
        "*** Begin Patch\n*** Add File: tests/test_shapes.py\n+import shapes\n*** Update File: old.py\n"
        "*** Move to: new.py\n@@\n-x = 1\n+x = 2\n*** Delete File: gone.py\n*** End Patch\n"
    )
    rules = (Rule(said("Tidy up"), patching(patch)), Rule("<|start|>assistant", final("Tidy.")))
    async with editing(project, *rules) as peer:
        peer.editor.answers.append(ALLOW_ONCE)
        turn = await say(peer, "Tidy up")
        [result] = turn.of("toolResult")
        assert not result["isError"], result
        [_] = peer.editor.edits
        assert peer.editor.text(project / "tests" / "test_shapes.py") == "import shapes\n"
        assert peer.editor.text(project / "new.py") == "x = 2\n"
        assert not (project / "gone.py").exists()
        assert not (project / "old.py").exists()


@pytest.mark.parametrize(
    "capabilities", [CAPABILITIES | {"workspace": CAPABILITIES["workspace"] | {"applyEdit": False}}, {}]
)
async def test_an_editor_that_cannot_apply_edits_is_told_of(project: Path, capabilities: Any) -> None:
    rules = (Rule(said("Mend it"), patching()), Rule("<|start|>assistant", final("Sorry.")))
    async with editing(project, *rules, capabilities=capabilities) as peer:
        turn = await say(peer, "Mend it")
        [result] = turn.of("toolResult")
        assert result["isError"]
        assert "lacks workspace/applyEdit" in result["text"]
        assert turn.text == "Sorry."
        assert (project / "shapes.py").read_text() == BROKEN


async def test_tools_that_cannot_be_had_are_told_of_once(project: Path) -> None:
    nowhere = f"unix://{project.parent / 'no-docker.sock'}"
    (project.parent / "state" / "config" / "harmony-ls").mkdir(parents=True)
    config = project.parent / "state" / "config" / "harmony-ls" / "config.toml"
    config.write_text(f'[tools]\npython = "ask"\ndockerHost = "{nowhere}"\n')
    async with editing(project, Rule("<|start|>assistant", final("Hello."))) as peer:
        first = await say(peer, "Hi")
        [notice] = first.of("notice")
        assert notice["text"].startswith("python is not available: ")
        assert (await say(peer, "Hi")).of("notice") == []


async def test_a_model_that_can_use_no_tools_lacks_none(tiny_llama: Path, project: Path) -> None:
    tools = {"python": "ask", "dockerHost": f"unix://{project.parent / 'no-docker.sock'}"}
    settings = {"chat": {"model": str(tiny_llama), "maxTokens": 4}, "tools": tools}
    async with chatting(tiny_llama, project.parent / "state", project, settings=settings) as peer:
        turn = await say(peer, "Hi")
        assert [notice["text"] for notice in turn.of("notice")] == [
            "The answer was cut off after 4 tokens (chat.maxTokens)."
        ]


async def test_folders_that_change_while_the_person_thinks_change_nothing_for_the_turn(project: Path) -> None:
    path, more = project / "shapes.py", project.parent / "more"
    more.mkdir()
    (more / "other.py").write_text("x = 1\n")
    rules = (
        Rule(said("Mend it"), patching()),
        Rule(said("Take it back"), patching(PATCH.replace("+import math\n+\n+\n", "-import math\n-\n-\n"))),
        Rule("<|start|>assistant", final("Done.")),
    )
    async with editing(project, *rules) as peer:
        peer.editor.open(path)
        turn = asyncio.create_task(say(peer, "Mend it"))
        async with asyncio.timeout(PATIENCE):
            await peer.editor.asked.wait()
        event = {"added": [{"uri": more.as_uri(), "name": "more"}], "removed": []}
        peer.notify("workspace/didChangeWorkspaceFolders", {"event": event})
        file = {"kind": "file", "uri": (more / "other.py").as_uri()}
        assert (await say(peer, "What is there?", attachments=[file])).text == "Done.", (
            "the new folder is there at once"
        )
        labels: list[str] = []
        peer.editor.confirms = lambda label: labels.append(label) is None
        peer.editor.reply(REVIEW)
        first = await turn
        assert first.result["finishReason"] == "stop"
        assert labels, "what is to be looked over is looked over"
        assert peer.editor.text(path) == MENDED

        session = first.result["sessionId"]
        assert session in {each["sessionId"] for each in await peer.request("harmony/chat/sessions", {})}
        peer.editor.answers.append(allow_for_session())
        second = await say(peer, "Take it back", sessionId=session)
        assert second.result["nTurns"] == 2, "the session goes on"
        assert peer.editor.text(path) == BROKEN
        event = {"added": [], "removed": [{"uri": project.as_uri(), "name": "project"}]}
        peer.notify("workspace/didChangeWorkspaceFolders", {"event": event})
        third = await say(peer, "Mend it", sessionId=session)
        [result] = third.of("toolResult")
        assert result["isError"]
        assert peer.editor.text(path) == BROKEN, "what left the workspace is out of reach"
        assert len((await peer.request("harmony/chat/open", {"sessionId": session}))["turns"]) == 3
