"""The Neovim configuration of the README, to the letter, in a real Neovim with the real server."""

import asyncio
import json
import os
import re
import shlex
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import TextIO

import pytest
import pytest_asyncio

from tests.editors.inside import PATIENCE
from tests.editors.neovim import Neovim, executable, opening
from tests.models import Rule

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(executable() is None, reason="needs Neovim 0.12 (nvim)"),
]

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"

WATCHING = """
vim.lsp.handlers['harmony/status'] = function(_, status) harmony_status = status end
vim.lsp.config('harmony_ls', { on_exit = function(code) exit_code = code end })
"""
READY = """
local settled = harmony_status and vim.list_contains({ 'ready', 'busy', 'error' }, harmony_status.state)
return settled and harmony_status
"""
SHOWN = """
local namespace = vim.api.nvim_get_namespaces()['nvim.lsp.inline_completion']
local mark = vim.api.nvim_buf_get_extmarks(0, namespace, 0, -1, { details = true })[1]
if not mark then return nil end
local lines = { mark[4].virt_text[1][1] }
for _, line in ipairs(mark[4].virt_lines or {}) do table.insert(lines, line[1][1]) end
return table.concat(lines, '\\n')
"""
# On a machine under load an answer may take longer than a person would wait for.
PATIENT = "inlineCompletion.deadlineMs = 10000\n"
SETTINGS = f"""{PATIENT}
trustRemoteCode = true
[inlineCompletion.fim]
prefix = "<|fim_prefix|>"
suffix = "<|fim_suffix|>"
middle = "<|fim_middle|>"
"""
RULES = [
    Rule("return ", "first + second"),
    Rule("return f", "irst + second"),
    Rule("return first", " + second"),
    Rule("def double(value):", "\n    value = value * 2\n    return value"),
    Rule("if check(", "first) and check(second):"),
    Rule("👍 = 'ü'; total = ", "add(3, 4)"),
    Rule("total = ", "add(1, 2)"),
]

Open = Callable[[str], Awaitable[Neovim]]

numbers = count(1)


