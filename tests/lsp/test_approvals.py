"""Asking the person at an editor: what is asked, what each answer means, and answers that are none."""

import asyncio
from pathlib import Path

import pytest

from harmony_ls.lsp.chat.approvals import ALLOW_ONCE, NEVER, REVIEW, EditorApprovals, allow_for_session
from harmony_ls.lsp.server import HarmonyServer
from harmony_ls.lsp.workspace.workspace import EditorWorkspace
from harmony_ls.messages import ToolCall
from harmony_ls.tools.apply_patch import apply_patch_tool
from harmony_ls.tools.tool import ApprovalRequest, Decision
from harmony_ls.tools.toolbox import ToolBox
from tests.lsp.editor import CAPABILITIES, Editor, Refusal
from tests.lsp.editor_connections import connected_editor

SESSION = allow_for_session()
PATCH = "*** Begin Patch\n*** Update File: app.py\n@@\n-b = 1\n+b = 2\n*** End Patch\n"


def request(**options: object) -> ApprovalRequest:
    return ApprovalRequest(ToolCall("1", "python", "print()"), "Run Python", **options)  # type: ignore[arg-type]


def titles(editor: Editor) -> list[str]:
    return [action["title"] for action in editor.questions[-1]["actions"]]


def shown(editor: Editor) -> list[str]:
    return [params["message"] for method, params in editor.messages if method == "window/showMessage"]


@pytest.mark.parametrize(
    ("answer", "decision"),
    [(ALLOW_ONCE, Decision.ONCE), (SESSION, Decision.SESSION), (NEVER, Decision.NEVER), (None, Decision.NO)],
    ids=str,
)
async def test_answers(tmp_path: Path, answer: str | None, decision: Decision) -> None:
    async with connected_editor(tmp_path) as (server, editor):
        editor.answers = [answer]
        assert await EditorApprovals(server).ask(request(detail="print(1)\nprint(2)\n")) is decision
        assert titles(editor) == [ALLOW_ONCE, SESSION, NEVER]
        assert editor.questions[0]["message"] == "Run Python?\n\nprint(1)\nprint(2)"
        assert shown(editor) == []


async def test_what_is_sensitive_is_allowed_once_at_most(tmp_path: Path) -> None:
    async with connected_editor(tmp_path) as (server, editor):
        editor.answers = [SESSION]
        assert await EditorApprovals(server).ask(request(is_sensitive=True)) is Decision.NO
        assert titles(editor) == [ALLOW_ONCE, NEVER]
        assert editor.questions[0]["type"] == 2
        assert "each time" in editor.questions[0]["message"]
        await editor.all_read()
        assert shown(editor) == [
            "python was not allowed, since the editor gave an answer that was not offered. To allow it without being "
            "asked, set it to allow in the section tools of your settings."
        ]


async def test_a_scope_is_named(tmp_path: Path) -> None:
    async with connected_editor(tmp_path) as (server, editor):
        editor.answers = ["Allow example.org for this session"]
        assert await EditorApprovals(server).ask(request(scope="example.org")) is Decision.SESSION


async def test_62_an_address_is_shown_to_its_end(tmp_path: Path) -> None:
    address = f"https://example.org/?q={'a' * 3900}secret"
    async with connected_editor(tmp_path) as (server, editor):
        editor.answers = [None]
        await EditorApprovals(server).ask(request(detail=address, is_sensitive=True))
        assert editor.questions[0]["message"].endswith(f"\n\n{address}")


async def test_an_editor_that_cannot_ask(tmp_path: Path) -> None:
    async with connected_editor(tmp_path) as (server, editor):
        editor.answers = [Refusal("no\x1b[2J window")]
        assert await EditorApprovals(server).ask(request()) is Decision.NO
        await editor.all_read()
        [message] = shown(editor)
        assert message.startswith("python was not allowed, since the editor could not ask you: no\\u001b[2J window.")


async def test_tricks_are_spelled_out_and_length_is_bounded(tmp_path: Path) -> None:
    async with connected_editor(tmp_path) as (server, editor):
        editor.answers = [None]
        detail = "x = '\u202e'\n" + "y" * 1000 + "\n" + "z\n" * 1000
        asked = ApprovalRequest(ToolCall("1", "python", ""), "Run\nPython \x1b" + "w" * 1000, detail, scope="a\u202eb")
        await EditorApprovals(server).ask(asked)
        message = editor.questions[0]["message"]
        assert message.startswith("Run Python \\u001bwww")
        assert "x = '\\u202e'" in message
        assert message.endswith("z\n… and 987 more lines")
        assert len(message) < 800
        assert "Allow a\\u202eb for this session" in titles(editor)


async def test_one_question_at_a_time(tmp_path: Path) -> None:
    async with connected_editor(tmp_path) as (server, editor):
        approvals = EditorApprovals(server)
        first = asyncio.create_task(approvals.ask(request(detail="first")))
        second = asyncio.create_task(approvals.ask(request(detail="second")))
        await editor.asked.wait()
        await editor.all_read()
        assert len(editor.questions) == 1
        editor.asked.clear()
        editor.reply(ALLOW_ONCE)
        assert await first is Decision.ONCE
        await editor.asked.wait()
        editor.reply(None)
        assert await second is Decision.NO


