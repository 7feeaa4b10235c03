"""A real Docker engine for the tests of the python tool; without one they are skipped and say why."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator

import pytest
from docker import DockerClient

from harmony_ls.settings.models import ToolSettings
from harmony_ls.tools.python import python_tool
from harmony_ls.tools.python.engine import connect
from tests.tools.python.support import Notebook, opened


@pytest.fixture(scope="session")
def python_settings() -> ToolSettings:
    """Settings under which the tool is there; the limits are small, so that reaching them takes no time."""
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


@pytest.fixture
def engine(python_settings: ToolSettings) -> Iterator[DockerClient]:
    """A client of the engine, to look at it from outside."""
    client = connect(python_settings)
    yield client
    client.close()


@pytest.fixture
async def notebook(python_settings: ToolSettings, engine: DockerClient) -> AsyncIterator[Notebook]:
    """The tool of one conversation. Afterwards nothing of it is left."""
    notebook = await opened(python_settings, engine)
    yield notebook
    await notebook.tool.close()
    assert notebook.containers() == []
