"""The model that completes: loaded on first use, proved, swapped when the settings name another, unloaded when idle.

It reports what it is doing as a ``ModelStatus``; who listens decides how that is shown.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

from harmony_ls.engine.engine import Engine
from harmony_ls.engine.model import LoadProgress, Model, ModelSpec
from harmony_ls.errors import HarmonyLsError, ModelError
from harmony_ls.features.completion_model import Capability, CompletionModel, completion_model
from harmony_ls.features.fim_probe import probe_fim
from harmony_ls.prompts.fim import detect_format
from harmony_ls.settings.models import Settings

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
    """One model that is kept in memory for its users. All methods belong to one event loop."""

    def __init__(self, engine: Engine, settings: Settings, on_status: Callable[[ModelStatus], None]) -> None:
        self._engine = engine
        self._settings = settings
        self._on_status = on_status
        self._loading: asyncio.Task[CompletionModel] | None = None
        self._idle_timer: asyncio.TimerHandle | None = None
        self._unloading: set[asyncio.Task[None]] = set()
        self.status = ModelStatus(ModelState.UNLOADED, _name(_spec(settings)))

    async def ready(self) -> CompletionModel:
        """The model, loaded if need be. Concurrent calls share one load.

        Raises ModelError when it cannot be loaded; the failure is kept until the settings change, so that nobody loads
        a broken model at every key.
        """
        if self._loading is None:
            self._loading = asyncio.create_task(self._load(self._settings), name="load the completion model")
            self._loading.add_done_callback(_retrieve)
        self._restart_idle_timer()
        return await asyncio.shield(self._loading)

    @property
    def loaded(self) -> CompletionModel | None:
        """The model if it is in memory and usable now."""
        task = self._loading
        if task is None or not task.done() or task.cancelled() or task.exception() is not None:
            return None
        return task.result()

    async def use(self, settings: Settings) -> None:
        """Go on with other settings. A changed model is unloaded here and loaded at its first use."""
        old, self._settings = self._settings, settings
        if _spec(old) != _spec(settings):
            await self._drop()
        elif old.inline_completion != settings.inline_completion:
            await self._adapt()
        self._restart_idle_timer()

    async def unload(self) -> None:
        """Free the model's memory; the next use loads it again."""
        await self._drop()

    async def _load(self, settings: Settings) -> CompletionModel:
        spec = _spec(settings)
        name = _name(spec)
        self._report(ModelStatus(ModelState.LOADING, name, message=f"Loading {name}"))

        def on_progress(progress: LoadProgress) -> None:
            if self.status.state is ModelState.LOADING and self.status.model == name:
                self._report(replace(self.status, message=progress.message, progress=progress.fraction))

        try:
            model = await self._engine.load(spec, on_progress)
            ready = await self._prove(model, settings)
        except HarmonyLsError as error:
            self._report(ModelStatus(ModelState.ERROR, name, message=str(error)))
            raise
        except asyncio.CancelledError:
            raise
        except Exception as error:
            log.exception("Loading %s failed", name)
            message = f"{name} cannot be loaded: {type(error).__name__}: {error}"
            self._report(ModelStatus(ModelState.ERROR, name, message=message))
            raise ModelError(message) from error
        self._report(self._ready_status(ready))
        return ready

    async def _prove(self, model: Model, settings: Settings) -> CompletionModel:
        """Probe markers that were detected; markers that a person named, and our own model's, are taken as they are."""
        inline = settings.inline_completion
        found = detect_format(model.tokenizer, model.model_type)
        if model.is_embedded or inline.fim is not None or found is None:
            return completion_model(model, inline, trained=None)
        self._report(replace(self.status, message=f"Testing fill in the middle with {model.name}", progress=None))
        verdict = await probe_fim(self._engine, model, found)
        ready = completion_model(model, inline, trained=verdict.trained)
        capability = ready.capability
        ready.capability = Capability(
            capability.fills_in_the_middle, capability.single_line, f"{capability.summary}; {verdict}"
        )
        return ready

    async def _adapt(self) -> None:
        """Rebuild the prompt format for changed settings around the model that is loaded."""
        ready = self.loaded
        if ready is None:
            return
        self._loading = asyncio.create_task(self._prove(ready.model, self._settings), name="adapt the model")
        try:
            self._report(self._ready_status(await asyncio.shield(self._loading)))
        except ModelError as error:
            self._report(ModelStatus(ModelState.ERROR, ready.model.name, message=str(error)))

    async def _drop(self) -> None:
        task, self._loading = self._loading, None
        self._report(ModelStatus(ModelState.UNLOADED, _name(_spec(self._settings))))
        if task is None:
            return
        if not task.done():
            task.cancel()
        elif not task.cancelled() and task.exception() is None:
            await self._engine.unload(task.result().model)

    def _restart_idle_timer(self) -> None:
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None
        minutes = self._settings.idle_unload_minutes
        if minutes > 0:
            self._idle_timer = asyncio.get_running_loop().call_later(minutes * 60, self._unload_idle)

    def _unload_idle(self) -> None:
        if self.loaded is not None:
            log.info("Unloading %s after %g idle minutes", self.status.model, self._settings.idle_unload_minutes)
            task = asyncio.create_task(self._drop())
            self._unloading.add(task)
            task.add_done_callback(self._unloading.discard)

    def _ready_status(self, ready: CompletionModel) -> ModelStatus:
        model = ready.model
        message = f"{model.name} is ready ({model.precision}, {ready.capability.summary})"
        if model.is_embedded:
            message += ". This is the small model that ships with harmony-ls; name a better one in the setting model"
        return ModelStatus(ModelState.READY, model.name, message, ready.capability.summary, model.n_bytes)

    def _report(self, status: ModelStatus) -> None:
        self.status = status
        self._on_status(status)


def _retrieve(task: asyncio.Task[CompletionModel]) -> None:
    """Mark a failure as seen: it was reported as a status, whether or not somebody waits for the model."""
    if not task.cancelled():
        task.exception()


def _spec(settings: Settings) -> ModelSpec:
    budget = settings.memory_budget_gb
    return ModelSpec(
        reference=settings.model,
        trust_remote_code=settings.trust_remote_code,
        memory_budget_bytes=None if budget is None else int(budget * 1e9),
    )


def _name(spec: ModelSpec) -> str:
    return spec.reference or "embedded"
