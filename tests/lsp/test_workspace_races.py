"""What a person does between the plan of an edit and its being made, and what the editor then says of it.

Tests named by a letter and a number are numbered robustness cases.
"""

from pathlib import Path

import pytest

from harmony_ls.edits.changes import ChangeKind, FileChange, TextChange
from harmony_ls.errors import PartlyAppliedError, WorkspaceError
from harmony_ls.workspace.port import Applied
from tests.lsp.editor_connections import connected_editor
from tests.lsp.workspaces import CHANGE_B, changes_of, workspace_of, write


async def test_typing_after_the_patch_was_made_refuses_it(tmp_path: Path) -> None:
    write(tmp_path, {"app.py": "a\nb\nc\n"})
    async with connected_editor(tmp_path) as (server, editor):
        workspace = workspace_of(server, tmp_path)
        uri = editor.open(tmp_path / "app.py")
        await editor.all_read()
        changes = await changes_of(workspace, CHANGE_B)
        await workspace.check(changes)
        editor.insert(uri, 0, "x")
        await editor.all_read()
        with pytest.raises(WorkspaceError, match=r"app\.py was changed in the meantime\. Nothing was changed"):
            await workspace.apply(changes)
        assert editor.edits == []
        assert str(editor.buffers[uri]) == "xa\nb\nc\n"


@pytest.mark.parametrize("skips_stale", [False, True])
async def test_d21_typing_while_the_edit_is_on_its_way_refuses_it(tmp_path: Path, *, skips_stale: bool) -> None:
    """VS Code refuses the edit; Neovim passes the buffer over and says that all went well."""
    write(tmp_path, {"app.py": "a\nb\nc\n", "other.py": "1\n"})
    async with connected_editor(tmp_path) as (server, editor):
        workspace = workspace_of(server, tmp_path, is_patient=False)
        uri = editor.open(tmp_path / "app.py")
        other = editor.open(tmp_path / "other.py")
        await editor.all_read()
        changes = await changes_of(workspace, f"{CHANGE_B}*** Update File: other.py\n@@\n-1\n+2\n")
        editor.before_edit = lambda: editor.insert(uri, 0, "x")
        editor.skips_stale = skips_stale
        with pytest.raises(WorkspaceError) as raised:
            await workspace.apply(changes)
        assert str(editor.buffers[uri]) == "xa\nb\nc\n", "what was typed is there"
        said = str(raised.value)
        assert "app.py is not what it was meant to become (read it again)." in said
        assert isinstance(raised.value, PartlyAppliedError)
        if skips_stale:
            assert said.startswith("The editor made only a part of the change.")
            assert "other.py was changed." in said
            editor.before_edit = lambda: None
            await workspace.undo()
        else:
            assert said.startswith("The editor did not make the change: a document has changed in the meantime.")
            assert "other.py was not changed." in said
        assert str(editor.buffers[other]) == "1\n"
        assert workspace.change_sets == ()


async def test_typing_on_at_once_does_not_hide_that_the_edit_was_made(tmp_path: Path) -> None:
    write(tmp_path, {"app.py": "a\nb\nc\n"})
    async with connected_editor(tmp_path) as (server, editor):
        workspace = workspace_of(server, tmp_path, is_patient=False)
        uri = editor.open(tmp_path / "app.py")
        await editor.all_read()
        changes = await changes_of(workspace, CHANGE_B)
        editor.after_edit = lambda: editor.insert(uri, 0, "x")
        assert await workspace.apply(changes) == Applied(modified=("app.py",))
        assert str(editor.buffers[uri]) == "xa\nB\nc\n"
        await editor.all_read()
        with pytest.raises(WorkspaceError, match="changed in the meantime"):
            await workspace.undo()
        assert workspace.change_sets == (1,)


