"""A real Docker engine for the tests of the python tool; without one they are skipped and say why."""

from collections.abc import AsyncIterator, Iterator

import pytest
from docker import DockerClient

from harmony_ls.settings.models import ToolSettings
from harmony_ls.tools.python.engine import connect
from tests.tools.python.support import Notebook, opened, settings_with_docker


@pytest.fixture(scope="session")
def python_settings() -> ToolSettings:
    """Settings under which the tool is there."""
    return settings_with_docker()


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
