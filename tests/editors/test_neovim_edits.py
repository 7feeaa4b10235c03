"""What a model changes in a real Neovim: its buffers and files, by the workspace of a server in this process."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from harmony_ls.edits.changes import FileChange
from harmony_ls.edits.parse import parse_patch
from harmony_ls.errors import WorkspaceError
from harmony_ls.lsp.backend import Backend
from harmony_ls.lsp.chat.approvals import ALLOW_ONCE, NEVER, REVIEW, EditorApprovals, allow_for_session
from harmony_ls.lsp.connection.framing import FrameDecoder
from harmony_ls.lsp.server import HarmonyServer
from harmony_ls.lsp.workspace.workspace import EditorWorkspace
from harmony_ls.messages import ToolCall
from harmony_ls.tools.apply_patch import plan_patch
from harmony_ls.tools.tool import ApprovalRequest, Decision
from harmony_ls.workspace.port import Applied
from tests.editors.inside import PATIENCE
from tests.editors.neovim import Neovim, executable, opening

pytestmark = pytest.mark.skipif(executable() is None, reason="needs Neovim 0.12 (nvim)")

CONFIGURATION = """
vim.lsp.config('harmony_ls', {
  cmd = vim.lsp.rpc.connect('127.0.0.1', %d),
  root_markers = { 'project' },
  init_options = { inlineCompletion = { enabled = false } },
})
vim.lsp.enable('harmony_ls')
vim.o.hidden = true
"""
PATCH_B = "*** Update File: app.py\n@@\n a\n-b\n+B\n"


@asynccontextmanager
async def editing(tmp_path: Path) -> AsyncIterator[tuple[Neovim, HarmonyServer, EditorWorkspace]]:
    """Neovim in a folder with the file ``app.py`` open, and the workspace of the server that it talks to."""
    project = tmp_path / "project"
    connected: asyncio.Future[HarmonyServer] = asyncio.get_running_loop().create_future()
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server = HarmonyServer(Backend(), {}, on_exit=lambda _code: writer.close())
        server.protocol.connect(writer)
        connected.set_result(server)
        decoder = FrameDecoder()
        while not writer.is_closing() and (chunk := await reader.read(65536)):
            await server.protocol.receive_all(decoder.feed(chunk))
        await server.close()
        writer.close()
        ended.set()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        port = listening.sockets[0].getsockname()[1]
        async with opening(tmp_path, CONFIGURATION % port, {}) as neovim:
            await open_file(neovim, project / "app.py")
            async with asyncio.timeout(PATIENCE):
                server = await connected
            await neovim.until("return #vim.lsp.get_clients({ name = 'harmony_ls' }) > 0")
            await in_step(neovim, server, project / "app.py")
            yield neovim, server, EditorWorkspace(server, [project])
        async with asyncio.timeout(PATIENCE):
            await ended.wait()
    finally:
        listening.close()
        await listening.wait_closed()


async def open_file(neovim: Neovim, path: Path) -> None:
    await neovim.lua(f"vim.cmd.edit({json.dumps(str(path))})")


async def buffer_text(neovim: Neovim, path: Path) -> str:
    lines = f"vim.api.nvim_buf_get_lines(vim.fn.bufnr({json.dumps(str(path))}), 0, -1, true)"
    return str(await neovim.lua(f"return table.concat({lines}, '\\n')"))


async def in_step(neovim: Neovim, server: HarmonyServer, path: Path) -> None:
    """Wait until the server has what is in the buffer; Neovim tells of changes a moment later."""
    async with asyncio.timeout(PATIENCE):
        while True:
            document = server.documents.get(path.as_uri())
            text = await buffer_text(neovim, path)
            if document is not None and str(document.text).replace("\r\n", "\n").removesuffix("\n") == text:
                return


async def changes_of(workspace: EditorWorkspace, patch: str) -> tuple[FileChange, ...]:
    return await plan_patch(parse_patch(f"*** Begin Patch\n{patch}*** End Patch\n"), workspace)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "app.py").write_text("a\nb\nc\n")
    return folder


@pytest.mark.parametrize("data", [b"a\nb\nc\n", b"a\r\nb\r\nc\r\n", b"a\nb\nc", b"\xef\xbb\xbfa\nb\nc\n"])
async def test_d24_d25_a_buffer_keeps_its_unsaved_text_and_one_undo_takes_the_edit_back(
    project: Path, tmp_path: Path, data: bytes
) -> None:
    path = project / "app.py"
    path.write_bytes(data)
    async with editing(tmp_path) as (neovim, server, workspace):
        await neovim.press("Onicht gesichert 👍<Esc>G")
        await neovim.until("return vim.fn.line('$') == 4 and vim.fn.mode() == 'n'")
        await in_step(neovim, server, path)
        assert await workspace.apply(await changes_of(workspace, PATCH_B)) == Applied(modified=("app.py",))
        assert await buffer_text(neovim, path) == "nicht gesichert 👍\na\nB\nc"
        assert path.read_bytes() == data, "saving is the person's"
        await neovim.press("u")
        await neovim.until("return vim.fn.getline(3) == 'b'")
        assert await buffer_text(neovim, path) == "nicht gesichert 👍\na\nb\nc"
        await neovim.press("<C-r>")
        await neovim.until("return vim.fn.getline(3) == 'B'")
        await in_step(neovim, server, path)
        assert await workspace.undo() == Applied(modified=("app.py",))
        assert await buffer_text(neovim, path) == "nicht gesichert 👍\na\nb\nc"
        await neovim.lua("vim.cmd('silent 1delete | write')")
        assert path.read_bytes().removesuffix(b"\n") == data.removesuffix(b"\n")


@pytest.mark.parametrize("saves", [False, True])
async def test_files_are_created_moved_changed_and_deleted(project: Path, tmp_path: Path, *, saves: bool) -> None:
    for name in ("old.py", "other.py", "gone.py"):
        (project / name).write_text("1\n2\n")
    patch = (
        f"{PATCH_B}*** Add File: new/made.py\n+made\n*** Delete File: gone.py\n*** Update File: other.py\n@@\n 1\n-2\n"
        "+3\n*** Update File: old.py\n*** Move to: new/old.py\n@@\n 1\n-2\n+3\n"
    )
    async with editing(tmp_path) as (neovim, _server, workspace):
        applied = await workspace.apply(await changes_of(workspace, patch))
        assert applied == Applied(("new/made.py",), ("app.py", "other.py", "new/old.py"), ("gone.py",))
        expected = {"app.py": "a\nB\nc\n", "new/made.py": "made\n", "new/old.py": "1\n3\n", "other.py": "1\n3\n"}
        assert {name: (await workspace.read(name)).text for name in expected} == expected
        assert not (project / "gone.py").exists()
        assert not (project / "old.py").exists()
        if saves:
            await neovim.lua("vim.cmd('silent wall')")
            assert {name: (project / name).read_text() for name in expected} == expected
        await workspace.undo()
        restored = {"app.py": "a\nb\nc\n", "old.py": "1\n2\n", "other.py": "1\n2\n", "gone.py": "1\n2\n"}
        assert {name: (await workspace.read(name)).text for name in restored} == restored
        assert not (project / "new" / "made.py").exists()
        assert not (project / "new" / "old.py").exists()


async def test_d21_a_key_between_the_edit_and_its_being_applied(project: Path, tmp_path: Path) -> None:
    """Neovim passes the stale buffer over and says that all went well."""
    path = project / "app.py"
    async with editing(tmp_path) as (neovim, server, workspace):
        await neovim.press("Ox<Esc>")
        await neovim.until("return vim.fn.line('$') == 4 and vim.fn.mode() == 'n'")
        await in_step(neovim, server, path)
        changes = await changes_of(workspace, PATCH_B)
        await neovim.lua("""
            local apply = vim.lsp.handlers['workspace/applyEdit']
            vim.lsp.handlers['workspace/applyEdit'] = function(...)
              vim.api.nvim_buf_set_text(0, 0, 0, 0, 0, { 'y' })
              return apply(...)
            end
        """)
        with pytest.raises(WorkspaceError, match=r"app\.py is not what it was meant to become"):
            await workspace.apply(changes)
        assert await buffer_text(neovim, path) == "yx\na\nb\nc"
        assert workspace.change_sets == ()
        assert await neovim.lua("return vim.fn.line('$')") == 4
        await in_step(neovim, server, path)
        assert (await workspace.read("app.py")).text == "yx\na\nb\nc\n"


async def test_unsaved_text_moves_with_its_file(project: Path, tmp_path: Path) -> None:
    patch = PATCH_B.replace("@@", "*** Move to: new/app.py\n@@")
    async with editing(tmp_path) as (neovim, server, workspace):
        await neovim.press("Ounsaved<Esc>")
        await neovim.until("return vim.fn.line('$') == 4 and vim.fn.mode() == 'n'")
        await in_step(neovim, server, project / "app.py")
        assert await workspace.apply(await changes_of(workspace, patch)) == Applied(modified=("new/app.py",))
        assert await neovim.text() == "unsaved\na\nB\nc"
        assert not (project / "app.py").exists()
        await in_step(neovim, server, project / "new" / "app.py")
        await workspace.undo()
        assert (await workspace.read("app.py")).text == "unsaved\na\nb\nc\n"
        assert await neovim.text() == "unsaved\na\nb\nc"


async def test_a_person_reviews_each_text(project: Path, tmp_path: Path) -> None:
    (project / "other.py").write_text("1\n")
    patch = f"{PATCH_B}*** Update File: other.py\n@@\n-1\n+2\n"
    async with editing(tmp_path) as (neovim, server, workspace):
        await open_file(neovim, project / "other.py")
        await in_step(neovim, server, project / "other.py")
        await neovim.lua("""
            asked = {}
            vim.fn.confirm = function(message)
              table.insert(asked, message)
              return message:find('other') and 1 or 2
            end
        """)
        changes = await changes_of(workspace, patch)
        workspace.confirm(changes)
        with pytest.raises(WorkspaceError, match=r"app\.py was not changed\. other\.py was changed\."):
            await workspace.apply(changes)
        assert await neovim.lua("return asked") == [
            "Apply all changes?\nChange app.py: proposed by harmony-ls",
            "Apply all changes?\nChange other.py: proposed by harmony-ls",
        ]
        assert await buffer_text(neovim, project / "app.py") == "a\nb\nc"
        assert await buffer_text(neovim, project / "other.py") == "2"


async def test_a_tool_asks(project: Path, tmp_path: Path) -> None:
    async with editing(tmp_path) as (neovim, server, workspace):
        await neovim.lua("""
            asked, picked = {}, 2
            vim.ui.select = function(items, options, choose)
              table.insert(asked, { options.prompt, vim.tbl_map(options.format_item, items) })
              choose(items[picked])
            end
        """)
        changes = await changes_of(workspace, PATCH_B)
        call = ToolCall("1", "apply_patch", PATCH_B)
        request = ApprovalRequest(call, "Change app.py", "--- a/app.py\n+++ b/app.py\n", changes=changes)
        approvals = EditorApprovals(server, workspace.confirm)
        assert await approvals.ask(request) is Decision.SESSION
        await neovim.lua("picked = 9")
        assert await approvals.ask(request) is Decision.NO
        titles = [ALLOW_ONCE, allow_for_session(), REVIEW, NEVER]
        prompt = "Change app.py?\n\n--- a/app.py\n+++ b/app.py: "
        assert await neovim.lua("return asked") == [[prompt, titles]] * 2