@pytest.mark.parametrize("skips_stale", [False, True])
async def test_a_version_that_moved_without_the_text_is_asked_for_again(tmp_path: Path, *, skips_stale: bool) -> None:
    """Neovim counts changes that change nothing, and tells of them when it has applied the edit, or not."""
    write(tmp_path, {"app.py": "a\nb\nc\n"})
    async with connected_editor(tmp_path) as (server, editor):
        workspace = workspace_of(server, tmp_path)
        uri = editor.open(tmp_path / "app.py")
        await editor.all_read()
        moves = [lambda: editor.insert(uri, 0, "")]
        editor.before_edit = lambda: moves.pop()() if moves else None
        editor.skips_stale = editor.tells_late = skips_stale
        assert await workspace.apply(await changes_of(workspace, CHANGE_B)) == Applied(modified=("app.py",))
        versions = [each["edit"]["documentChanges"][0]["textDocument"]["version"] for each in editor.edits]
        assert versions == [1, 2]
        assert str(editor.buffers[uri]) == "a\nB\nc\n"
        assert workspace.change_sets == (1,)


async def test_d6_a_file_that_becomes_a_link_on_the_way(tmp_path: Path) -> None:
    """Nothing can keep an editor from following it; nobody is told that all went well."""
    folder = tmp_path / "project"
    write(tmp_path, {"project/app.py": "a\nb\nc\n", "outside.py": "a\nb\nc\n"})
    async with connected_editor(folder) as (server, editor):
        workspace = workspace_of(server, folder, is_patient=False)
        changes = await changes_of(workspace, CHANGE_B)

        def swap() -> None:
            (folder / "app.py").unlink()
            (folder / "app.py").symlink_to(tmp_path / "outside.py")

        editor.before_edit = swap
        with pytest.raises(PartlyAppliedError, match=r"app\.py is not what it was meant to become"):
            await workspace.apply(changes)
        assert workspace.change_sets == ()
        assert (tmp_path / "outside.py").read_text() == "a\nb\nc\n", "it is not saved"


async def test_d30_a_document_that_is_closed_on_the_way(tmp_path: Path) -> None:
    write(tmp_path, {"app.py": "a\nb\nc\n"})
    async with connected_editor(tmp_path) as (server, editor):
        workspace = workspace_of(server, tmp_path)
        uri = editor.open(tmp_path / "app.py")
        await editor.all_read()
        editor.before_edit = lambda: editor.close(uri)
        with pytest.raises(WorkspaceError, match=r"changed in the meantime\. No file was changed"):
            await workspace.apply(await changes_of(workspace, CHANGE_B))
        editor.before_edit = lambda: (tmp_path / "app.py").unlink()
        with pytest.raises(WorkspaceError):
            await workspace.apply(await changes_of(workspace, CHANGE_B))
        assert not (tmp_path / "app.py").exists(), "no new file appears"
        assert workspace.change_sets == ()


@pytest.mark.parametrize("moves", [False, True])
async def test_a_document_that_is_typed_into_is_not_deleted_or_moved(tmp_path: Path, *, moves: bool) -> None:
    """What deletes and moves has no version in LSP, and takes unsaved text along."""
    write(tmp_path, {"app.py": "a\n"})
    change = FileChange(ChangeKind.DELETE, "app.py", "a\n", "", (TextChange(0, 2, ""),))
    if moves:
        change = FileChange(ChangeKind.RENAME, "app.py", "a\n", "a\n", new_path="new.py")
    async with connected_editor(tmp_path) as (server, editor):
        workspace = workspace_of(server, tmp_path)
        uri = editor.open(tmp_path / "app.py")
        await editor.all_read()
        editor.before_edit = lambda: editor.insert(uri, 0, "typed ")
        with pytest.raises(WorkspaceError, match="changed in the meantime"):
            await workspace.apply([change])
        assert str(editor.buffers[uri]) == "typed a\n"
        assert (tmp_path / "app.py").exists()
        assert not (tmp_path / "new.py").exists()
