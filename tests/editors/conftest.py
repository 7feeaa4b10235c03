"""The VS Code that all tests of it share: to install the extension and to start it takes longer than most tests."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.editors.vscode import CodeServer, Window, serving


@pytest_asyncio.fixture(loop_scope="package", scope="package")
async def code_server(
    tmp_path_factory: pytest.TempPathFactory, harmony_vocabulary_folder: Path
) -> AsyncIterator[CodeServer]:
    """A running code-server with our extension. The settings are for a module to write (`CodeServer.configure`)."""
    environment = {"TIKTOKEN_ENCODINGS_BASE": str(harmony_vocabulary_folder)}
    async with serving(tmp_path_factory.mktemp("vscode"), environment) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="package")
async def window(code_server: CodeServer, tmp_path: Path) -> AsyncIterator[Window]:
    """A window that shows the empty folder ``project``."""
    (tmp_path / "project").mkdir()
    async with code_server.window(tmp_path / "project", tmp_path) as opened:
        yield opened
