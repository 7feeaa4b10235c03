"""The process's one engine and its models, made when they are first needed and shared by all connections.

Importing the engine takes a second, so it happens on a thread after ``initialize`` was answered. Nothing here is
known of any protocol.
"""

import asyncio
import gc
import weakref
from typing import TYPE_CHECKING, Any

from harmony_ls.features.chat.claims import Claims
from harmony_ls.settings.models import Settings

if TYPE_CHECKING:
    from harmony_ls.engine.engine import Engine
    from harmony_ls.engine.models.model import Model
    from harmony_ls.features.chat.models import ChatModels
    from harmony_ls.features.completion_models import CompletionModels

__all__ = ["Backend"]


class Backend:
    """The engine, the models that complete, and those that are talked to. Cheap until `start`."""

    def __init__(self) -> None:
        self.engine: Engine | None = None
        self.completion_models: CompletionModels | None = None
        self.claims = Claims()
        self._chat_models: ChatModels | None = None
        self._starting: asyncio.Task[None] | None = None
        self._closed = False
        self._leaving: weakref.WeakSet[object] = weakref.WeakSet()

    async def start(self, settings: Settings) -> None:
        """Import and make the engine. Calls while it is being made wait for the same one."""
        if self._starting is None or (self._starting.done() and self.engine is None):
            self._starting = asyncio.create_task(self._start(settings), name="start the engine")
        await asyncio.shield(self._starting)

    async def chat_models(self, settings: Settings) -> "ChatModels":
        """Return the models that are talked to; starts the engine, and loads none."""
        await self.start(settings)
        assert self._chat_models is not None, "start() makes them"
        return self._chat_models

    def leave(self, connection: object) -> None:
        """Let a closed connection be collected, though it was there when `_import` took what there was from the
        collector; that sees everything until it has found the connection."""
        self._leaving.add(connection)
        if gc.get_freeze_count():
            gc.unfreeze()
            gc.callbacks.append(self._after_collection)

    def _after_collection(self, phase: str, _details: dict[str, Any]) -> None:
        if phase == "stop" and not self._leaving:
            gc.callbacks.remove(self._after_collection)
            gc.freeze()

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
        from harmony_ls.features.completion_models import CompletionModels

        if self._closed:
            raise EngineClosedError("The server is being closed.")
        engine = Engine(
            prefill_step_tokens=settings.engine.prefill_step_tokens,
            prompt_cache_bytes=settings.engine.prompt_cache_mb << 20,
        )
        self._chat_models = ChatModels(engine, self._is_kept)
        self.completion_models = CompletionModels(engine, self._chat_models.unload)
        self.engine = engine

    def _is_kept(self, model: "Model") -> bool:
        return self.completion_models is not None and self.completion_models.holds(model)


def _import() -> None:
    """Import what is slow to import, away from the loop."""
    import harmony_ls.engine.engine
    import harmony_ls.features.chat.chats
    import harmony_ls.features.inline.completer
    import harmony_ls.features.resident_model  # noqa: F401

    # What was imported stays. Whenever the collector looked through all of it, nothing else ran for a tenth of a
    # second.
    gc.freeze()
