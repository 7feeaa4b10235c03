"""The editor's files as a model sees and changes them, through a real server and an editor that keeps real buffers.

Tests named d22 are numbered robustness cases.
"""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from harmony_ls.errors import PartlyAppliedError, WorkspaceError
from harmony_ls.lsp.workspace.workspace import EditorWorkspace
from harmony_ls.workspace.port import Applied
from tests.lsp.editor import Refusal
from tests.lsp.editor_connections import connected_editor
from tests.lsp.peer import PATIENCE
from tests.lsp.workspaces import CHANGE_B, SHORT, changes_of, until, workspace_of, write


async def test_an_open_document_is_changed_with_its_unsaved_text(tmp_path: Path) -> None:
    path = tmp_path / "app.py"
    path.write_text("a\nb\nc\n")
    async with connected_editor(tmp_path) as (server, editor):
        workspace = workspace_of(server, tmp_path)
        uri = editor.open(path)
        editor.insert(uri, 0, "unsaved\n")
        await editor.all_read()
        assert (await workspace.read("app.py")).text == "unsaved\na\nb\nc\n"
        changes = await changes_of(workspace, CHANGE_B)
        assert await workspace.check(changes) == ()
        assert await workspace.apply(changes) == Applied(modified=("app.py",))
        assert editor.text(path) == "unsaved\na\nB\nc\n"
        assert path.read_text() == "a\nb\nc\n", "saving is the person's"
        [edit] = editor.edits
        assert edit["label"] == "harmony-ls: app.py"
        [document] = edit["edit"]["documentChanges"]
        assert document["textDocument"] == {"uri": uri, "version": 2}
        place = {"start": {"line": 2, "character": 0}, "end": {"line": 3, "character": 0}}
        assert document["edits"] == [{"range": place, "newText": "B\n"}]
        editor.undo(uri)
        assert editor.text(path) == "unsaved\na\nb\nc\n", "one step of undo takes it back"


async def test_carriage_returns_and_the_end_of_the_file_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "app.py"
    path.write_bytes(b"a\r\nb\r\nc")
    async with connected_editor(tmp_path) as (server, editor):
        workspace = workspace_of(server, tmp_path)
        uri = editor.open(path)
        await editor.all_read()
        await workspace.apply(await changes_of(workspace, CHANGE_B))
        assert str(editor.buffers[uri]) == "a\r\nB\r\nc"
        assert editor.edits[0]["edit"]["documentChanges"][0]["edits"][0]["newText"] == "B\r\n"


@pytest.mark.parametrize("tells_late", [False, True])
@pytest.mark.parametrize("opens_edited", [False, True])
async def test_files_are_created_moved_changed_and_deleted_at_once(
    tmp_path: Path, *, opens_edited: bool, tells_late: bool
) -> None:
    write(tmp_path, {"app.py": "a\nb\nc\n", "old.py": "1\n2\n", "gone.py": "gone\n", "moved.py": "same\n"})
    patch = (
        f"{CHANGE_B}*** Add File: new/made.py\n+made\n*** Delete File: gone.py\n"
        "*** Update File: old.py\n*** Move to: new/old.py\n@@\n 1\n-2\n+3\n"
    )
    async with connected_editor(tmp_path) as (server, editor):
        workspace = workspace_of(server, tmp_path)
        editor.opens_edited, editor.tells_late = opens_edited, tells_late
        changes = await changes_of(workspace, patch)
        await workspace.check(changes)
        applied = await workspace.apply(changes)
        assert applied == Applied(("new/made.py",), ("app.py", "new/old.py"), ("gone.py",))
        await editor.all_read()
        expected = {"app.py": "a\nB\nc\n", "new/made.py": "made\n", "new/old.py": "1\n3\n"}
        for name, text in expected.items():
            assert editor.text(tmp_path / name) == text
            assert (await workspace.read(name)).text == text, "a model sees its own changes, saved or not"
        assert not (tmp_path / "gone.py").exists()
        assert not (tmp_path / "old.py").exists()
        assert workspace.change_sets == (1,)
        await workspace.undo()
        await editor.all_read()
        assert list(workspace.change_sets) == []
        assert editor.text(tmp_path / "app.py") == "a\nb\nc\n"
        assert editor.text(tmp_path / "old.py") == "1\n2\n"
        assert editor.text(tmp_path / "gone.py") == "gone\n"
        assert (await workspace.read("old.py")).text == "1\n2\n"
        assert not (tmp_path / "new" / "made.py").exists()
        with pytest.raises(WorkspaceError, match="nothing to undo"):
            await workspace.undo()
        options = [each.get("options") for edit in editor.edits for each in edit["edit"]["documentChanges"]]
        assert {"overwrite": False, "ignoreIfExists": False} in options