async def test_a_question_is_withdrawn_with_its_turn(tmp_path: Path) -> None:
    async with connected_editor(tmp_path) as (server, editor):
        approvals = EditorApprovals(server)
        asking = asyncio.create_task(approvals.ask(request()))
        waiting = asyncio.create_task(approvals.ask(request()))
        await editor.asked.wait()
        asking.cancel()
        waiting.cancel()
        for task in (asking, waiting):
            with pytest.raises(asyncio.CancelledError):
                await task
        assert len(editor.questions) == 1
        editor.reply(SESSION)
        await editor.all_read()
        assert len(editor.withdrawn) == 1
        editor.answers = [None]
        assert await approvals.ask(request()) is Decision.NO, "the late answer is no answer to this"


async def toolbox_of(server: HarmonyServer, folder: Path) -> ToolBox:
    workspace = EditorWorkspace(server, [folder])
    approvals = EditorApprovals(server, workspace.confirm)
    return ToolBox([apply_patch_tool(workspace)], approve=approvals.ask)


async def test_never_takes_the_tool_away(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("b = 1\n")
    async with connected_editor(tmp_path) as (server, editor):
        tools = await toolbox_of(server, tmp_path)
        editor.answers = [NEVER]
        output = await tools.run(ToolCall("1", "apply_patch", PATCH))
        assert output.is_error
        assert tools.specs == ()
        assert (await tools.run(ToolCall("2", "apply_patch", PATCH))).text.startswith("There is no tool")
        assert len(editor.questions) == 1


async def test_for_the_session_is_asked_once(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("b = 1\n")
    async with connected_editor(tmp_path) as (server, editor):
        tools = await toolbox_of(server, tmp_path)
        editor.answers = [SESSION]
        patches = (PATCH, PATCH.replace("b = 2", "b = 3").replace("b = 1", "b = 2"))
        for number, patch in enumerate(patches):
            output = await tools.run(ToolCall(str(number), "apply_patch", patch))
            assert output.text == "Success. Updated the following files:\nM app.py"
        assert editor.text(tmp_path / "app.py") == "b = 3\n"
        assert len(editor.questions) == 1
        assert editor.questions[0]["message"].startswith("Change app.py?\n\n--- a/app.py\n+++ b/app.py\n")


async def test_a_review_shows_exactly_these_changes_in_the_editor(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("b = 1\n")
    async with connected_editor(tmp_path) as (server, editor):
        tools = await toolbox_of(server, tmp_path)
        editor.answers = [REVIEW, REVIEW, ALLOW_ONCE]
        editor.confirms = lambda _label: False
        output = await tools.run(ToolCall("1", "apply_patch", PATCH))
        assert output.text == (
            "apply_patch failed, and no file was changed. The person looked the changes over in the editor. The editor "
            "did not make the change: discarded. No file was changed."
        )
        editor.confirms = lambda label: label == "Change app.py"
        output = await tools.run(ToolCall("2", "apply_patch", PATCH))
        assert output.text.startswith("Success.")
        assert editor.text(tmp_path / "app.py") == "b = 2\n"
        again = PATCH.replace("b = 2", "b = 3").replace("b = 1", "b = 2")
        await tools.run(ToolCall("3", "apply_patch", again))
        asked = ["changeAnnotations" in each["edit"] for each in editor.edits]
        assert asked == [True, True, False]
        assert titles(editor) == [ALLOW_ONCE, SESSION, REVIEW, NEVER]


async def test_a_review_is_offered_only_where_the_editor_can_show_it(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("b = 1\n")
    workspace = CAPABILITIES["workspace"] | {"workspaceEdit": {"documentChanges": True}}
    capabilities = CAPABILITIES | {"workspace": workspace}
    async with connected_editor(tmp_path, capabilities=capabilities) as (server, editor):
        tools = await toolbox_of(server, tmp_path)
        editor.answers = [REVIEW]
        assert (await tools.run(ToolCall("1", "apply_patch", PATCH))).is_error
        assert titles(editor) == [ALLOW_ONCE, SESSION, NEVER]
        assert editor.edits == []


async def test_a_review_is_offered_only_of_texts(tmp_path: Path) -> None:
    """Neovim asks about no file that is created, moved or deleted."""
    (tmp_path / "app.py").write_text("b = 1\n")
    async with connected_editor(tmp_path) as (server, editor):
        tools = await toolbox_of(server, tmp_path)
        editor.answers = [None]
        patch = PATCH.replace("*** End", "*** Add File: new.py\n+x\n*** End")
        assert (await tools.run(ToolCall("1", "apply_patch", patch))).is_error
        assert titles(editor) == [ALLOW_ONCE, SESSION, NEVER]
