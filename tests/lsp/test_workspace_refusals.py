"""What the workspace of an editor leaves alone, and what it tells of that. The edit is not even sent.

Tests named d1 to d30 are numbered robustness cases.
"""

import os
from pathlib import Path
from typing import Any

import pytest

from harmony_ls.edits.changes import ChangeKind, FileChange, TextChange
from harmony_ls.errors import WorkspaceError
from harmony_ls.lsp.workspace.workspace import EditorWorkspace
from harmony_ls.workspace.port import Applied
from tests.lsp.editor import CAPABILITIES, Editor
from tests.lsp.editor_connections import connected_editor

UPDATE = FileChange(ChangeKind.UPDATE, "app.py", "b = 1\n", "b = 2\n", (TextChange(4, 5, "2"),))


def creation(path: str, text: str = "x\n") -> FileChange:
    return FileChange(ChangeKind.CREATE, path, "", text, (TextChange(0, 0, text),))


def deletion(path: str, text: str) -> FileChange:
    return FileChange(ChangeKind.DELETE, path, text)


def move(path: str, new_path: str, text: str) -> FileChange:
    return FileChange(ChangeKind.RENAME, path, text, text, (), new_path)


def with_edit_support(support: dict[str, Any] | None, *, applies: bool = True) -> dict[str, Any]:
    workspace = CAPABILITIES["workspace"] | {"applyEdit": applies, "workspaceEdit": support}
    return CAPABILITIES | {"workspace": workspace}


async def refused(workspace: EditorWorkspace, editor: Editor, *changes: FileChange) -> str:
    """Why changes are refused, by the check as by the doing; the editor is not asked."""
    n_edits = len(editor.edits)
    with pytest.raises(WorkspaceError) as of_check:
        await workspace.check(changes)
    with pytest.raises(WorkspaceError) as of_apply:
        await workspace.apply(changes)
    assert str(of_check.value) == str(of_apply.value)
    assert len(editor.edits) == n_edits
    return str(of_apply.value)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "app.py").write_text("b = 1\n")
    return tmp_path / "project"


async def test_d23_a_client_without_apply_edit(folder: Path) -> None:
    for capabilities in (with_edit_support({}, applies=False), {}):
        async with connected_editor(folder, capabilities=capabilities) as (server, editor):
            workspace = EditorWorkspace(server, [folder])
            assert "lacks workspace/applyEdit" in await refused(workspace, editor, UPDATE)
            assert (await workspace.read("app.py")).text == "b = 1\n", "reading is no problem"


@pytest.mark.parametrize("support", [None, {}, {"documentChanges": False}])
async def test_d23_a_client_without_versions_and_operations(folder: Path, support: dict[str, Any] | None) -> None:
    async with connected_editor(folder, capabilities=with_edit_support(support)) as (server, editor):
        workspace = EditorWorkspace(server, [folder])
        uri = editor.open(folder / "app.py")
        await editor.all_read()
        assert "lets no server create files" in await refused(workspace, editor, UPDATE, creation("new.py"))
        assert "lets no server delete files" in await refused(workspace, editor, deletion("app.py", "b = 1\n"))
        assert "lets no server rename files" in await refused(workspace, editor, move("app.py", "x.py", "b = 1\n"))
        workspace.confirm([UPDATE])
        assert await workspace.apply([UPDATE]) == Applied(modified=("app.py",))
        assert list(editor.edits[0]["edit"]) == ["changes"]
        assert str(editor.buffers[uri]) == "b = 2\n"
        await workspace.undo()
        assert str(editor.buffers[uri]) == "b = 1\n"


async def test_d23_a_client_like_neovim_names_operations_alone(folder: Path) -> None:
    support = {"resourceOperations": ["rename", "create"]}
    async with connected_editor(folder, capabilities=with_edit_support(support)) as (server, editor):
        workspace = EditorWorkspace(server, [folder])
        editor.open(folder / "app.py")
        await editor.all_read()
        await workspace.apply([UPDATE, creation("new.py")])
        assert editor.edits[0]["edit"]["documentChanges"][0]["textDocument"]["version"] == 1
        assert "lets no server delete files" in await refused(workspace, editor, deletion("app.py", "b = 2\n"))
        with pytest.raises(WorkspaceError, match="lets no server delete files"):
            await workspace.undo()
        assert workspace.change_sets == (1,)


async def test_a_read_only_file(folder: Path) -> None:
    (folder / "app.py").chmod(0o444)
    async with connected_editor(folder) as (server, editor):
        workspace = EditorWorkspace(server, [folder])
        assert "app.py is read-only. Nothing was changed." in await refused(workspace, editor, UPDATE)
        editor.open(folder / "app.py")
        await editor.all_read()
        assert "app.py is read-only. Nothing was changed." in await refused(workspace, editor, UPDATE)


async def test_d5_a_hard_link(folder: Path, tmp_path: Path) -> None:
    (folder / "app.py").unlink()
    (tmp_path / "outside.py").write_text("b = 1\n")
    os.link(tmp_path / "outside.py", folder / "app.py")
    async with connected_editor(folder) as (server, editor):
        workspace = EditorWorkspace(server, [folder])
        editor.open(folder / "app.py")
        await editor.all_read()
        assert "hard links" in await refused(workspace, editor, UPDATE)


