"""What the handlers of one connection work with: its settings, status, files, and the process's models.

It answers nothing itself, and knows no handler.
"""

import asyncio
import contextlib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harmony_ls.errors import HarmonyLsError, UserError
from harmony_ls.features.inline.journal import Journal
from harmony_ls.features.inline.request import InlineCompletionRequest, Offer
from harmony_ls.lsp.backend import Backend
from harmony_ls.lsp.configuration import Configuration
from harmony_ls.lsp.connection.connection import Connection
from harmony_ls.lsp.status import StatusReporter
from harmony_ls.settings.models import Settings

if TYPE_CHECKING:
    from harmony_ls.features.inline.completer import InlineCompleter
    from harmony_ls.features.resident_model import ResidentModel
    from harmony_ls.lsp.workspace.workspace import EditorWorkspace

__all__ = ["Services"]

_logger = logging.getLogger(__name__)

_CONFIGURATION_SECONDS = 0.5
_PATIENCE_SECONDS = 15.0
_NO_FOLDER = "No folder is open in the editor, so there are no files to work on."


class Services(Connection):
    """A connection with what belongs to it. The engine and the models are the process's (`harmony_ls.lsp.backend`)."""

    def __init__(self, backend: Backend, command_line: Mapping[str, Any]) -> None:
        super().__init__()
        self.backend = backend
        self.configuration = Configuration(self, command_line, self.use_settings)
        self.status = StatusReporter(self)
        self._completer: InlineCompleter | None = None
        self._resident_model: ResidentModel | None = None
        self._journal = Journal()
        self._configured = asyncio.Event()
        self._is_given_up = False
        self._has_waited = False
        self._opening: asyncio.Task[EditorWorkspace] | None = None
        self._opening_of: tuple[object, ...] = ()

    @property
    def fallback_wanted(self) -> bool:
        """Whether the ordinary completion list shall hold what inline completion offers. Unless that is set, only
        where the client has no inline completions."""
        match self.configuration.settings.inline_completion.completion_fallback:
            case "always":
                return True
            case "never":
                return False
            case _:
                return not self.client_has_inline_completion

    async def editor_workspace(self) -> "EditorWorkspace | str":
        """The files that a model may read and change, or why there are none."""
        folders = self.configuration.folders
        if not folders:
            return _NO_FOLDER
        wanted = (folders, self.configuration.settings.inline_completion.exclude)
        # A folder that was missing may be there when it is next asked for.
        if self._opening is None or self._opening_of != wanted or _has_failed(self._opening):
            self._opening, self._opening_of = asyncio.create_task(self._open_workspace(*wanted)), wanted
        try:
            return await asyncio.shield(self._opening)
        except UserError as error:
            return str(error)

    async def _open_workspace(self, folders: Sequence[Path], exclude: Sequence[str]) -> "EditorWorkspace":
        """Look at the folders on a thread: a disk that does not answer holds one, however many ask."""
        await asyncio.to_thread(_import_workspace)
        from harmony_ls.lsp.workspace.workspace import EditorWorkspace
        from harmony_ls.workspace.disk import DiskWorkspace

        return EditorWorkspace(self, folders, disk=await asyncio.to_thread(DiskWorkspace, folders, exclude=exclude))

    async def completer(self, within: float) -> "InlineCompleter | None":
        """Return the completer; None if the engine could not be started within so many seconds."""
        if self._completer is None:
            try:
                async with asyncio.timeout(within):
                    await self._wait_until_configured()
                    await self.backend.start(self.configuration.settings)
            except TimeoutError:
                return None
        if self._completer is None:
            from harmony_ls.features.inline.completer import InlineCompleter

            engine, settings = self.backend.engine, self.configuration.settings
            assert engine is not None, "it has been started"
            self._completer = InlineCompleter(engine, self._model(), settings, self._journal)
        return self._completer

    def join(self) -> None:
        """Take the model at once where another window has it ready, and tell the client what there is; load nothing."""
        if self.backend.completion_models is None:
            return
        model = self._model()
        if self.configuration.settings.inline_completion.enabled:
            model.join()
        self.status.model_changed(model.status)

    async def warm_up(self) -> None:
        """Start the engine and load the model, so that the first key need not wait for them."""
        if self._completer is not None:
            return
        await self._wait_until_configured()
        if not self.configuration.settings.inline_completion.enabled:
            return
        await self.completer(within=60)
        # The client's settings may have come while the engine was started.
        if self.configuration.settings.inline_completion.enabled and self._resident_model is not None:
            try:
                await self._resident_model.ready()
            except HarmonyLsError as error:  # the status has told it
                _logger.warning("the model cannot be used: %s", error)

    def forget(self, uri: str) -> None:
        """Drop what is kept for a document that was closed."""
        if self._completer is not None:
            self._completer.forget(uri)

    def journal(self) -> dict[str, Any]:
        """Return the last outcomes of inline completion."""
        return self._journal.report()

    def record(self, request: InlineCompletionRequest, offer: Offer) -> None:
        """Keep how a completion ended for the client."""
        self._journal.record(request, offer)
        self.status.speeds = self._journal.speeds

    async def configured(self) -> None:
        """Wait for the client's settings: whoever asks before would be told that no model is named, or get another's.

        A client that was asked for them and never answers is waited for once, no longer than a person would.
        """
        if self.is_initialized and not self._is_given_up:
            try:
                # Python 3.11's wait_for loses a cancellation that comes as what it waits for is done.
                async with asyncio.timeout(_PATIENCE_SECONDS):
                    await self._configured.wait()
            except TimeoutError:
                self._is_given_up = True

    async def _wait_until_configured(self) -> None:
        """Wait for the client's settings, a moment: they may name another model than the one to be loaded now."""
        if not self._has_waited:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_CONFIGURATION_SECONDS):
                    await self._configured.wait()
            self._has_waited = True

    async def use_settings(self, settings: Settings) -> None:
        """Go on with changed settings."""
        if self._completer is not None:
            self._completer.use(settings)
        if self._resident_model is not None:
            await self._resident_model.use(settings)

    def let_go(self) -> None:
        """End what runs for the connection in the engine, and leave the model to the other windows, or the next."""
        if self._completer is not None:
            self._completer.close()
        if self._resident_model is not None:
            self._resident_model.close()

    def _model(self) -> "ResidentModel":
        """The model that completes for this connection. The engine must have been started."""
        if self._resident_model is None:
            from harmony_ls.features.resident_model import ResidentModel

            models = self.backend.completion_models
            assert models is not None, "the engine has been started"
            self._resident_model = ResidentModel(models, self.configuration.settings, self.status.model_changed)
        return self._resident_model


def _has_failed(task: asyncio.Task[Any]) -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)


def _import_workspace() -> None:
    """Import what is slow to import, away from the loop."""
    import harmony_ls.lsp.workspace.workspace  # noqa: F401
