"""The editor's files as a model sees and changes them, through a real server and an editor that keeps real buffers."""

from pathlib import Path

from harmony_ls.edits.changes import FileChange
from harmony_ls.edits.parse import parse_patch
from harmony_ls.lsp.server import HarmonyServer
from harmony_ls.lsp.workspace import EditorWorkspace, Patience
from harmony_ls.tools.apply_patch import plan_patch
from harmony_ls.workspace.port import Applied
from tests.lsp.editor_connections import connected_editor

SHORT = Patience(answer=0.2, changes=0.2, refusal=0.1)


def workspace_of(server: HarmonyServer, folder: Path, *, is_patient: bool = True) -> EditorWorkspace:
    return EditorWorkspace(server, [folder], patience=Patience() if is_patient else SHORT)


async def changes_of(workspace: EditorWorkspace, patch: str) -> tuple[FileChange, ...]:
    """The changes that a model's patch makes."""
    return await plan_patch(parse_patch(f"*** Begin Patch\n{patch}*** End Patch\n"), workspace)


CHANGE_B = "*** Update File: app.py\n@@\n a\n-b\n+B\n"


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