async def test_d30_a_file_that_is_gone(folder: Path) -> None:
    async with connected_editor(folder) as (server, editor):
        workspace = EditorWorkspace(server, [folder])
        (folder / "app.py").unlink()
        assert "does not exist (any more)" in await refused(workspace, editor, UPDATE)
        with pytest.raises(WorkspaceError, match="does not exist"):
            await workspace.read("app.py")
        uri = editor.open_text((folder / "app.py").as_uri(), "b = 1\n")
        await editor.all_read()
        said = await refused(workspace, editor, deletion("app.py", "b = 1\n"))
        assert said == "app.py has never been saved, or was deleted on disk. Save it first."
        assert "never been saved" in await refused(workspace, editor, move("app.py", "x.py", "b = 1\n"))
        assert "is open in the editor already" in await refused(workspace, editor, creation("app.py"))
        await workspace.apply([UPDATE])
        assert str(editor.buffers[uri]) == "b = 2\n", "the person still has its text in the editor"
        assert not (folder / "app.py").exists(), "no new file appears"


async def test_d13_nothing_is_overwritten(folder: Path) -> None:
    (folder / "there.py").write_text("there\n")
    async with connected_editor(folder) as (server, editor):
        workspace = EditorWorkspace(server, [folder])
        assert "there.py is there already" in await refused(workspace, editor, creation("there.py"))
        assert "there.py is there already" in await refused(workspace, editor, move("app.py", "there.py", "b = 1\n"))
        editor.open(folder / "unsaved.py")
        await editor.all_read()
        said = await refused(workspace, editor, move("app.py", "unsaved.py", "b = 1\n"))
        assert said.startswith("unsaved.py is open in the editor already.")


async def test_d12_a_move_to_itself_is_none(folder: Path) -> None:
    async with connected_editor(folder) as (server, editor):
        workspace = EditorWorkspace(server, [folder])
        await workspace.apply([move("app.py", "app.py", "b = 1\n")])
        assert editor.edits == []
        assert (folder / "app.py").exists()


async def test_unsaved_text_is_never_deleted(folder: Path) -> None:
    async with connected_editor(folder) as (server, editor):
        workspace = EditorWorkspace(server, [folder])
        uri = editor.open(folder / "app.py")
        editor.insert(uri, 0, "# mine\n")
        await editor.all_read()
        said = await refused(workspace, editor, deletion("app.py", "# mine\nb = 1\n"))
        assert said == "app.py has changes that are not saved. Nothing was deleted; save it first."
        editor.save(uri)
        await workspace.apply([deletion("app.py", "# mine\nb = 1\n")])
        assert not (folder / "app.py").exists()


async def test_what_a_model_created_it_may_delete_unsaved(folder: Path) -> None:
    async with connected_editor(folder) as (server, editor):
        workspace = EditorWorkspace(server, [folder])
        await workspace.apply([creation("new.py", "x\n")])
        await editor.all_read()
        await workspace.apply([deletion("new.py", "x\n")])
        assert not (folder / "new.py").exists()
        await workspace.undo()
        assert editor.text(folder / "new.py") == "x\n"
        uri = (folder / "new.py").as_uri()
        editor.insert(uri, 0, "# mine\n")
        await editor.all_read()
        with pytest.raises(WorkspaceError, match="changed in the meantime"):
            await workspace.undo()


async def test_buffers_and_cells_without_a_file(folder: Path) -> None:
    (folder / "book.ipynb").write_text("{}")
    cell = "vscode-notebook-cell:/book.ipynb#1"
    async with connected_editor(folder) as (server, editor):
        workspace = EditorWorkspace(server, [folder])
        editor.open_text("untitled:Untitled-1", "x")
        editor.open_notebook((folder / "book.ipynb").as_uri(), {cell: "x"})
        await editor.all_read()
        for uri in ("untitled:Untitled-1", cell, "untitled:Untitled-2"):
            with pytest.raises(WorkspaceError, match="is no file: it is a buffer that was never saved, or a cell"):
                await workspace.read(uri)
            assert "is no file" in await refused(workspace, editor, creation(uri))
        with pytest.raises(WorkspaceError, match="is open as a notebook"):
            await workspace.read("book.ipynb")
        assert "open as a notebook" in await refused(workspace, editor, deletion("book.ipynb", "{}"))


