"""The models that complete, each in memory once for all windows that name it, and as long as one of them does.

A window's side of it, with its settings and its status, is `harmony_ls.features.resident_model`; the models that are
talked to are another matter (`harmony_ls.features.chat.models`).
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from harmony_ls.engine.engine import Engine
from harmony_ls.engine.loading.load_progress import LoadProgress
from harmony_ls.engine.models.model import Model, ModelSpec
from harmony_ls.features.completion_model import CompletionModel, deciding
from harmony_ls.settings.models import InlineCompletionSettings

__all__ = ["CompletionModels", "Hold"]


@dataclass(slots=True, eq=False)
class Hold:
    """What keeps the model of ``spec`` in memory for one window.

    ``ready`` is the model as that window completes with it, under the settings ``inline``, once it is known.
    """

    spec: ModelSpec
    on_progress: Callable[[LoadProgress], None]
    ready: CompletionModel | None = None
    inline: InlineCompletionSettings | None = None


class CompletionModels:
    """The completion models of one engine. All methods belong to one event loop.

    ``unload`` frees a model, unless somebody else needs it; by default the engine does, at once.
    """

    def __init__(self, engine: Engine, unload: Callable[[Model], Awaitable[None]] | None = None) -> None:
        self.engine = engine
        self._unload = engine.unload if unload is None else unload
        self._holds: set[Hold] = set()
        self._left: dict[Hold, asyncio.TimerHandle | None] = {}
        """Those of closed windows, whose models stay for the next one, with what ends that."""
        self._freeing: set[asyncio.Task[None]] = set()

    def hold(self, spec: ModelSpec, on_progress: Callable[[LoadProgress], None]) -> Hold:
        """Keep the model of ``spec`` in memory from now on, once it is loaded: until `release` or `leave`."""
        for left in [each for each in self._left if each.spec == spec]:
            self._forget(left)
        hold = Hold(spec, on_progress)
        self._holds.add(hold)
        return hold

    async def load(self, hold: Hold) -> Model:
        """The model, loaded if it is not in memory. Windows that wait for one share its load, and hear how far it is.

        What no window wants any more makes room first. Raises ModelError where it cannot be loaded, ModelTooLargeError
        where what the others need leaves no room for it.
        """
        spec = hold.spec
        for left in tuple(self._left):
            self._forget(left)
            await self._free(left.spec)

        def report(progress: LoadProgress) -> None:
            for each in tuple(self._holds):
                if each.spec == spec:
                    each.on_progress(progress)

        model = await self.engine.load(spec, report)
        if hold not in self._holds and hold not in self._left:
            await self._free(spec)  # a closed window's, which was to be freed while it was loaded
        return model

    def ready(self, spec: ModelSpec, inline: InlineCompletionSettings) -> CompletionModel | None:
        """The model of ``spec`` as these settings want it, where that is known of another window: it costs nothing."""
        for hold in (*self._holds, *self._left):
            if hold.spec != spec or hold.ready is None or hold.inline is None or not self.is_resident(hold.ready.model):
                continue
            if deciding(hold.inline) == deciding(inline):
                return hold.ready
        return None

    def holds(self, model: Model) -> bool:
        """Whether a window completes with this model."""
        return any(hold.spec == model.spec for hold in self._holds)

    def is_resident(self, model: Model) -> bool:
        """Whether the model is in memory."""
        return any(each is model for each in self.engine.models)

    async def release(self, hold: Hold) -> None:
        """A window does not want its model any more. The last one's is unloaded."""
        self._holds.discard(hold)
        await self._free(hold.spec)

    def leave(self, hold: Hold, idle_minutes: float) -> None:
        """A window was closed. The last one's model stays for the next window: until it has been idle for so long, or
        another model is loaded; 0 minutes are for ever."""
        self._holds.discard(hold)
        hold.on_progress = _ignore
        if not self._is_held(hold.spec):
            loop = asyncio.get_running_loop()
            timer = loop.call_later(idle_minutes * 60, self._free_left, hold) if idle_minutes > 0 else None
            self._left[hold] = timer

    def _is_held(self, spec: ModelSpec) -> bool:
        return any(hold.spec == spec for hold in self._holds)

    def _forget(self, left: Hold) -> None:
        timer = self._left.pop(left, None)
        if timer is not None:
            timer.cancel()

    def _free_left(self, left: Hold) -> None:
        self._forget(left)
        freeing = asyncio.create_task(self._free(left.spec), name="unload a closed window's model")
        self._freeing.add(freeing)
        freeing.add_done_callback(self._freeing.discard)

    async def _free(self, spec: ModelSpec) -> None:
        """Unload the model of ``spec`` unless a window holds it."""
        if self._is_held(spec):
            return
        for model in self.engine.models:
            if model.spec == spec:
                await self._unload(model)


def _ignore(_progress: LoadProgress) -> None:
    """A closed window has nobody to tell."""
