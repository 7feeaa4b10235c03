"""What the handlers of one connection work with: here, the files of its workspace."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import FrameType

from lsprotocol import types

from harmony_ls.lsp.backend import Backend
from harmony_ls.lsp.server import HarmonyServer
from harmony_ls.lsp.workspace.workspace import EditorWorkspace
from harmony_ls.workspace.gate import PathGate


@asynccontextmanager
async def window_of(*folders: Path) -> AsyncIterator[HarmonyServer]:
    server = HarmonyServer(Backend(), {}, lambda _code: None)
    opened = [types.WorkspaceFolder(folder.as_uri(), folder.name) for folder in folders]
    try:
        await server.configuration.initialize(
            types.InitializeParams(capabilities=types.ClientCapabilities(), workspace_folders=opened)
        )
        yield server
    finally:
        await server.close()


async def test_a_folder_that_was_missing_once_is_there_when_it_has_come(tmp_path: Path) -> None:
    folder = tmp_path / "project"
    async with window_of(folder) as server:
        for _ in range(2):
            assert await server.editor_workspace() == (f"{folder} is not a folder, or one that may not be looked into.")
        folder.mkdir()
        (folder / "app.py").write_text("a\n")
        workspace = await server.editor_workspace()
        assert isinstance(workspace, EditorWorkspace)
        assert (await workspace.read("app.py")).text == "a\n"
        assert await server.editor_workspace() is workspace


async def test_there_are_no_files_without_a_folder() -> None:
    async with window_of() as server:
        assert await server.editor_workspace() == "No folder is open in the editor, so there are no files to work on."


async def test_folders_are_looked_at_on_a_thread_and_once_for_all_who_ask(tmp_path: Path) -> None:
    """A disk may take as long as it likes to answer, and all windows share the event loop."""
    looked: list[str] = []

    def note(frame: FrameType, event: str, _argument: object) -> None:
        if event == "call" and frame.f_code is PathGate.__init__.__code__:
            looked.append(frame.f_code.co_name)

    async with window_of(tmp_path) as server:
        sys.setprofile(note)  # of this thread alone
        try:
            first, *others = await asyncio.gather(*(server.editor_workspace() for _ in range(3)))
        finally:
            sys.setprofile(None)
        assert looked == []
        assert isinstance(first, EditorWorkspace)
        assert all(other is first for other in others)