async def test_a_change_that_was_not_saved_is_forgotten_with_its_buffer(tmp_path: Path) -> None:
    write(tmp_path, {"app.py": "a\nb\nc\n"})
    async with connected_editor(tmp_path) as (server, editor):
        workspace = workspace_of(server, tmp_path)
        editor.opens_edited = False
        await workspace.apply(await changes_of(workspace, CHANGE_B))
        assert (await workspace.read("app.py")).text == "a\nB\nc\n"
        uri = next(iter(editor.buffers))
        editor.save(uri)
        assert (await workspace.read("app.py")).text == "a\nB\nc\n"
        (tmp_path / "app.py").write_text("other\n")
        assert (await workspace.read("app.py")).text == "other\n", "the disk has moved on"
        (tmp_path / "app.py").write_text("a\nb\nc\n")
        assert (await workspace.read("app.py")).text == "a\nb\nc\n", "what was forgotten does not come back"
        await workspace.apply(await changes_of(workspace, CHANGE_B))
        editor.close(editor.open(tmp_path / "app.py"))
        await editor.all_read()
        assert (await workspace.read("app.py")).text == "a\nb\nc\n", "it was opened, and closed without being saved"


async def test_a_part_is_told_as_a_part(tmp_path: Path) -> None:
    write(tmp_path, {"app.py": "a\nb\nc\n", "other.py": "1\n", "gone.py": ""})
    async with connected_editor(tmp_path) as (server, editor):
        workspace = EditorWorkspace(server, [tmp_path], patience=replace(SHORT, answer=PATIENCE))
        for name in ("app.py", "other.py"):
            editor.open(tmp_path / name)
        await editor.all_read()
        patch = f"{CHANGE_B}*** Update File: other.py\n@@\n-1\n+2\n*** Delete File: gone.py\n*** Add File: new.py\n+x\n"
        changes = await changes_of(workspace, patch)
        editor.leaves_out = lambda uri: not uri.endswith(("/app.py", "/new.py"))
        with pytest.raises(PartlyAppliedError) as raised:
            await workspace.apply(changes)
        assert str(raised.value) == (
            "The editor made only a part of the change. app.py was changed. other.py was not changed. "
            "gone.py was not deleted. new.py was created."
        )
        assert workspace.change_sets == (1,)
        editor.leaves_out = lambda _uri: False
        assert await workspace.undo() == Applied(modified=("app.py",), deleted=("new.py",))
        assert editor.text(tmp_path / "app.py") == "a\nb\nc\n"


@pytest.mark.parametrize(
    "refusal", ["The person discarded it.", Refusal("The person discarded it.")], ids=["an answer", "an error"]
)
async def test_d22_a_refusal_is_told_with_its_reason(tmp_path: Path, refusal: str | Refusal) -> None:
    write(tmp_path, {"app.py": "a\nb\nc\n"})
    async with connected_editor(tmp_path) as (server, editor):
        workspace = workspace_of(server, tmp_path)
        editor.open(tmp_path / "app.py")
        await editor.all_read()
        editor.refuses = refusal
        with pytest.raises(WorkspaceError) as raised:
            await workspace.apply(await changes_of(workspace, CHANGE_B))
        assert str(raised.value) == (
            "The editor did not make the change: The person discarded it. No file was changed."
        )
        assert not isinstance(raised.value, PartlyAppliedError)
        assert workspace.change_sets == ()


