"""Code actions in a real Neovim: listed, resolved and applied by it, with the real server and a scripted model."""

import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.editors.neovim import Neovim, executable, opening
from tests.lsp.acting import asked
from tests.session.support import scripted_gpt_oss

pytestmark = pytest.mark.skipif(executable() is None, reason="needs Neovim 0.12 (nvim)")

BROKEN = "import os\n\n\ndef area(width, height):\n    return width * heigth\n"
MENDED = BROKEN.replace("heigth", "height")
TEST = "from shapes import area\n\n\ndef test_area() -> None:\n    assert area(2, 3) == 6\n"
RULES = [
    asked("fix", f"```python\n{MENDED.removeprefix('import os').lstrip()}```"),
    asked("improve", f"```python\n{MENDED.removeprefix('import os').lstrip()}```"),
    asked("write_tests", f"```python\n{TEST}```"),
]

# Neovim sends each server that server's own diagnostics. With these, ours is sent those of all.
DIAGNOSTICS_OF_ALL = """
vim.lsp.buf.code_action({
  apply = true,
  context = {
    only = { 'quickfix' },
    diagnostics = vim.lsp.diagnostic.from(vim.diagnostic.get(0, { lnum = vim.fn.line('.') - 1 })),
  },
})
"""


@asynccontextmanager
async def acting(folder: Path, vocabulary: Path) -> AsyncIterator[Neovim]:
    """Neovim with ``shapes.py`` open, and the server beside it."""
    project = folder / "project"
    (project / "tests").mkdir(parents=True)
    (project / "tests" / "test_other.py").write_text("")
    (project / "shapes.py").write_text(BROKEN)
    model = scripted_gpt_oss(folder / "model", RULES, max_position_embeddings=32_768)
    options = {"inlineCompletion": {"enabled": False}, "chat": {"model": str(model), "temperature": 0}}
    command = [sys.executable, "-P", "-m", "harmony_ls", "lsp", "--trust-remote-code"]
    configuration = f"""
vim.lsp.config('harmony_ls', {{
  cmd = vim.json.decode({json.dumps(json.dumps(command))}),
  root_markers = {{ 'tests' }},
  init_options = vim.json.decode({json.dumps(json.dumps(options))}),
}})
vim.lsp.enable('harmony_ls')
"""
    async with opening(folder, configuration, {"TIKTOKEN_ENCODINGS_BASE": str(vocabulary)}) as neovim:
        await neovim.lua(f"vim.cmd.edit({json.dumps(str(project / 'shapes.py'))})")
        await neovim.until(
            "local client = vim.lsp.get_clients({ name = 'harmony_ls', bufnr = 0 })[1] "
            "return client and client.initialized"
        )
        yield neovim


async def has_text(neovim: Neovim, path: str, text: str) -> Any:
    lines = f"vim.api.nvim_buf_get_lines(vim.fn.bufnr({json.dumps(path)}), 0, -1, false)"
    return await neovim.until(f"return table.concat({lines}, '\\n') .. '\\n' == {json.dumps(text)}")


async def act(neovim: Neovim, kind: str) -> None:
    await neovim.lua(f"vim.lsp.buf.code_action({{ apply = true, context = {{ only = {{ '{kind}' }} }} }})")


async def test_an_action_is_applied_in_one_step(tmp_path: Path, harmony_vocabulary_folder: Path) -> None:
    async with acting(tmp_path, harmony_vocabulary_folder) as neovim:
        await neovim.lua("vim.api.nvim_win_set_cursor(0, { 5, 12 })")
        await act(neovim, "refactor.rewrite.harmony.improve")
        await has_text(neovim, "shapes.py", MENDED)
        await neovim.press("u")
        await has_text(neovim, "shapes.py", BROKEN)


async def test_diagnostics_of_another_server_are_mended(tmp_path: Path, harmony_vocabulary_folder: Path) -> None:
    async with acting(tmp_path, harmony_vocabulary_folder) as neovim:
        await neovim.lua(
            "vim.diagnostic.set(vim.api.nvim_create_namespace('linter'), 0, "
            "{ { lnum = 4, col = 19, message = 'heigth is not defined' } })"
        )
        await neovim.lua("vim.api.nvim_win_set_cursor(0, { 5, 20 })")
        await neovim.lua(DIAGNOSTICS_OF_ALL)
        await has_text(neovim, "shapes.py", MENDED)


async def test_tests_are_put_into_a_new_buffer(tmp_path: Path, harmony_vocabulary_folder: Path) -> None:
    async with acting(tmp_path, harmony_vocabulary_folder) as neovim:
        await neovim.lua("vim.api.nvim_win_set_cursor(0, { 4, 5 })")
        await act(neovim, "refactor.harmony.writeTests")
        await neovim.until("return vim.fn.bufnr('test_shapes.py') > 0")
        await has_text(neovim, "test_shapes.py", TEST)
        await has_text(neovim, str(tmp_path / "project" / "shapes.py"), BROKEN)
