"""The process's one engine and resident model, made when they are first needed and shared by all connections.

Importing the engine takes a second, so it happens on a thread after ``initialize`` was answered. Nothing here is
known of any protocol.
"""

import asyncio
import gc
from collections.abc import Callable
from typing import TYPE_CHECKING

from harmony_ls.features.chat.claims import Claims
from harmony_ls.features.inline.journal import Journal
from harmony_ls.settings.models import Settings

if TYPE_CHECKING:
    from harmony_ls.engine.engine import Engine
    from harmony_ls.engine.models.model import Model
    from harmony_ls.features.chat.models import ChatModels
    from harmony_ls.features.inline.completer import InlineCompleter
    from harmony_ls.features.resident_model import ModelStatus, ResidentModel

__all__ = ["Backend"]

StatusListener = Callable[["ModelStatus"], None]


class Backend:
    """The engine, the model that completes, and those that are talked to. Cheap until `start`."""

    def __init__(self) -> None:
        self.engine: Engine | None = None
        self.resident_model: ResidentModel | None = None
        self.claims = Claims()
        self._chat_models: ChatModels | None = None
        self._listeners: list[StatusListener] = []
        self._starting: asyncio.Task[None] | None = None
        self._closed = False

    def listen(self, listener: StatusListener) -> Callable[[], None]:
        """Call ``listener`` on the loop at each change of the model's status; the result ends that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    async def start(self, settings: Settings) -> None:
        """Import and make the engine. Calls while it is being made wait for the same one."""
        if self._starting is None or (self._starting.done() and self.engine is None):
            self._starting = asyncio.create_task(self._start(settings), name="start the engine")
        await asyncio.shield(self._starting)

    def completer(self, settings: Settings, journal: Journal) -> "InlineCompleter":
        """Return a completer of its own for one connection, which notes its prompts in that connection's journal.

        The engine must have been started.
        """
        from harmony_ls.features.inline.completer import InlineCompleter

        assert self.engine is not None, "start() comes first"
        assert self.resident_model is not None
        return InlineCompleter(self.engine, self.resident_model, settings, journal)

    async def chat_models(self, settings: Settings) -> "ChatModels":
        """Return the models that are talked to; starts the engine, and loads none."""
        await self.start(settings)
        assert self._chat_models is not None, "start() makes them"
        return self._chat_models

    async def use(self, settings: Settings) -> None:
        """Follow changed settings."""
        if self.resident_model is not None:
            await self.resident_model.use(settings)

    async def close(self, patience: float) -> bool:
        """End generations and close the MLX thread; say whether that took less than ``patience`` seconds."""
        self._closed = True
        if self._starting is not None:
            self._starting.cancel()
        return True if self.engine is None else await self.engine.close(patience)

    async def _start(self, settings: Settings) -> None:
        await asyncio.to_thread(_import)
        from harmony_ls.engine.engine import Engine
        from harmony_ls.errors import EngineClosedError
        from harmony_ls.features.chat.models import ChatModels
        from harmony_ls.features.resident_model import ResidentModel

        if self._closed:
            raise EngineClosedError("The server is being closed.")
        engine = Engine(
            prefill_step_tokens=settings.engine.prefill_step_tokens,
            prompt_cache_bytes=settings.engine.prompt_cache_mb << 20,
        )
        loop = asyncio.get_running_loop()
        chat_models = self._chat_models = ChatModels(engine, self._is_kept)
        self.resident_model = ResidentModel(
            engine, settings, lambda status: _on_loop(loop, self._tell, status), chat_models.unload
        )
        self.engine = engine

    def _is_kept(self, model: "Model") -> bool:
        return self.resident_model is not None and self.resident_model.holds(model)

    def _tell(self, status: "ModelStatus") -> None:
        for listener in tuple(self._listeners):
            listener(status)


def _on_loop(loop: asyncio.AbstractEventLoop, tell: StatusListener, status: "ModelStatus") -> None:
    """Call ``tell`` at once on the loop's thread, and soon from any other."""
    try:
        on_loop = asyncio.get_running_loop() is loop
    except RuntimeError:
        on_loop = False
    if on_loop:
        tell(status)
    else:
        loop.call_soon_threadsafe(tell, status)


def _import() -> None:
    """Import what is slow to import, away from the loop."""
    import harmony_ls.engine.engine
    import harmony_ls.features.chat.chats
    import harmony_ls.features.inline.completer
    import harmony_ls.features.resident_model  # noqa: F401

    # What was imported stays. Whenever the collector looked through all of it, nothing else ran for a tenth of a
    # second.
    gc.freeze()
