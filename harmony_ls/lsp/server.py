"""The language server of one connection: its life cycle, and the one table of what it answers.

Each handler is an ``async def`` of a module named after its family of methods; none of them blocks. What they work with
is in `harmony_ls.lsp.services`.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from lsprotocol import types

from harmony_ls.lsp import doctor, synchronization
from harmony_ls.lsp.backend import Backend
from harmony_ls.lsp.chat.chat import CHAT_METHODS, EditorChat
from harmony_ls.lsp.code_action import code_action
from harmony_ls.lsp.completion import completion, inline_completion
from harmony_ls.lsp.configuration import CONFIGURATION_METHODS, SECTION
from harmony_ls.lsp.connection.handshake import TRIGGER_CHARACTERS, choose_encoding, initialize_result
from harmony_ls.lsp.documents.text import PositionEncoding
from harmony_ls.lsp.messages.messages import HARMONY_DOCTOR
from harmony_ls.lsp.progress import did_cancel_progress
from harmony_ls.lsp.services import Services
from harmony_ls.settings.models import Settings

__all__ = ["METHODS", "Handler", "HarmonyServer"]

_logger = logging.getLogger(__name__)

Handler = Callable[["HarmonyServer", Any], Awaitable[Any]]


class HarmonyServer(Services):
    """One client's language server. ``on_exit`` gets the exit code, ``on_process_id`` the client's process."""

    def __init__(
        self,
        backend: Backend,
        command_line: Mapping[str, Any],
        on_exit: Callable[[int], None],
        on_process_id: Callable[[int], None] | None = None,
    ) -> None:
        super().__init__(backend, command_line)
        self.chat = EditorChat(self)
        self.on_settings: Callable[[Settings], None] = lambda _settings: None
        self.greeted_encoding: str | None = None  # what "initialize" was answered with before we saw it
        self._on_exit = on_exit
        self._on_process_id = on_process_id
        self._fallback_registered = False
        self.protocol.handlers = {
            **{method: partial(handler, self) for method, handler in METHODS.items()},
            **{method: partial(handler, self.configuration) for method, handler in CONFIGURATION_METHODS.items()},
            **{method: partial(handler, self.chat) for method, handler in CHAT_METHODS.items()},
        }
        self.protocol.life_cycle = self

    async def use_settings(self, settings: Settings) -> None:
        """Go on with changed settings, and tell who asked to be told."""
        self.on_settings(settings)
        await super().use_settings(settings)
        await self._register_fallback()

    def close(self) -> "asyncio.Task[None]":
        """Drop the connection: nothing is sent for it afterwards. The task lets go of what its conversations hold."""
        self.protocol.disconnect()
        self.let_go()
        self.backend.leave(self)
        return asyncio.create_task(self.chat.close(), name="close the conversations")

    # Life cycle

    def exit(self, *, clean: bool) -> None:
        """The client sent ``exit``."""
        self._on_exit(0 if clean else 1)

    def lost(self, method: str, params: object) -> None:
        """A notification could not be read: a document whose edit was lost is not the client's any more."""
        name = "notebookDocument" if method == types.NOTEBOOK_DOCUMENT_DID_CHANGE else "textDocument"
        document = params.get(name) if isinstance(params, dict) else None
        uri = document.get("uri") if isinstance(document, dict) else None
        if method == types.NOTEBOOK_DOCUMENT_DID_CHANGE:
            self.documents.distrust_notebook(uri)
        elif method == types.TEXT_DOCUMENT_DID_CHANGE and isinstance(uri, str):
            self.documents.distrust(uri)

    async def _initialize(self, params: types.InitializeParams) -> dict[str, Any]:
        self._capabilities = params.capabilities
        self.client_info = params.client_info
        unstructured = self.protocol.unstructure(params)
        # A greeted client counts as it was told, even if the rest of what it said of positions could not be read.
        encoding = self.greeted_encoding or choose_encoding(unstructured["capabilities"])
        self.documents.encoding = PositionEncoding(encoding)
        if params.process_id is not None and self._on_process_id is not None:
            self._on_process_id(params.process_id)
        await self.configuration.initialize(params)
        return initialize_result(unstructured)

    async def _initialized(self, _params: None) -> None:
        self.is_initialized = True
        self.join()
        self.status.tell()
        registering = self.protocol.spawn(self._register_watchers())
        try:
            await self.configuration.refresh()
        finally:
            self._configured.set()
        await registering
        await self._register_fallback()

    async def _shutdown(self, _params: None) -> None:
        """Take leave. Running requests were cancelled by the protocol, and the process ends with ``exit``."""

    async def _register_watchers(self) -> None:
        registrations = []
        if self._registers("workspace.did_change_configuration"):
            registrations.append(
                types.Registration(
                    id="harmony-ls/configuration",
                    method=types.WORKSPACE_DID_CHANGE_CONFIGURATION,
                    register_options=types.DidChangeConfigurationRegistrationOptions(section=SECTION),
                )
            )
        if self._registers("workspace.did_change_watched_files"):
            registrations.append(
                types.Registration(
                    id="harmony-ls/files",
                    method=types.WORKSPACE_DID_CHANGE_WATCHED_FILES,
                    register_options=types.DidChangeWatchedFilesRegistrationOptions(
                        watchers=self.configuration.watchers()
                    ),
                )
            )
        if registrations:
            await self._request(self.client_register_capability_async, types.RegistrationParams(registrations))

    async def _register_fallback(self) -> None:
        """Follow the setting ``completionFallback`` in clients that let a server change its mind."""
        wanted = self.fallback_wanted
        if not self.is_initialized or not self._registers("text_document.completion"):
            return
        if wanted == self._fallback_registered:
            return
        self._fallback_registered = wanted
        name, method = "harmony-ls/completion", types.TEXT_DOCUMENT_COMPLETION
        if wanted:
            options = types.CompletionRegistrationOptions(trigger_characters=TRIGGER_CHARACTERS)
            registration = types.Registration(id=name, method=method, register_options=options)
            await self._request(self.client_register_capability_async, types.RegistrationParams([registration]))
        else:
            unregistration = types.Unregistration(id=name, method=method)
            await self._request(self.client_unregister_capability_async, types.UnregistrationParams([unregistration]))

    def _registers(self, family: str) -> bool:
        return bool(self.client_can(f"{family}.dynamic_registration"))

    async def _request(self, send: Callable[[Any], Awaitable[Any]], params: object) -> None:
        try:
            async with asyncio.timeout(10):
                await send(params)
        except Exception as error:
            _logger.warning("the client refused %s: %s", type(params).__name__, type(error).__name__)