def snippet() -> str:
    found = re.search(r"^```lua\n(.*?)^```$", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert found, "the README has a block of Lua"
    return found[1]


@asynccontextmanager
async def editing(folder: Path, settings: str) -> AsyncIterator[Neovim]:
    """Neovim as the README sets it up, for a person with these settings of harmony-ls.

    ``harmony-ls`` on its path is this checkout's. It must have ended well when Neovim has been quit.
    """
    command, ended = folder / "bin" / "harmony-ls", folder / "ended"
    os.mkfifo(ended)
    command.parent.mkdir()
    server = shlex.join([sys.executable, "-P", "-m", "harmony_ls"])
    command.write_text(f'#!/bin/sh\n{server} "$@"\necho $? > {shlex.quote(str(ended))}\n')
    command.chmod(0o755)
    configuration = folder / "config" / "harmony-ls" / "config.toml"
    configuration.parent.mkdir(parents=True)
    configuration.write_text(settings, encoding="utf-8")
    environment = {"PATH": f"{command.parent}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    with os.fdopen(os.open(ended, os.O_RDWR | os.O_NONBLOCK)) as pipe:
        async with opening(folder, snippet() + WATCHING, environment) as neovim:
            yield neovim
        assert await first_line(pipe) == "0", "the server's exit status"


async def first_line(pipe: TextIO) -> str:
    """Wait for a line to come out of a pipe."""
    came = asyncio.Event()
    asyncio.get_running_loop().add_reader(pipe, came.set)
    try:
        async with asyncio.timeout(PATIENCE):
            await came.wait()
    finally:
        asyncio.get_running_loop().remove_reader(pipe)
    return pipe.readline().rstrip("\n")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("neovim")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def editor(folder: Path, scripted_model: Callable[[Sequence[Rule]], Path]) -> AsyncIterator[Neovim]:
    """One Neovim for most tests, its server with a model that follows ``RULES``."""
    async with editing(folder, f"model = {json.dumps(str(scripted_model(RULES)))}\n{SETTINGS}") as neovim:
        await neovim.lua("vim.cmd('silent edit first.py')")
        status = await neovim.until(READY)
        assert status["state"] != "error", status
        yield neovim


@pytest.fixture
def open_file(editor: Neovim, folder: Path) -> Open:
    """Open a file that holds a text, the cursor in insert mode at the end of its last line, or where ``<|>`` stands."""

    async def open_it(text: str) -> Neovim:
        await show_file(editor, folder, text)
        return editor

    return open_it


async def show_file(neovim: Neovim, folder: Path, text: str) -> None:
    file = folder / f"file{next(numbers)}.py"
    before = text.partition("<|>")[0]
    file.write_bytes(text.replace("<|>", "").encode())
    row, column = before.count("\n") + 1, len(before.rpartition("\n")[2].encode())
    await neovim.press("<Esc>")
    await neovim.until("return vim.fn.mode() == 'n'")
    await neovim.lua(f"vim.cmd('silent edit {file.name}')")
    await neovim.until("local c = vim.lsp.get_clients({ bufnr = 0 })[1] return c and c.initialized")
    await neovim.lua(f"vim.o.virtualedit = 'onemore' vim.api.nvim_win_set_cursor(0, {{ {row}, {column} }})")
    await neovim.press("i")
    await neovim.until("return vim.fn.mode() == 'i'")


async def becomes(neovim: Neovim, text: str) -> None:
    """Wait until the buffer holds a text."""
    lines = json.dumps(text, ensure_ascii=False)
    try:
        await neovim.until(f"return table.concat(vim.api.nvim_buf_get_lines(0, 0, -1, true), '\\n') == {lines}")
    except TimeoutError:
        assert await neovim.text() == text
        raise


async def becomes_and_goes_on(neovim: Neovim, text: str) -> None:
    """Wait until the buffer holds a text without its ``!``, and see that it is typed where that stands."""
    await becomes(neovim, text.replace("!", ""))
    await neovim.press("!")
    await becomes(neovim, text)


async def test_tab_accepts_the_text_at_the_cursor(open_file: Open) -> None:
    neovim = await open_file("def add(first, second):\n    <|>\n")
    await neovim.press("return ")
    assert await neovim.until(SHOWN) == "first + second"
    await neovim.press("<Tab>")
    await becomes_and_goes_on(neovim, "def add(first, second):\n    return first + second!")


async def test_tab_is_a_tab_where_nothing_is_shown(open_file: Open) -> None:
    neovim = await open_file("x<|>\n")
    await neovim.press("<Tab>y")
    await becomes(neovim, "x   y")


@pytest.mark.parametrize("typed", ["f", "first", "first + second"])
async def test_what_is_typed_while_the_text_shows_is_not_doubled(open_file: Open, typed: str) -> None:
    neovim = await open_file("def add(first, second):\n    return <|>\n")
    await neovim.press("<Space><BS><Left><Right>")
    assert await neovim.until(SHOWN) == "first + second"
    await neovim.press(f"{typed}<Tab>")
    await becomes_and_goes_on(neovim, "def add(first, second):\n    return first + second!")


async def test_the_text_goes_on_as_it_is_typed(open_file: Open) -> None:
    neovim = await open_file("def add(first, second):\n    <|>\n")
    await neovim.press("return f")
    assert await neovim.until(SHOWN) == "irst + second"
    await neovim.press("irst")
    assert await neovim.until(SHOWN) == " + second"
    await neovim.press("<Tab>")
    await becomes_and_goes_on(neovim, "def add(first, second):\n    return first + second!")


async def test_what_is_typed_against_the_text_stays(open_file: Open) -> None:
    neovim = await open_file("def add(first, second):\n    <|>\n")
    await neovim.press("return ")
    await neovim.until(SHOWN)
    await neovim.press("x<Tab>")
    await neovim.until(f"return not (function() {SHOWN} end)()")
    assert await neovim.text() == "def add(first, second):\n    return x"


async def test_several_lines(open_file: Open) -> None:
    neovim = await open_file("<|>\n")
    await neovim.press("def double(value):")
    assert await neovim.until(SHOWN) == "\n    value = value * 2\n    return value"
    await neovim.press("<Tab>")
    await becomes_and_goes_on(neovim, "def double(value):\n    value = value * 2\n    return value!")


async def test_several_lines_typed_on(open_file: Open) -> None:
    neovim = await open_file("<|>\n")
    await neovim.lua("vim.bo.indentexpr = ''")
    await neovim.press("def double(value):")
    await neovim.until(SHOWN)
    await neovim.press("<CR>    val<Tab>")
    await becomes_and_goes_on(neovim, "def double(value):\n    value = value * 2\n    return value!")


async def test_several_lines_in_a_file_of_windows(open_file: Open) -> None:
    neovim = await open_file("import os\r\n\r\n<|>\r\n")
    assert await neovim.lua("return vim.bo.fileformat") == "dos"
    await neovim.press("def double(value):")
    assert await neovim.until(SHOWN) == "\n    value = value * 2\n    return value"
    await neovim.press("<Tab>")
    await becomes_and_goes_on(neovim, "import os\n\ndef double(value):\n    value = value * 2\n    return value!")


@pytest.mark.parametrize("typed", ["", "f", "first", "first)"])
async def test_a_closing_bracket_that_stands_there_is_replaced(open_file: Open, typed: str) -> None:
    neovim = await open_file("def both(first, second):\n    if check<|>)\n")
    await neovim.press("(")
    await neovim.until(SHOWN)
    await neovim.press(f"{typed}<Tab>")
    await becomes_and_goes_on(neovim, "def both(first, second):\n    if check(first) and check(second):!")


async def test_a_completion_in_the_middle_of_a_line_is_asked_for(open_file: Open) -> None:
    neovim = await open_file("def add(first, second):\n    return <|>  # the sum\n")
    await neovim.press("<C-Space>")
    await becomes(neovim, "def add(first, second):\n    return first + second  # the sum")
    await neovim.press("!")
    await becomes(neovim, "def add(first, second):\n    return first + second!  # the sum")


async def test_beside_characters_of_several_bytes(open_file: Open) -> None:
    neovim = await open_file("x = '👩‍👩‍👧'\n<|>\n")
    await neovim.press("👍 = 'ü'; total =<Space>")
    assert await neovim.until(SHOWN) == "add(3, 4)"
    await neovim.press("add<Tab>")
    await becomes_and_goes_on(neovim, "x = '👩‍👩‍👧'\n👍 = 'ü'; total = add(3, 4)!")


async def test_the_embedded_model_completes_and_the_server_ends_well(tmp_path: Path) -> None:
    async with editing(tmp_path, PATIENT) as neovim:
        await show_file(neovim, tmp_path, "import os\n\ndef exists(path):\n    return os.path.<|>\n")
        status = await neovim.until(READY)
        assert status["state"] != "error", status
        await neovim.press("<BS>.")
        shown = await neovim.until(SHOWN)
        await neovim.press("<Tab>")
        await becomes(neovim, f"import os\n\ndef exists(path):\n    return os.path.{shown}")
        await neovim.lua("vim.lsp.enable('harmony_ls', false)")
        await neovim.until("return exit_code")
        assert await neovim.lua("return exit_code") == 0
