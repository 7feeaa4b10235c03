"""Workspaces of a test editor, and what is done with them: changes by a model's patch, files, waiting."""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

from harmony_ls.edits.changes import FileChange
from harmony_ls.edits.parse import parse_patch
from harmony_ls.lsp.server import HarmonyServer
from harmony_ls.lsp.workspace.workspace import EditorWorkspace, Patience
from harmony_ls.tools.apply_patch import plan_patch
from tests.lsp.peer import PATIENCE

__all__ = ["CHANGE_B", "SHORT", "changes_of", "until", "workspace_of", "write"]

SHORT = Patience(answer=0.2, changes=0.2, refusal=0.1, withdrawal=0.2)


def workspace_of(server: HarmonyServer, folder: Path, *, is_patient: bool = True) -> EditorWorkspace:
    return EditorWorkspace(server, [folder], patience=Patience() if is_patient else SHORT)


async def changes_of(workspace: EditorWorkspace, patch: str) -> tuple[FileChange, ...]:
    """The changes that a model's patch makes."""
    return await plan_patch(parse_patch(f"*** Begin Patch\n{patch}*** End Patch\n"), workspace)


def write(folder: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(text.encode())


async def until(is_so: Callable[[], bool]) -> None:
    """Wait for what happens in this process by itself."""
    async with asyncio.timeout(PATIENCE):
        while not is_so():
            await asyncio.to_thread(lambda: None)


CHANGE_B = "*** Update File: app.py\n@@\n a\n-b\n+B\n"