async def _ignore(_server: HarmonyServer, _params: object) -> None:
    """Take a notification that changes nothing here."""


METHODS: Mapping[str, Handler] = {
    types.INITIALIZE: HarmonyServer._initialize,
    types.INITIALIZED: HarmonyServer._initialized,
    types.SHUTDOWN: HarmonyServer._shutdown,
    types.SET_TRACE: _ignore,
    types.TEXT_DOCUMENT_DID_OPEN: synchronization.did_open,
    types.TEXT_DOCUMENT_DID_CHANGE: synchronization.did_change,
    types.TEXT_DOCUMENT_DID_CLOSE: synchronization.did_close,
    types.NOTEBOOK_DOCUMENT_DID_OPEN: synchronization.did_open_notebook,
    types.NOTEBOOK_DOCUMENT_DID_CHANGE: synchronization.did_change_notebook,
    types.NOTEBOOK_DOCUMENT_DID_CLOSE: synchronization.did_close_notebook,
    types.TEXT_DOCUMENT_INLINE_COMPLETION: inline_completion.inline_completion,
    types.TEXT_DOCUMENT_COMPLETION: completion.completion,
    types.TEXT_DOCUMENT_CODE_ACTION: code_action.code_action,
    types.CODE_ACTION_RESOLVE: code_action.resolve_code_action,
    types.WINDOW_WORK_DONE_PROGRESS_CANCEL: did_cancel_progress,
    HARMONY_DOCTOR: doctor.doctor,
}
"""What the server answers, beside what is told to the settings and to the conversations. ``exit`` and
``$/cancelRequest`` are the protocol's own; what is advertised is in `harmony_ls.lsp.connection.handshake`."""