async def test_d22_an_editor_that_never_answers_is_given_up(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path, {"app.py": "a\nb\nc\n"})
    async with connected_editor(tmp_path) as (server, editor):
        workspace = workspace_of(server, tmp_path, is_patient=False)
        uri = editor.open(tmp_path / "app.py")
        await editor.all_read()
        editor.holds_edits = True
        changes = await changes_of(workspace, CHANGE_B)
        with pytest.raises(PartlyAppliedError, match=r"did not answer within 0\.2 seconds.*app\.py was not changed"):
            await workspace.apply(changes)
        assert len(editor.withdrawn) == 1
        assert workspace.change_sets == ()
        editor.release()
        await until(lambda: workspace.change_sets == (1,))
        assert str(editor.buffers[uri]) == "a\nB\nc\n"
        await until(lambda: "undo takes it back" in caplog.text)
        editor.holds_edits = False
        await workspace.undo()
        assert str(editor.buffers[uri]) == "a\nb\nc\n"


@pytest.mark.parametrize("how", ["made at once", "given up", "made later"])
async def test_cancelling_while_the_editor_is_asked(tmp_path: Path, how: str) -> None:
    """What the editor makes of it counts, not what was meant."""
    write(tmp_path, {"app.py": "a\nb\nc\n"})
    async with connected_editor(tmp_path) as (server, editor):
        workspace = workspace_of(server, tmp_path, is_patient=how != "made later")
        uri = editor.open(tmp_path / "app.py")
        await editor.all_read()
        changes = await changes_of(workspace, CHANGE_B)
        editor.holds_edits, editor.withdraws_edits = True, how == "given up"
        workspace.confirm(changes)  # so that nothing but the cancelling ends the wait
        applying = asyncio.create_task(workspace.apply(changes))
        await editor.asked.wait()
        applying.cancel()
        if how == "made at once":
            editor.release()
            assert await applying == Applied(modified=("app.py",)), "whoever cancelled it learns that it was made"
        else:
            with pytest.raises(asyncio.CancelledError):
                await applying
        if how == "made later":
            editor.release()
            await until(lambda: workspace.change_sets == (1,))
        assert len(editor.withdrawn) == 1
        is_made = how != "given up"
        assert str(editor.buffers[uri]) == ("a\nB\nc\n" if is_made else "a\nb\nc\n")
        assert workspace.change_sets == ((1,) if is_made else ())


async def test_a_person_confirms_each_file_in_the_editor(tmp_path: Path) -> None:
    write(tmp_path, {"app.py": "a\nb\nc\n", "other.py": "1\n"})
    async with connected_editor(tmp_path) as (server, editor):
        workspace = workspace_of(server, tmp_path, is_patient=False)
        assert workspace.can_confirm
        for name in ("app.py", "other.py"):
            editor.open(tmp_path / name)
        await editor.all_read()
        patch = f"{CHANGE_B}*** Update File: other.py\n@@\n-1\n+2\n"
        changes = await changes_of(workspace, patch)
        workspace.confirm(changes)
        with pytest.raises(WorkspaceError, match="changed in the meantime"):
            await workspace.apply([changes[0], replace(changes[1], old_text="0\n")])
        editor.confirms = lambda label: label == "Change other.py"
        with pytest.raises(PartlyAppliedError, match=r"app\.py was not changed\. other\.py was changed\."):
            await workspace.apply(changes)
        annotations = editor.edits[0]["edit"]["changeAnnotations"]
        assert all(each["needsConfirmation"] for each in annotations.values())
        assert [each["label"] for each in annotations.values()] == ["Change app.py", "Change other.py"]
        await workspace.undo()
        editor.confirms = lambda _label: False
        changes = await changes_of(workspace, patch)
        await workspace.apply(changes)
        assert "changeAnnotations" not in editor.edits[-1]["edit"], "only the next one was to be confirmed"
        await workspace.undo()
        workspace.confirm(changes)
        with pytest.raises(WorkspaceError, match=r"^The person looked .*discarded\. No file was changed"):
            await workspace.apply(changes)
