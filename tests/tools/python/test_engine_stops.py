"""The Docker engine goes away in the middle: stopped, killed, hung. An engine of its own is started for each test."""

import asyncio
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest
from docker import DockerClient

from harmony_ls.settings.models import ToolSettings
from harmony_ls.tools.python import python_tool
from tests.tools.python.support import Notebook, opened
from tests.tools.python.test_survives import ENDLESS

SCRIPT = Path(__file__).parents[3] / ".ci/install_docker"


class OwnEngine:
    """An engine that a test may do anything to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.address = f"unix://{folder}/engine.sock"

    def script(self, command: str) -> int:
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        return subprocess.run(["bash", SCRIPT, self.folder, command], timeout=120, check=False, **streams).returncode  # type: ignore[call-overload, no-any-return]

    @property
    def process(self) -> psutil.Process:
        return psutil.Process(int((self.folder / "engine.pid").read_text()))

    def kill(self) -> None:
        """As a crash: what the engine had started goes on without it."""
        process = self.process
        process.kill()
        psutil.wait_procs([process], timeout=30)


@pytest.fixture
async def own_engine(python_settings: ToolSettings, engine: DockerClient) -> AsyncIterator[OwnEngine]:
    """An engine with the image of the other one. The folder's name is short, as those of sockets must be."""
    own = OwnEngine(Path(tempfile.mkdtemp(prefix="hls-engine-")))
    try:
        if await asyncio.to_thread(own.script, "engine") != 0:
            pytest.skip("needs root, to start a Docker engine of its own")
        client = DockerClient(base_url=own.address)
        await asyncio.to_thread(client.images.load, engine.images.get(python_settings.python_image).save(named=True))
        client.close()
        yield own
    finally:
        await asyncio.to_thread(own.script, "stop")
        shutil.rmtree(own.folder, ignore_errors=True)


async def all_containers(own: OwnEngine) -> int:
    client = DockerClient(base_url=own.address)
    try:
        return len(await asyncio.to_thread(client.containers.list, all=True, ignore_removed=True))
    finally:
        client.close()


async def running(own: OwnEngine, settings: ToolSettings) -> tuple[Notebook, "asyncio.Task[str]", DockerClient]:
    """A conversation in the middle of an endless cell."""
    settings = settings.model_copy(update={"docker_host": own.address})
    client = DockerClient(base_url=own.address)
    notebook = await opened(settings, client)
    cell = asyncio.create_task(notebook.text("print('so far')\n" + ENDLESS))
    await notebook.has_file("/mnt/data/running")
    return notebook, cell, client


@pytest.mark.parametrize("how", ["stopped", "killed"])
async def test_40_an_engine_that_ends_in_the_middle_of_a_cell(
    own_engine: OwnEngine, python_settings: ToolSettings, how: str
) -> None:
    notebook, cell, client = await running(own_engine, python_settings)
    client.close()
    if how == "stopped":
        await asyncio.to_thread(own_engine.script, "stop")
    else:
        await asyncio.to_thread(own_engine.kill)
    text = await cell
    assert text.startswith("so far\n[The container was lost: ")
    assert text.endswith("The next call starts with nothing.]")
    without = await notebook.run("1")
    assert without.is_error
    assert without.text.startswith("[No Python: the container could not be started: ")
    assert without.text.endswith("Nothing was run.]")
    assert "Traceback" not in without.text
    assert isinstance(await python_tool(python_settings.model_copy(update={"docker_host": own_engine.address})), str)
    assert await asyncio.to_thread(own_engine.script, "engine") == 0
    assert await notebook.text("1 + 1") == "2", "the same conversation goes on with the engine that is back"
    assert await all_containers(own_engine) == 1, "what the engine lost sight of was removed"
    await notebook.tool.close()
    assert await all_containers(own_engine) == 0


async def test_40_an_engine_that_hangs_does_not_hold_a_cancelled_call(
    own_engine: OwnEngine, python_settings: ToolSettings
) -> None:
    notebook, cell, client = await running(own_engine, python_settings)
    own_engine.process.send_signal(signal.SIGSTOP)
    try:
        cell.cancel()
        async with asyncio.timeout(2):
            await asyncio.wait([cell])
    finally:
        own_engine.process.send_signal(signal.SIGCONT)
    assert (await notebook.text("1 + 1")).startswith("[The last call was cancelled")
    await notebook.tool.close()
    assert await all_containers(own_engine) == 0
    client.close()
