"""Editors that answer twice, contradict themselves, or format what they are sent: what is true is looked up."""

from dataclasses import replace
from pathlib import Path

import pytest

from harmony_ls.edits.changes import ChangeKind, FileChange, TextChange
from harmony_ls.errors import PartlyAppliedError, WorkspaceError
from harmony_ls.lsp.workspace.workspace import EditorWorkspace, Patience
from harmony_ls.workspace.port import Applied
from tests.lsp.editor import CAPABILITIES, Refusal
from tests.lsp.editor_connections import connected_editor
from tests.lsp.peer import PATIENCE

QUICK = Patience(answer=PATIENCE, changes=0.2, refusal=0.1, withdrawal=0.2)
UPDATE = FileChange(ChangeKind.UPDATE, "app.py", "a=1\nb=2\n", "a=1\nb=3\n", (TextChange(6, 7, "3"),))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text("a=1\nb=2\n")
    return tmp_path


async def test_an_answer_that_comes_twice_counts_once(folder: Path) -> None:
    async with connected_editor(folder) as (server, editor):
        workspace = EditorWorkspace(server, [folder], patience=QUICK)
        uri = editor.open(folder / "app.py")
        await editor.all_read()
        editor.answers_twice = True
        assert await workspace.apply([UPDATE]) == Applied(modified=("app.py",))
        await editor.all_read()
        assert workspace.change_sets == (1,)
        assert await workspace.undo() == Applied(modified=("app.py",))
        assert str(editor.buffers[uri]) == "a=1\nb=2\n"


@pytest.mark.parametrize("at_once", [True, False])
async def test_an_editor_that_formats_what_it_is_sent(folder: Path, *, at_once: bool) -> None:
    """Told of the edit and then of the formatting, it has made the edit. Told of both at once, nobody can say."""
    async with connected_editor(folder) as (server, editor):
        workspace = EditorWorkspace(server, [folder], patience=QUICK)
        uri = editor.open(folder / "app.py")
        await editor.all_read()
        if at_once:
            editor.makes_edits = lambda: editor.rewrite(uri, "a = 1\nb = 3\n")
            with pytest.raises(PartlyAppliedError, match=r"app\.py is not what it was meant to become"):
                await workspace.apply([UPDATE])
        else:
            editor.formats = lambda text: text.replace("=", " = ")
            assert await workspace.apply([UPDATE]) == Applied(modified=("app.py",))
        assert (await workspace.read("app.py")).text == "a = 1\nb = 3\n"
        with pytest.raises(WorkspaceError, match=r"changed in the meantime|nothing to undo"):
            await workspace.undo()
        assert str(editor.buffers[uri]) == "a = 1\nb = 3\n", "the person's text stays"


@pytest.mark.parametrize("answer", ["It failed.", Refusal("It failed.")], ids=["an answer", "an error"])
async def test_an_editor_that_makes_what_it_says_it_refused(folder: Path, answer: str | Refusal) -> None:
    async with connected_editor(folder) as (server, editor):
        workspace = EditorWorkspace(server, [folder], patience=QUICK)
        uri = editor.open(folder / "app.py")
        await editor.all_read()
        editor.refuses = answer
        editor.before_edit = lambda: editor.rewrite(uri, "a=1\nb=3\n")
        assert await workspace.apply([UPDATE]) == Applied(modified=("app.py",))
        assert workspace.change_sets == (1,)


async def test_a_file_that_goes_and_one_that_comes_on_the_way(folder: Path) -> None:
    """The editor refuses the one and cannot create the other: the person's files stay as they are."""
    creation = FileChange(ChangeKind.CREATE, "new.py", "", "x\n", (TextChange(0, 0, "x\n"),))

    def create() -> None:
        (folder / "new.py").write_text("mine\n")

    async with connected_editor(folder) as (server, editor):
        workspace = EditorWorkspace(server, [folder], patience=QUICK)
        editor.before_edit = lambda: (folder / "app.py").unlink()
        with pytest.raises(WorkspaceError):
            await workspace.apply([UPDATE])
        editor.before_edit = create
        with pytest.raises(WorkspaceError):
            await workspace.apply([creation])
        assert (folder / "new.py").read_text() == "mine\n"
        assert not (folder / "app.py").exists()
        assert workspace.change_sets == ()


async def test_carriage_returns_alone_and_marks_of_the_byte_order(folder: Path) -> None:
    """Lines that end in a carriage return are read one by one by some editors only; the mark is no text to change."""
    (folder / "old.py").write_bytes(b"a\rb\r")
    (folder / "marked.py").write_bytes("\ufeffa\r\nb\r\n".encode())
    old = FileChange(ChangeKind.UPDATE, "old.py", "a\rb\r", "a\rB\r", (TextChange(2, 3, "B"),))
    marked = FileChange(ChangeKind.UPDATE, "marked.py", "a\r\nb\r\n", "a\r\nB\r\n", (TextChange(3, 4, "B"),))
    async with connected_editor(folder) as (server, editor):
        workspace = EditorWorkspace(server, [folder], patience=QUICK)
        with pytest.raises(WorkspaceError, match="carriage returns"):
            await workspace.apply([old])
        uri = editor.open(folder / "marked.py")
        await editor.all_read()
        await workspace.apply([marked])
        assert str(editor.buffers[uri]) == "a\r\nB\r\n"


async def test_a_client_that_declares_edits_without_their_details(folder: Path) -> None:
    """It gets plain edits of files, which is what it can do, and nothing that it has not heard of."""
    workspace_support = CAPABILITIES["workspace"] | {"workspaceEdit": {"documentChanges": False}}
    capabilities = CAPABILITIES | {"workspace": workspace_support, "window": {}}
    async with connected_editor(folder, capabilities=capabilities) as (server, editor):
        workspace = EditorWorkspace(server, [folder], patience=replace(QUICK, changes=1.0))
        uri = editor.open(folder / "app.py")
        await editor.all_read()
        workspace.confirm([UPDATE])
        await workspace.apply([UPDATE])
        assert list(editor.edits[0]["edit"]) == ["changes"]
        assert str(editor.buffers[uri]) == "a=1\nb=3\n"
