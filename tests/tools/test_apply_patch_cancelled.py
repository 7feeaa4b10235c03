"""A patch whose call is cancelled: what is told of it, to the person and to the model, is what became of the files."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from harmony_ls.edits.changes import ChangeKind, FileChange
from harmony_ls.events import ToolResult
from harmony_ls.messages import FinishReason, Role, ToolCall
from harmony_ls.session.session import Session
from harmony_ls.tools.apply_patch import apply_patch_tool
from harmony_ls.tools.tool import ToolOutput
from harmony_ls.tools.toolbox import ToolBox
from harmony_ls.workspace.disk import DiskWorkspace
from harmony_ls.workspace.port import Applied
from tests.models import Rule
from tests.session.support import calls, chat_model, final, greedy, reason_of, said, scripted_gpt_oss

PATCH = "*** Begin Patch\n*** Update File: a.txt\n@@\n-one\n+two\n*** End Patch\n"
DONE = "Success. Updated the following files:\nM a.txt"


class WatchedWorkspace(DiskWorkspace):
    """Tells when a change set is about to be made."""

    def __init__(self, root: Path) -> None:
        super().__init__([root])
        self.is_applying = asyncio.Event()

    async def apply(self, changes: Sequence[FileChange]) -> Applied:
        self.is_applying.set()
        return await super().apply(changes)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    root.mkdir()
    (root / "a.txt").write_text("one\n")
    return root


async def test_a_change_that_is_being_made_is_told_as_made(root: Path) -> None:
    workspace = WatchedWorkspace(root)
    tool = apply_patch_tool(workspace)
    running = asyncio.ensure_future(tool.run(ToolCall("1", "apply_patch", PATCH)))
    await workspace.is_applying.wait()
    running.cancel()
    assert await running == ToolOutput(DONE)
    assert (root / "a.txt").read_text() == "two\n"


async def test_a_change_that_was_not_begun_is_not_made(root: Path) -> None:
    workspace = DiskWorkspace([root])
    running = asyncio.ensure_future(apply_patch_tool(workspace).run(ToolCall("1", "apply_patch", PATCH)))
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert (root / "a.txt").read_text() == "one\n"
    assert workspace.change_sets == ()


async def test_one_that_fails_while_it_is_cancelled_is_told_as_failed(root: Path) -> None:
    workspace = DiskWorkspace([root])
    wrong = FileChange(ChangeKind.UPDATE, "a.txt", "other\n", "two\n")
    applying = asyncio.ensure_future(workspace.apply([wrong]))
    await asyncio.sleep(0)
    applying.cancel()
    [outcome] = await asyncio.gather(applying, return_exceptions=True)
    assert "changed in the meantime" in str(outcome)
    assert workspace.change_sets == ()


@pytest.mark.parametrize("leaves", [False, True], ids=["the turn is stopped", "its task is cancelled"])
async def test_the_history_says_what_was_done(
    root: Path, tmp_path: Path, leaves: bool, harmony_vocabulary: None
) -> None:
    model = scripted_gpt_oss(
        tmp_path / "gpt-oss",
        [Rule(said("change it"), calls(PATCH, "functions.apply_patch")), Rule(said("Well?"), final("Done."))],
        max_position_embeddings=32_768,
        rope_scaling=None,
    )
    workspace = WatchedWorkspace(root)
    async with chat_model(model) as ready:
        tools = ToolBox([apply_patch_tool(workspace)], {"apply_patch": "allow"})
        session = Session(ready, greedy(), tools=tools)

        async def turn() -> list[object]:
            return [event async for event in session.turn("change it")]

        running = asyncio.ensure_future(turn())
        await workspace.is_applying.wait()
        if leaves:
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
        else:
            session.cancel()
            events = await running
            assert [event.content for event in events if isinstance(event, ToolResult)] == [DONE]
            assert reason_of(events) is FinishReason.CANCELLED  # type: ignore[arg-type]
        assert (root / "a.txt").read_text() == "two\n"
        assert [message.content for message in session.messages if message.role is Role.TOOL] == [DONE]
        assert not session.is_running
