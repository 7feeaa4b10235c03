"""A conversation's python tool as tests use it: cells in, answers out, and a view of the engine beside it."""

import asyncio
import os
from collections.abc import Callable
from typing import Any

import pytest
from docker import DockerClient

from harmony_ls.messages import ToolCall
from harmony_ls.settings.models import ToolSettings
from harmony_ls.tools.python import python_tool
from harmony_ls.tools.python.places import Places
from harmony_ls.tools.tool import Tool, ToolOutput

__all__ = ["Notebook", "containers_of", "opened", "settings_with_docker", "until"]


class Notebook:
    """The tool and the containers that it has started."""

    def __init__(self, tool: Tool, engine: DockerClient, others: set[str]) -> None:
        self.tool = tool
        self._engine = engine
        self._others = others

    async def run(self, code: str) -> ToolOutput:
        return await self.tool.run(ToolCall("1", "python", code))

    async def text(self, code: str) -> str:
        return (await self.run(code)).text

    def containers(self) -> list[Any]:
        """The containers of this process that were not there before."""
        return [each for each in containers_of(self._engine, os.getpid()) if each.id not in self._others]

    @property
    def container(self) -> Any:
        (container,) = self.containers()
        return container

    async def has_file(self, path: str) -> None:
        """Wait until code in the container has made a file."""
        code = f"import os, sys; sys.exit(not os.path.exists({path!r}))"

        def is_there() -> bool:
            started = [each for each in self.containers() if each.status == "running"]
            return any(each.exec_run(["python3", "-c", code]).exit_code == 0 for each in started)

        await until(is_there)


def settings_with_docker() -> ToolSettings:
    """Settings under which the tool is there; the limits are small, so that reaching them takes no time. Without Docker
    the test is skipped."""
    image = os.environ.get("HARMONY_LS_TEST_IMAGE", "harmony-ls-python:debian")
    settings = ToolSettings(python_image=image, python_memory_mb=256, python_seconds=30)

    async def why_not() -> str:
        tool = await python_tool(settings)
        if isinstance(tool, str):
            return tool
        await tool.close()
        return ""

    if reason := asyncio.run(why_not()):
        pytest.skip(f"needs Docker ({reason})")
    return settings


async def opened(settings: ToolSettings, engine: DockerClient, places: Places | None = None) -> Notebook:
    tool = await python_tool(settings, places)
    assert not isinstance(tool, str), tool
    return Notebook(tool, engine, {each.id for each in containers_of(engine, os.getpid())})


def containers_of(engine: DockerClient, pid: int) -> list[Any]:
    """All containers whose owner has this number, running or not."""
    label = f"harmony-ls.owner-pid={pid}"
    return list(engine.containers.list(all=True, filters={"label": label}, ignore_removed=True))


async def until(condition: Callable[[], bool]) -> None:
    """Ask again and again. The engine is what takes the time."""
    async with asyncio.timeout(60):
        while not await asyncio.to_thread(condition):
            pass
