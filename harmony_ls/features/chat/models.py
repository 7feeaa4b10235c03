"""The models that are talked to: loaded on first use, shared by all connections, unloaded when idle.

The model that completes is another matter (`harmony_ls.features.resident_model`), though it may be the same one in
memory: the engine loads what is asked for twice only once.
"""

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable

from harmony_ls.engine.engine import Engine
from harmony_ls.engine.loading.load_progress import LoadProgress
from harmony_ls.engine.models.model import Model, ModelSpec
from harmony_ls.errors import ModelTooLargeError
from harmony_ls.features.model_spec import model_spec
from harmony_ls.session.chat_model import ChatModel, load_chat_model
from harmony_ls.settings.models import Settings

__all__ = ["ChatModels"]

log = logging.getLogger(__name__)


class ChatModels:
    """The chat models of one engine. All methods belong to one event loop.

    ``is_kept`` says of a model that somebody else needs it, so that it is not unloaded for being idle.
    """

    def __init__(self, engine: Engine, is_kept: Callable[[Model], bool] = lambda _model: False) -> None:
        self._engine = engine
        self._is_kept = is_kept
        self._loaded: dict[ModelSpec, ChatModel] = {}
        self._locks: dict[ModelSpec, asyncio.Lock] = {}
        self._n_at_locks: Counter[ModelSpec] = Counter()
        self._n_users: Counter[Model] = Counter()
        self._unwanted: set[Model] = set()
        self._last_used: dict[ModelSpec, float] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._unloading: set[asyncio.Task[bool]] = set()

    @contextlib.asynccontextmanager
    async def using(
        self,
        settings: Settings,
        reference: str | None = None,
        on_progress: Callable[[LoadProgress], None] | None = None,
    ) -> AsyncIterator[ChatModel]:
        """The model that the settings name for conversations, or the one of ``reference``; loaded if need be.

        It stays in memory until the block ends. Concurrent calls share one load, which the first one's ``on_progress``
        hears of. Raises ModelError where it cannot be loaded or talked to; a later call tries again.
        """
        spec = model_spec(settings, reference or settings.chat.model or settings.model)
        async with self._locked(spec):
            chat_model = await self._load(spec, on_progress)
        model = chat_model.model
        self._n_users[model] += 1
        try:
            yield chat_model
        finally:
            self._n_users[model] -= 1
            if not self._n_users[model]:
                del self._n_users[model]
            self._note_use(spec, settings.idle_unload_minutes)
            if model in self._unwanted and self._may_go(model):
                self._begin_unloading(model)

    def is_in_use(self, model: Model) -> bool:
        """Whether a conversation is using the model at this moment."""
        return self._n_users[model] > 0

    async def unload(self, model: Model) -> None:
        """Free a model, as soon as no conversation uses it."""
        if not await self._free(model):
            self._unwanted.add(model)

    async def _load(self, spec: ModelSpec, on_progress: Callable[[LoadProgress], None] | None) -> ChatModel:
        chat_model = self._loaded.get(spec)
        # Whoever else used the model may have unloaded it meanwhile.
        if chat_model is not None and chat_model.model in self._engine.models:
            return chat_model
        try:
            chat_model = await load_chat_model(self._engine, spec, on_progress=on_progress)
        except ModelTooLargeError:
            # One whose lock is held is being asked for at this moment.
            idle = [each.model for each in self._loaded.values() if self._may_go(each.model)]
            freed = [model for model in idle if model.spec not in self._locks and await self._free(model)]
            if not freed:
                raise
            chat_model = await load_chat_model(self._engine, spec, on_progress=on_progress)
        self._loaded[spec] = chat_model
        return chat_model

    def _may_go(self, model: Model) -> bool:
        return not self.is_in_use(model) and not self._is_kept(model)

    async def _free(self, model: Model) -> bool:
        """Unload a model; false where a conversation uses it. Who asks for it meanwhile has it loaded again."""
        async with self._locked(model.spec):
            if self.is_in_use(model):
                return False
            self._unwanted.discard(model)
            self._loaded.pop(model.spec, None)
            self._last_used.pop(model.spec, None)
            self._n_users.pop(model, None)
            await self._engine.unload(model)
            return True

    @contextlib.asynccontextmanager
    async def _locked(self, spec: ModelSpec) -> AsyncIterator[None]:
        """Be the only one who loads or unloads a model. Of a lock that nobody holds or waits for nothing is kept:
        people name models that there are not."""
        lock = self._locks.setdefault(spec, asyncio.Lock())
        self._n_at_locks[spec] += 1
        try:
            async with lock:
                yield
        finally:
            self._n_at_locks[spec] -= 1
            if not self._n_at_locks[spec]:
                del self._n_at_locks[spec], self._locks[spec]

    def _begin_unloading(self, model: Model) -> None:
        unloading = asyncio.create_task(self._free(model), name=f"unload {model.name}")
        self._unloading.add(unloading)
        unloading.add_done_callback(self._unloading.discard)

    def _note_use(self, spec: ModelSpec, idle_minutes: float) -> None:
        self._last_used[spec] = time.monotonic()
        if idle_minutes > 0 and self._timer is None:
            self._wait(idle_minutes * 60, idle_minutes)

    def _wait(self, seconds: float, idle_minutes: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self._unload_idle, idle_minutes)

    def _unload_idle(self, idle_minutes: float) -> None:
        """Unload what has been idle for so long, and look again when the next one may have been."""
        self._timer = None
        now = time.monotonic()
        for spec, last_used in tuple(self._last_used.items()):
            chat_model = self._loaded.get(spec)
            if chat_model is None or chat_model.model not in self._engine.models:
                self._loaded.pop(spec, None)
                del self._last_used[spec]
            elif now - last_used >= idle_minutes * 60 and self._may_go(chat_model.model):
                log.info("Unloading %s after %g idle minutes", chat_model.model.name, idle_minutes)
                del self._last_used[spec]
                self._begin_unloading(chat_model.model)
        if self._last_used:
            next_idle = min(self._last_used.values()) + idle_minutes * 60
            self._wait(max(next_idle - now, 1.0), idle_minutes)
