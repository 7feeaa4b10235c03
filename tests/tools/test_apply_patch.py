"""The tool as a conversation uses it: what the model is told, what a person is asked, and that just this is done."""

import asyncio
from pathlib import Path

import pytest

from harmony_ls.messages import ToolCall
from harmony_ls.tools.apply_patch import apply_patch_tool
from harmony_ls.tools.tool import ApprovalRequest, Decision, Tool, ToolOutput
from harmony_ls.tools.toolbox import ToolBox
from harmony_ls.workspace.disk import DiskWorkspace

PATCH = """*** Begin Patch
*** Add File: docs/new.md
+# New
*** Update File: main.py
@@
-print(1)
+print(2)
*** Update File: old.py
*** Move to: lib/moved.py
@@
 x = 1
+y = 2
*** Delete File: gone.py
*** End Patch
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "main.py").write_text("print(1)\n")
    (tmp_path / "old.py").write_text("x = 1\n")
    (tmp_path / "gone.py").write_text("pass\n")
    return tmp_path


@pytest.fixture
def tool(root: Path) -> Tool:
    return apply_patch_tool(DiskWorkspace([root]))


def call(patch: str = PATCH) -> ToolCall:
    return ToolCall("call_1", "apply_patch", patch)


def files_below(root: Path) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


async def prepared(tool: Tool, patch: str = PATCH) -> ApprovalRequest:
    request = await tool.prepare(call(patch))
    assert isinstance(request, ApprovalRequest)
    return request


def test_the_model_is_told_of_a_tool_that_takes_text(tool: Tool) -> None:
    assert tool.spec.name == "apply_patch"
    assert tool.spec.parameters["type"] == "string"
    for header in ("*** Begin Patch", "*** Add File:", "*** Delete File:", "*** Update File:", "*** Move to:"):
        assert header in tool.spec.description


async def test_the_example_that_the_model_is_given_can_be_applied(tool: Tool, root: Path) -> None:
    (root / "shapes").mkdir()
    (root / "shapes" / "old.py").write_text("pass\n")
    (root / "shapes" / "circle.py").write_text(
        "class Circle:\n    def area(self):\n        radius = self.radius\n        return 3 * radius * radius\n\n"
        "    def name(self):\n        return 'circle'\n"
    )
    example = tool.spec.description.partition("Example:\n\n")[2].partition("*** End Patch")[0] + "*** End Patch\n"
    request = await prepared(tool, example)
    output = await tool.run(request.call)
    assert output.text == (
        "Success. Updated the following files:\nA shapes/square.py\nM shapes/circle.py\nD shapes/old.py"
    )
    assert "math.pi * radius ** 2\n\n    def name" in (root / "shapes" / "circle.py").read_text()


async def test_a_person_sees_every_change_as_a_diff(tool: Tool) -> None:
    request = await prepared(tool)
    assert request.summary == "Create docs/new.md, Change main.py, Move old.py to lib/moved.py, and 1 more"
    assert request.detail == (
        "--- /dev/null\n+++ b/docs/new.md\n@@ -0,0 +1,1 @@\n+# New\n"
        "--- a/main.py\n+++ b/main.py\n@@ -1,1 +1,1 @@\n-print(1)\n+print(2)\n"
        "rename from old.py\nrename to lib/moved.py\n"
        "--- a/old.py\n+++ b/lib/moved.py\n@@ -1,1 +1,2 @@\n x = 1\n+y = 2\n"
        "--- a/gone.py\n+++ /dev/null\n@@ -1,1 +0,0 @@\n-pass\n"
    )
    assert not request.is_sensitive


async def test_what_was_shown_is_done_and_said_in_the_words_that_gpt_oss_knows(tool: Tool, root: Path) -> None:
    request = await prepared(tool)
    output = await tool.run(request.call)
    assert output == ToolOutput(
        "Success. Updated the following files:\nA docs/new.md\nM main.py\nM lib/moved.py\nD gone.py"
    )
    assert (root / "main.py").read_text() == "print(2)\n"
    assert (root / "lib" / "moved.py").read_text() == "x = 1\ny = 2\n"
    assert files_below(root) == ["docs/new.md", "lib/moved.py", "main.py"]


async def test_a_call_that_was_not_prepared_is_worked_out_when_it_runs(tool: Tool, root: Path) -> None:
    assert not (await tool.run(call())).is_error
    assert (root / "main.py").read_text() == "print(2)\n"


async def test_a_file_that_changed_while_the_person_was_asked_is_not_touched(tool: Tool, root: Path) -> None:
    request = await prepared(tool)
    (root / "old.py").write_text("x = 1\n# mine\n")
    output = await tool.run(request.call)
    assert output.is_error
    assert "old.py was changed in the meantime" in output.text
    assert (root / "main.py").read_text() == "print(1)\n"
    assert (root / "old.py").read_text() == "x = 1\n# mine\n"
    assert not (root / "docs").exists()


async def test_two_calls_that_wait_for_an_answer_do_not_mix(tool: Tool, root: Path) -> None:
    first = await prepared(tool, "*** Begin Patch\n*** Add File: a\n+a\n*** End Patch")
    second = await tool.prepare(
        ToolCall("call_2", "apply_patch", "*** Begin Patch\n*** Add File: b\n+b\n*** End Patch")
    )
    assert isinstance(second, ApprovalRequest)
    assert (await tool.run(second.call)).text.endswith("A b")
    assert (await tool.run(first.call)).text.endswith("A a")


async def test_text_that_would_trick_a_terminal_is_spelled_out(tool: Tool) -> None:
    request = await prepared(tool, "*** Begin Patch\n*** Add File: a\n+\x1b[2J\u202etxt\r\n*** End Patch")
    assert "+\\u001b[2J\\u202etxt\n" in request.detail


async def test_an_answer_that_quotes_the_patch_can_be_written_down(tool: Tool) -> None:
    """Half a character cannot be encoded, and an escape sequence would reach the terminal."""
    patch = "*** Begin Patch\n*** Update File: main.py\n@@\n-\ud800\x1b[2J\n+x\n*** End Patch"
    output = await tool.prepare(call(patch))
    assert isinstance(output, ToolOutput)
    assert "\\ud800\\u001b[2J" in output.text
    assert output.text.encode("utf-8").isascii()


async def test_another_machine_runs_it_so_a_person_is_asked_each_time(root: Path) -> None:
    """A permission given in advance does not cover what the next push or commit runs."""
    asked: list[ApprovalRequest] = []

    async def approve(request: ApprovalRequest) -> Decision:
        asked.append(request)
        return Decision.NO

    box = ToolBox([apply_patch_tool(DiskWorkspace([root]))], {"apply_patch": "allow"}, approve)
    assert not (await box.run(call())).is_error
    assert asked == [], "allow does not ask for ordinary files"
    workflow = "*** Begin Patch\n*** Add File: .github/workflows/ci.yml\n+on: push\n*** End Patch"
    assert (await box.run(call(workflow))).is_error
    assert [request.is_sensitive for request in asked] == [True]
    assert not (root / ".github").exists()


async def test_through_the_toolbox_it_asks_first(root: Path) -> None:
    box = ToolBox([apply_patch_tool(DiskWorkspace([root]))], {"apply_patch": "ask"}, None)
    output = await box.run(call())
    assert output.is_error
    assert (root / "main.py").read_text() == "print(1)\n"


async def test_a_cancelled_change_is_made_whole_and_told(tool: Tool, root: Path) -> None:
    request = await prepared(tool)
    task = asyncio.ensure_future(tool.run(request.call))
    await asyncio.sleep(0)
    task.cancel()
    assert (await task).text.startswith("Success.")
    assert (root / "main.py").read_text() == "print(2)\n"
    assert (root / "docs" / "new.md").exists()
    assert not (root / "gone.py").exists()
    assert not [name for name in files_below(root) if name.endswith(".tmp")]
