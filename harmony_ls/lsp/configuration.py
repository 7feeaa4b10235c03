"""Settings as a language server gets them: asked from the client, read from files, merged, and pushed to who uses them.

What settings there are and how sources are merged is `harmony_ls.settings`; this module fetches the sources again
whenever one of them may have changed, and tells the person once what cannot be used.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final

from lsprotocol import types

from harmony_ls.lsp.connection.connection import Connection
from harmony_ls.lsp.documents.documents import path_of
from harmony_ls.settings.models import Settings
from harmony_ls.settings.sources import (
    SECTION_NAMES,
    Source,
    client_source,
    read_user_file,
    read_workspace,
    resolve,
    user_file,
)

__all__ = ["CONFIGURATION_METHODS", "SECTION", "Configuration"]

_logger = logging.getLogger(__name__)

SECTION = "harmony-ls"
_ANSWER_SECONDS = 10.0


class Configuration:
    """The settings in force on one connection, and where each comes from. ``on_change`` gets them when they change."""

    def __init__(
        self, connection: Connection, command_line: Mapping[str, Any], on_change: Callable[[Settings], Awaitable[None]]
    ) -> None:
        self._connection = connection
        self._on_change = on_change
        self._command_line = Source("command line", command_line)
        self._initialization = client_source("initializationOptions", None)
        self._client = client_source("the editor's settings", None)
        self._folders: tuple[Path, ...] = ()
        self._lock = asyncio.Lock()
        self._shown = ""
        self.resolved = resolve([self._command_line])

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self.resolved.settings

    @property
    def folders(self) -> tuple[Path, ...]:
        """The folders of the workspace."""
        return self._folders

    async def initialize(self, params: types.InitializeParams) -> None:
        """Take what ``initialize`` brought. Problems are shown later: a client may not be ready for messages yet."""
        self._initialization = client_source(self._initialization.name, params.initialization_options)
        folders = params.workspace_folders
        uris = [folder.uri for folder in folders] if folders else [params.root_uri] if params.root_uri else []
        paths = [path_of(uri) for uri in uris]
        if not any(paths) and params.root_path:
            paths = [params.root_path]
        self._folders = tuple(Path(path) for path in paths if path)
        await self._merge()

    async def refresh(self) -> None:
        """Fetch every source again, and use the result."""
        await self._pull()
        await self._merge()
        self._show_problems()

    async def take(self, pushed: object) -> None:
        """Use what the client pushed with ``didChangeConfiguration``, unless it can be asked instead."""
        if not self._can_ask and pushed is not None:
            if isinstance(pushed, Mapping):  # the settings of several programs, or ours alone
                pushed = next((pushed[name] for name in SECTION_NAMES if name in pushed), pushed)
            self._client = client_source(self._client.name, pushed)
        await self.refresh()

    async def change_folders(self, event: types.WorkspaceFoldersChangeEvent) -> None:
        """Follow the workspace's folders."""
        removed = {Path(path) for folder in event.removed if (path := path_of(folder.uri))}
        kept = [folder for folder in self._folders if folder not in removed]
        added = [Path(path) for folder in event.added if (path := path_of(folder.uri))]
        self._folders = tuple(dict.fromkeys([*kept, *added]))
        await self.refresh()

    def watchers(self) -> list[types.FileSystemWatcher]:
        """The files whose change changes the settings."""
        folder = user_file().parent
        return [
            types.FileSystemWatcher(glob_pattern="**/pyproject.toml"),
            types.FileSystemWatcher(
                glob_pattern=types.RelativePattern(base_uri=folder.as_uri(), pattern=user_file().name)
                if self._connection.client_can("workspace._did_change_watched_files.relative_pattern_support")
                else str(user_file())
            ),
        ]

    @property
    def _can_ask(self) -> bool:
        return bool(self._connection.client_can("workspace.configuration"))

    async def _pull(self) -> None:
        if not self._can_ask:
            return
        item = types.ConfigurationItem(section=SECTION)
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                answer = await self._connection.workspace_configuration_async(types.ConfigurationParams(items=[item]))
        except Exception as error:  # the last good settings stay in force
            _logger.warning("the client does not tell its settings: %s", type(error).__name__)
            return
        self._client = client_source(self._client.name, answer[0] if answer else None)

    async def _merge(self) -> None:
        async with self._lock:
            files = await asyncio.to_thread(self._read_files)
            sources = [*files, self._initialization, self._client, self._command_line]
            previous = self.resolved
            self.resolved = await asyncio.to_thread(resolve, sources, previous)
        if self.resolved.settings != previous.settings:
            await self._on_change(self.resolved.settings)

    def _read_files(self) -> list[Source]:
        return [read_user_file(), *map(read_workspace, self._folders)]

    def _show_problems(self) -> None:
        message = self.resolved.message
        if message and message != self._shown:
            params = types.ShowMessageParams(type=types.MessageType.Warning, message=message)
            self._connection.window_show_message(params)
        self._shown = message


async def _did_change_configuration(configuration: Configuration, params: types.DidChangeConfigurationParams) -> None:
    """``workspace/didChangeConfiguration``."""
    await configuration.take(params.settings)


async def _did_change_watched_files(configuration: Configuration, _params: types.DidChangeWatchedFilesParams) -> None:
    """``workspace/didChangeWatchedFiles``: only files that hold settings are watched."""
    await configuration.refresh()


async def _did_change_workspace_folders(
    configuration: Configuration, params: types.DidChangeWorkspaceFoldersParams
) -> None:
    """``workspace/didChangeWorkspaceFolders``."""
    await configuration.change_folders(params.event)


CONFIGURATION_METHODS: Final[Mapping[str, Callable[[Configuration, Any], Awaitable[None]]]] = {
    types.WORKSPACE_DID_CHANGE_CONFIGURATION: _did_change_configuration,
    types.WORKSPACE_DID_CHANGE_WATCHED_FILES: _did_change_watched_files,
    types.WORKSPACE_DID_CHANGE_WORKSPACE_FOLDERS: _did_change_workspace_folders,
}
"""What tells that settings may have changed."""
