"""Drives a real Neovim from a test: keys as a person presses them, questions in Lua, conditions that are waited for.

The editor runs without a terminal and without anybody's configuration; ``neovim.lua`` is the end inside it. Nothing
here knows what a test is about.
"""

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

from tests.editors.inside import PATIENCE, SOCKET, EndInside, listen

__all__ = ["Neovim", "executable", "opening"]

OLDEST = (0, 12)
POLL_MILLISECONDS = 10


@cache
def executable() -> str | None:
    """The Neovim of this machine, if there is one that has inline completions."""
    found = shutil.which("nvim")
    if found is None:
        return None
    answer = subprocess.run([found, "--version"], capture_output=True, text=True, check=False).stdout
    numbers = answer.partition("\n")[0].removeprefix("NVIM v").partition("-")[0].split(".")
    is_new = all(number.isdecimal() for number in numbers) and tuple(map(int, numbers)) >= OLDEST
    return found if is_new else None


class Neovim(EndInside):
    """One running editor."""

    async def lua(self, chunk: str, *, poll: int | None = None) -> Any:
        """What a chunk of Lua returns, run on the editor's main loop; with ``poll``, the first that is true.

        ``poll`` is the time between two attempts in milliseconds.
        """
        return await self.run("lua", chunk, poll)

    async def until(self, chunk: str) -> Any:
        """Wait until a chunk of Lua returns something true, and return it."""
        return await self.lua(chunk, poll=POLL_MILLISECONDS)

    async def press(self, keys: str) -> None:
        """Press keys, written as Neovim writes them (``ofoo<Tab>``), one after the other and without a pause."""
        await self.lua(f"vim.api.nvim_input({json.dumps(keys, ensure_ascii=False)})")

    async def text(self) -> str:
        """The text of the current buffer."""
        return str(await self.lua("return table.concat(vim.api.nvim_buf_get_lines(0, 0, -1, true), '\\n')"))


@asynccontextmanager
async def opening(folder: Path, configuration: str, environment: Mapping[str, str]) -> AsyncIterator[Neovim]:
    """A Neovim with this ``init.lua`` and a home of its own, which works in ``folder``. It is quit at the end."""
    command = executable()
    assert command is not None
    init = folder / "init.lua"
    init.write_text(configuration, encoding="utf-8")
    connected: asyncio.Future[Neovim] = asyncio.get_running_loop().create_future()

    def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected.set_result(Neovim(reader, writer))

    server = await listen(folder, connect)
    places = {f"XDG_{name}_HOME": str(folder / name.lower()) for name in ("CONFIG", "DATA", "STATE", "CACHE")}
    process = await asyncio.create_subprocess_exec(
        command, "--headless", "-i", "NONE", "-n", "-u", str(init), "-S", str(Path(__file__).with_suffix(".lua")),
        env={**os.environ, **places, "HOME": str(folder), "HARMONY_TEST_SOCKET": SOCKET, **environment},
        cwd=folder,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    neovim = None
    try:
        async with asyncio.timeout(PATIENCE):
            neovim = await connected
        yield neovim
        neovim.send({"id": 0, "lua": "vim.cmd('qall!')"})
        async with asyncio.timeout(PATIENCE):
            _, stderr = await process.communicate()
        assert process.returncode == 0, stderr.decode()
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()
        if neovim is not None:
            neovim.close()
        server.close()
        await server.wait_closed()