async def test_a_document_whose_edit_was_lost(folder: Path) -> None:
    async with connected_editor(folder) as (server, editor):
        workspace = EditorWorkspace(server, [folder])
        uri = editor.open(folder / "app.py")
        await editor.all_read()
        server.documents.distrust(uri)
        with pytest.raises(WorkspaceError, match="an edit of it could not be read"):
            await workspace.read("app.py")
        assert "an edit of it could not be read" in await refused(workspace, editor, UPDATE)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("../outside.py", "outside the workspace"),
        ("/etc/passwd", "outside the workspace"),
        ("link/outside.py", "leads out of the workspace"),
        (".git/config", "is protected"),
        (".VSCODE/settings.json", "is protected"),
        (".env", "may hold secrets"),
        ("ignored.log", "ignored by version control"),
        ("", "is empty"),
        ("a\nb", "control character"),
    ],
)
async def test_d1_to_d11_every_path_passes_the_gate(folder: Path, tmp_path: Path, path: str, reason: str) -> None:
    (folder / ".gitignore").write_text("*.log\n")
    (folder / "link").symlink_to(tmp_path)
    async with connected_editor(folder) as (server, editor):
        workspace = EditorWorkspace(server, [folder])
        # What is open in the editor is no more allowed than what is not.
        if path and "\n" not in path:
            editor.open_text((folder / path).as_uri() if not path.startswith("/") else f"file://{path}", "b = 1\n")
            await editor.all_read()
        with pytest.raises(WorkspaceError, match=reason):
            await workspace.read(path)
        assert reason in await refused(workspace, editor, UPDATE, creation(path))
        assert reason in await refused(workspace, editor, UPDATE, move("app.py", path, "b = 1\n"))
        assert "ignored.log" not in await workspace.list_files()


async def test_links_lead_to_the_document_that_is_open(folder: Path) -> None:
    (folder / "link.py").symlink_to("app.py")
    async with connected_editor(folder) as (server, editor):
        workspace = EditorWorkspace(server, [folder])
        uri = editor.open(folder / "link.py")
        await editor.all_read()
        await workspace.apply([UPDATE])
        assert str(editor.buffers[uri]) == "b = 2\n", "by whatever name the editor calls it"
        assert (folder / "app.py").read_text() == "b = 1\n"
        assert (await workspace.read("link.py")).text == "b = 2\n"
        editor.save(uri)
        assert "name the file that it leads to" in await refused(workspace, editor, deletion("link.py", "b = 2\n"))
        editor.open(folder / "app.py")
        await editor.all_read()
        assert "is open more than once" in await refused(workspace, editor, UPDATE)


async def test_a_folder_that_is_reached_through_a_link_keeps_its_name(folder: Path, tmp_path: Path) -> None:
    """An editor takes a file by another name for another file."""
    (tmp_path / "link").symlink_to(folder)
    async with connected_editor(folder) as (server, editor):
        workspace = EditorWorkspace(server, [tmp_path / "link"])
        await workspace.apply([UPDATE])
        [document] = editor.edits[0]["edit"]["documentChanges"]
        assert document["textDocument"] == {"uri": (tmp_path / "link" / "app.py").as_uri(), "version": None}


async def test_d14_two_files_or_none(folder: Path) -> None:
    (folder / "other.py").write_text("1\n")
    other = FileChange(ChangeKind.UPDATE, "other.py", "0\n", "2\n", (TextChange(0, 1, "2"),))
    async with connected_editor(folder) as (server, editor):
        workspace = EditorWorkspace(server, [folder])
        assert "other.py was changed in the meantime" in await refused(workspace, editor, UPDATE, other)
        assert "Multiple operations target" in await refused(workspace, editor, UPDATE, UPDATE)
        assert (folder / "app.py").read_text() == "b = 1\n"


async def test_d18_what_is_no_text(folder: Path) -> None:
    (folder / "app.py").write_bytes(b"b = '\xe9'\n")
    async with connected_editor(folder) as (server, editor):
        workspace = EditorWorkspace(server, [folder])
        assert "is not UTF-8 text" in await refused(workspace, editor, UPDATE)
        (folder / "app.py").write_bytes(b"b = 1\n")
        uri = editor.open_text((folder / "app.py").as_uri(), "b = '\ud83d'\n")
        await editor.all_read()
        broken = FileChange(ChangeKind.UPDATE, "app.py", "b = '\ufffd'\n", "c\n", (TextChange(0, 7, "c"),))
        assert "halves of characters" in await refused(workspace, editor, broken)
        editor.close(uri)
        await editor.all_read()
        assert "half a character" in await refused(workspace, editor, creation("new.py", "\ud83d"))


async def test_d8_files_of_which_a_person_is_asked_each_time(folder: Path) -> None:
    async with connected_editor(folder) as (server, _):
        workspace = EditorWorkspace(server, [folder])
        sensitive = (creation(".github/workflows/run.yml"), move("app.py", "Jenkinsfile", "b = 1\n"))
        assert await workspace.check(sensitive) == (".github/workflows/run.yml", "Jenkinsfile")


async def test_d15_lines_of_which_editors_do_not_agree_where_they_end(folder: Path) -> None:
    (folder / "app.py").write_bytes(b"a\rb\n")
    async with connected_editor(folder) as (server, editor):
        workspace = EditorWorkspace(server, [folder])
        change = FileChange(ChangeKind.UPDATE, "app.py", "a\rb\n", "a\rc\n", (TextChange(2, 3, "c"),))
        assert "carriage returns without line feeds" in await refused(workspace, editor, change)
