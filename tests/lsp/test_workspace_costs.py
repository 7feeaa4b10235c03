"""What an editor's workspace costs: searches of the disk, and the memory of what can be taken back; and what must cost
it nothing, a document that no file can be.
"""

import gc
from itertools import pairwise
from pathlib import Path

import pytest

from harmony_ls.edits.changes import ChangeKind, FileChange, TextChange
from harmony_ls.errors import WorkspaceError
from harmony_ls.lsp.workspace.workspace import EditorWorkspace
from harmony_ls.workspace.gate import PathGate
from tests.lsp.editor_connections import connected_editor


async def test_one_gate_serves_the_disk_and_the_editor(tmp_path: Path) -> None:
    """Each would search the workspace for links, which in a large one takes seconds."""

    def n_gates() -> int:
        return sum(isinstance(each, PathGate) for each in gc.get_objects())

    async with connected_editor(tmp_path) as (server, _):
        n_before = n_gates()
        workspace = EditorWorkspace(server, [tmp_path])
        assert n_gates() == n_before + 1
        assert await workspace.list_files() == ()


async def test_what_can_be_taken_back_has_a_bound_of_memory(tmp_path: Path) -> None:
    """Large files are kept as they were before and after each change."""
    path, rest = tmp_path / "long.txt", "x" * 15_000_000
    path.write_text(f"a{rest}")
    async with connected_editor(tmp_path) as (server, editor):
        workspace = EditorWorkspace(server, [tmp_path])
        for old, new in pairwise("abcdefg"):
            change = TextChange(0, 1, new)
            await workspace.apply([FileChange(ChangeKind.UPDATE, "long.txt", old + rest, new + rest, (change,))])
        assert workspace.change_sets == (3, 4, 5, 6)
        await workspace.undo()
        assert editor.text(path).startswith("fx")


async def test_documents_with_impossible_names_are_in_nobodys_way(tmp_path: Path) -> None:
    """Half a character, as JSON may hold one, is a name that the system cannot even be asked for."""
    (tmp_path / "app.py").write_text("a\nb\nc\n")
    async with connected_editor(tmp_path) as (server, editor):
        workspace = EditorWorkspace(server, [tmp_path])
        server.documents.open("file:///half\ud83d.py", "python", 1, "x")
        assert (await workspace.read("app.py")).text == "a\nb\nc\n"
        change = FileChange(ChangeKind.UPDATE, "app.py", "a\nb\nc\n", "a\nB\nc\n", (TextChange(2, 3, "B"),))
        await workspace.apply([change])
        assert editor.text(tmp_path / "app.py") == "a\nB\nc\n"
        with pytest.raises(WorkspaceError, match="is no file"):
            await workspace.read("file:///half\ud83d.py")
