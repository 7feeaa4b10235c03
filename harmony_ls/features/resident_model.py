"""The model that completes in one window: loaded on first use, proved, swapped when the settings name another, let go
of when idle.

It reports what it is doing as a ``ModelStatus``; who listens decides how that is shown. In memory the model is shared
with all windows that name the same (`harmony_ls.features.completion_models`).
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from harmony_ls.engine.loading.load_progress import LoadProgress
from harmony_ls.engine.models.model import Model, ModelSpec
from harmony_ls.errors import HarmonyLsError, ModelError
from harmony_ls.features.completion_model import Capability, CompletionModel, completion_model, layouts_to_probe
from harmony_ls.features.completion_models import CompletionModels, Hold
from harmony_ls.features.fim_probe import FimVerdict, probe_fim
from harmony_ls.features.model_spec import model_spec
from harmony_ls.prompts.fim import FimFormat, detect_formats
from harmony_ls.settings.models import InlineCompletionSettings, Settings

__all__ = ["ModelState", "ModelStatus", "ResidentModel"]

log = logging.getLogger(__name__)


class ModelState(StrEnum):
    """Where the model is in its life."""

    UNLOADED = "unloaded"
    LOADING = "loading"
    READY = "ready"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """What a person is told of the model. ``progress`` is the fraction of a load that is done, where it is known."""

    state: ModelState
    model: str
    message: str = ""
    capability: str = ""
    n_bytes: int = 0
    progress: float | None = None


class ResidentModel:
    """The model that a window's settings name, in memory from its first use on. All methods belong to one event loop.

    ``models`` are those of all windows.
    """

    def __init__(self, models: CompletionModels, settings: Settings, on_status: Callable[[ModelStatus], None]) -> None:
        self._models = models
        self._settings = settings
        self._on_status = on_status
        self._loading: asyncio.Future[CompletionModel] | None = None
        self._hold: Hold | None = None
        self._model: Model | None = None
        self._last_used = 0.0
        self._idle_timer: asyncio.TimerHandle | None = None
        self._unloading: set[asyncio.Task[None]] = set()
        self.status = ModelStatus(ModelState.UNLOADED, _name(_spec(settings)))

    def join(self) -> None:
        """Take the model at once where another window has it ready; loads nothing."""
        ready = self._models.ready(_spec(self._settings), self._settings.inline_completion)
        if self._loading is not None or ready is None:
            return
        self._keep(_spec(self._settings))
        self._model = ready.model
        self._loading = asyncio.get_running_loop().create_future()
        self._loading.set_result(ready)
        self._note_use()
        self._became_ready(ready, self._settings.inline_completion)

    async def ready(self) -> CompletionModel:
        """The model, loaded if need be. Concurrent calls share one load; who waits while the settings change gets the
        model of the new ones.

        Raises ModelError when it cannot be loaded; the failure is kept until the settings change, so that nobody loads
        a broken model at every key.
        """
        while True:
            if self._has_gone():
                self._loading = None
            self.join()
            if self._loading is None:
                self._begin(self._load(_spec(self._settings)))
            loading = self._loading
            assert loading is not None
            self._note_use()
            try:
                return await asyncio.shield(loading)
            except asyncio.CancelledError:
                was_dropped = loading.cancelled() and self._loading is not loading
                if not was_dropped or _is_being_cancelled():
                    raise

    @property
    def loaded(self) -> CompletionModel | None:
        """The model if it is in memory and usable now. Asking counts as use: it puts off the unloading."""
        ready = self._result()
        if ready is None or not self._models.is_resident(ready.model):
            return None
        self._last_used = time.monotonic()
        return ready

    async def use(self, settings: Settings) -> None:
        """Go on with other settings. A changed model is let go of here and loaded at its first use."""
        old, self._settings = self._settings, settings
        if _spec(old) != _spec(settings):
            await self._drop()
        elif old.inline_completion != settings.inline_completion:
            await self._adapt()
        self._note_use()

    async def unload(self) -> None:
        """Let go of the model, whose memory is freed if no other window uses it; the next use loads it again."""
        await self._drop()

    def close(self) -> None:
        """End with the window. The model stays for the next one, as long as the settings keep an idle model, and is
        loaded on for it."""
        self._on_status = _tell_nobody
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None
        if self._hold is not None:
            self._models.leave(self._hold, self._settings.idle_unload_minutes)
            self._hold = None

    def _result(self) -> CompletionModel | None:
        """What loading came to; None if it is not over, or has failed."""
        loading = self._loading
        if loading is None or not loading.done() or loading.cancelled() or loading.exception() is not None:
            return None
        return loading.result()

    def _has_gone(self) -> bool:
        """Whether the model was here, and somebody else has unloaded it."""
        ready = self._result()
        return ready is not None and not self._models.is_resident(ready.model)

    def _begin(self, work: Coroutine[Any, Any, CompletionModel]) -> None:
        self._loading = asyncio.create_task(work, name="load the completion model")
        self._loading.add_done_callback(_retrieve)

    def _keep(self, spec: ModelSpec) -> Hold:
        """The hold on the model of ``spec``: the one that there is, after a failure."""
        if self._hold is None:
            self._hold = self._models.hold(spec, self._on_progress)
        return self._hold

    def _on_progress(self, progress: LoadProgress) -> None:
        if self.status.state is ModelState.LOADING:
            self._report(replace(self.status, message=progress.message, progress=progress.fraction))

    async def _load(self, spec: ModelSpec) -> CompletionModel:
        name = _name(spec)
        self._report(ModelStatus(ModelState.LOADING, name, message=f"Loading {name}"))
        return await self._reporting(name, self._load_and_prove(self._keep(spec)))

    async def _load_and_prove(self, hold: Hold) -> CompletionModel:
        self._model = await self._models.load(hold)
        return await self._prove(self._model)

    async def _reporting(self, name: str, work: Coroutine[Any, Any, CompletionModel]) -> CompletionModel:
        """What ``work`` gives, with its end as a status. Whatever it raises becomes a ModelError."""
        try:
            ready = await work
        except HarmonyLsError as error:
            self._report(ModelStatus(ModelState.ERROR, name, message=str(error)))
            raise
        except Exception as error:
            log.exception("Loading %s failed", name)
            message = f"{name} cannot be loaded: {type(error).__name__}: {error}"
            self._report(ModelStatus(ModelState.ERROR, name, message=message))
            raise ModelError(message) from error
        self._became_ready(ready, self._settings.inline_completion)
        return ready

    async def _prove(self, model: Model) -> CompletionModel:
        """The model in the way that the settings want it, those of the moment when this ends."""
        while True:
            inline = self._settings.inline_completion
            ready = await self._prove_for(model, inline)
            if inline == self._settings.inline_completion:
                return ready

    async def _prove_for(self, model: Model, inline: InlineCompletionSettings) -> CompletionModel:
        """Probe markers that were detected; markers that a person named, and our own model's, are taken as they are."""
        if (known := self._models.ready(model.spec, inline)) is not None:
            return known
        candidates = detect_formats(model.tokenizer, model.model_type)
        if model.is_embedded or inline.fim is not None or not candidates:
            return completion_model(model, inline, trained=None)
        if self.status.state is ModelState.LOADING:
            self._report(replace(self.status, message=f"Testing fill in the middle with {model.name}", progress=None))
        if len(candidates) > 1:
            # Each as its family was trained: which markers they are decides more than where the line stands.
            candidates = ((await self._best(model, candidates))[0],)
        [found] = candidates
        layouts = layouts_to_probe(found, inline)
        best, verdict = await self._best(model, tuple(replace(found, layout=layout) for layout in layouts))
        ready = completion_model(model, inline, trained=verdict.trained, probed=best)
        capability = ready.capability
        ready.capability = Capability(
            capability.fills_in_the_middle, capability.single_line, f"{capability.summary}; {verdict}"
        )
        return ready

    async def _best(self, model: Model, formats: tuple[FimFormat, ...]) -> tuple[FimFormat, FimVerdict]:
        """The format with which the model fills the most holes, the first of equals, and how it did."""
        verdicts = [(each, await probe_fim(self._models.engine, model, each)) for each in formats]
        return max(verdicts, key=lambda item: (item[1].trained, item[1].exact))

    async def _adapt(self) -> None:
        """Rebuild the prompt format for changed settings around the model that is in memory, or try a failed one again.

        A load that is under way takes the settings of the moment when it ends.
        """
        if self._loading is None or not self._loading.done():
            return
        if self._model is None or not self._models.is_resident(self._model):
            self._loading = None
            self._report(ModelStatus(ModelState.UNLOADED, _name(_spec(self._settings))))
            return
        self._begin(self._reporting(self._model.name, self._prove(self._model)))
        with contextlib.suppress(ModelError):
            await asyncio.shield(self._loading)

    async def _drop(self) -> None:
        """Let go of the model, or give its load up."""
        loading, self._loading = self._loading, None
        hold, self._hold = self._hold, None
        self._model = None
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None
        self._report(ModelStatus(ModelState.UNLOADED, _name(_spec(self._settings))))
        if loading is not None:
            loading.cancel()
            await asyncio.wait({loading})
        if hold is not None:
            await self._models.release(hold)

    def _note_use(self) -> None:
        self._last_used = time.monotonic()
        if self._settings.idle_unload_minutes > 0 and self._idle_timer is None:
            self._await_idleness(self._settings.idle_unload_minutes * 60)

    def _await_idleness(self, seconds: float) -> None:
        self._idle_timer = asyncio.get_running_loop().call_later(seconds, self._unload_if_idle)

    def _unload_if_idle(self) -> None:
        self._idle_timer = None
        minutes = self._settings.idle_unload_minutes
        task = self._loading
        if minutes <= 0 or task is None:
            return
        remaining = self._last_used + minutes * 60 - time.monotonic()
        if remaining > 0 or not task.done():
            self._await_idleness(max(remaining, 1.0))
        elif self._model is not None:
            log.info("Unloading %s after %g idle minutes", self.status.model, minutes)
            unloading = asyncio.create_task(self._drop())
            self._unloading.add(unloading)
            unloading.add_done_callback(self._unloading.discard)

    def _became_ready(self, ready: CompletionModel, inline: InlineCompletionSettings) -> None:
        if self._hold is not None:
            self._hold.ready, self._hold.inline = ready, inline
        self._report(self._ready_status(ready))

    def _ready_status(self, ready: CompletionModel) -> ModelStatus:
        model = ready.model
        message = f"{model.name} is ready ({model.precision}, {ready.capability.summary})"
        if model.is_embedded:
            message += ". This is the small model that ships with harmony-ls; name a better one in the setting model"
        return ModelStatus(ModelState.READY, model.name, message, ready.capability.summary, model.n_bytes)

    def _report(self, status: ModelStatus) -> None:
        self.status = status
        self._on_status(status)


def _tell_nobody(_status: ModelStatus) -> None:
    """A closed window has nobody to tell."""


def _retrieve(task: asyncio.Future[CompletionModel]) -> None:
    """Mark a failure as seen: it was reported as a status, whether or not somebody waits for the model."""
    if not task.cancelled():
        task.exception()


def _is_being_cancelled() -> bool:
    """Whether somebody cancelled the present task, rather than what it waits for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _spec(settings: Settings) -> ModelSpec:
    return model_spec(settings, settings.model)


def _name(spec: ModelSpec) -> str:
    return spec.reference or "embedded"
