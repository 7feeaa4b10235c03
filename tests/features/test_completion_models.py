"""Several windows around the models that complete: each has the one that its settings name, once in memory for all."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from harmony_ls.engine.engine import Engine
from harmony_ls.engine.models.model import Model
from harmony_ls.errors import ModelTooLargeError
from harmony_ls.features.completion_models import CompletionModels
from harmony_ls.features.resident_model import ModelState, ModelStatus, ResidentModel
from harmony_ls.settings.models import Settings
from tests.engine.engines import held
from tests.features.test_resident_model import naming
from tests.models import build_model

pytestmark = pytest.mark.usefixtures("cache_folder")


class Windows:
    """The windows of one engine."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.models = CompletionModels(engine, self._unload)
        self.statuses: dict[str, list[ModelStatus]] = {}
        self.told: dict[str, asyncio.Event] = {}
        self.unloaded = asyncio.Event()

    def open(self, name: str, settings: Settings) -> ResidentModel:
        self.statuses[name], self.told[name] = [], asyncio.Event()

        def note(status: ModelStatus) -> None:
            self.statuses[name].append(status)
            self.told[name].set()

        return ResidentModel(self.models, settings, note)

    async def _unload(self, model: Model) -> None:
        await self.engine.unload(model)
        self.unloaded.set()

    @property
    def resident(self) -> list[str]:
        """The names of the models in memory."""
        return [model.name for model in self.engine.models]


@asynccontextmanager
async def windows() -> AsyncIterator[Windows]:
    async with Engine() as engine:
        yield Windows(engine)


@pytest.fixture
def other_llama(tmp_path: Path) -> Path:
    return build_model(tmp_path / "other-llama", "llama", seed=5)


async def test_each_window_has_the_model_that_its_settings_name(tiny_llama: Path, other_llama: Path) -> None:
    async with windows() as subject:
        a, b = subject.open("a", naming(tiny_llama)), subject.open("b", naming(other_llama))
        assert (await a.ready()).model.name == tiny_llama.name
        assert (await b.ready()).model.name == other_llama.name
        told = len(subject.statuses["a"])
        await b.use(naming(other_llama, inline_completion={"eagerness": "quiet"}))
        await b.use(naming(tiny_llama))
        assert a.loaded is not None
        assert a.loaded.model.name == tiny_llama.name
        assert len(subject.statuses["a"]) == told, "nothing has changed for it"
        assert subject.resident == [tiny_llama.name], "nobody wants the other one any more"


async def test_windows_that_name_the_same_model_share_it_and_its_load(tiny_llama: Path) -> None:
    async with windows() as subject:
        a, b = subject.open("a", naming(tiny_llama)), subject.open("b", naming(tiny_llama))
        await subject.engine._call(lambda: None)  # starts the worker
        async with held(subject.engine._worker):
            waiting = [asyncio.create_task(each.ready()) for each in (a, b)]
            await asyncio.gather(*(told.wait() for told in subject.told.values()))
        first, second = await asyncio.gather(*waiting)
        assert first.model is second.model
        assert subject.resident == [tiny_llama.name]
        for statuses in subject.statuses.values():
            assert "Reading" in {status.message.split()[0] for status in statuses}, "each hears how far the load is"
            assert statuses[-1].state is ModelState.READY


async def test_a_window_that_gives_up_leaves_the_load_to_the_others(tiny_llama: Path, other_llama: Path) -> None:
    async with windows() as subject:
        a, b = subject.open("a", naming(tiny_llama)), subject.open("b", naming(tiny_llama))
        await subject.engine._call(lambda: None)
        async with held(subject.engine._worker):
            waiting = [asyncio.create_task(each.ready()) for each in (a, b)]
            await asyncio.gather(*(told.wait() for told in subject.told.values()))
            await a.use(naming(other_llama))
        first, second = await asyncio.gather(*waiting)
        assert (first.model.name, second.model.name) == (other_llama.name, tiny_llama.name)
        assert sorted(subject.resident) == sorted([other_llama.name, tiny_llama.name])


async def test_a_window_takes_what_another_has_ready_at_once(tiny_llama: Path) -> None:
    async with windows() as subject:
        a, b = subject.open("a", naming(tiny_llama)), subject.open("b", naming(tiny_llama))
        b.join()
        assert b.loaded is None, "there is none"
        ready = await a.ready()
        b.join()
        assert b.loaded is ready
        assert [status.state for status in subject.statuses["b"]] == [ModelState.READY]
        other = subject.open("other", naming(tiny_llama, inline_completion={"prefix_tokens": 100}))
        other.join()
        assert other.loaded is None, "its prompts are others"
        assert (await other.ready()).limits != ready.limits
        assert a.loaded is ready
        assert subject.resident == [tiny_llama.name]


async def test_the_last_window_that_wants_a_model_takes_it_out_of_memory(tiny_llama: Path) -> None:
    async with windows() as subject:
        a, b = subject.open("a", naming(tiny_llama)), subject.open("b", naming(tiny_llama))
        await a.ready()
        await b.ready()
        await a.unload()
        assert subject.resident == [tiny_llama.name]
        assert a.status.state is ModelState.UNLOADED
        assert b.loaded is not None
        await b.unload()
        assert subject.resident == []


async def test_a_closed_windows_model_stays_for_the_next_and_goes_where_another_is_loaded(
    tiny_llama: Path, other_llama: Path
) -> None:
    async with windows() as subject:
        a = subject.open("a", naming(tiny_llama))
        model = (await a.ready()).model
        a.close()
        assert subject.resident == [tiny_llama.name]
        b = subject.open("b", naming(tiny_llama))
        assert (await b.ready()).model is model
        c = subject.open("c", naming(other_llama))
        await c.ready()
        assert sorted(subject.resident) == sorted([other_llama.name, tiny_llama.name]), "the first is wanted again"
        b.close()
        d = subject.open("d", naming(tiny_llama, memory_budget_gb=1))
        await d.ready()
        assert [each.spec.memory_budget_bytes for each in subject.engine.models] == [None, 10**9]
        assert model not in subject.engine.models


async def test_a_closed_windows_model_goes_when_it_has_been_idle(tiny_llama: Path) -> None:
    async with windows() as subject:
        a = subject.open("a", naming(tiny_llama, idle_unload_minutes=0.05 / 60))
        model = (await a.ready()).model
        a.close()
        async with asyncio.timeout(60):
            await subject.unloaded.wait()
        assert not subject.models.is_resident(model)


@pytest.mark.parametrize("is_next", [True, False])
async def test_a_window_that_is_closed_while_its_model_loads_leaves_it_to_the_next(
    tiny_llama: Path, other_llama: Path, is_next: bool
) -> None:
    async with windows() as subject:
        a = subject.open("a", naming(tiny_llama))
        b = subject.open("b", naming(tiny_llama if is_next else other_llama))
        await subject.engine._call(lambda: None)
        async with held(subject.engine._worker):
            given_up = asyncio.create_task(a.ready())
            await subject.told["a"].wait()
            given_up.cancel()
            a.close()
            with pytest.raises(asyncio.CancelledError):
                await given_up
            waiting = asyncio.create_task(b.ready())
            await subject.told["b"].wait()
        ready = await waiting
        assert len(subject.statuses["a"]) == 1
        if is_next:
            assert not subject.unloaded.is_set()
        else:  # it may be loaded after the other one
            async with asyncio.timeout(60):
                await subject.unloaded.wait()
        assert subject.resident == [ready.model.name]


async def test_a_model_beside_which_there_is_no_room_is_refused(tiny_llama: Path, other_llama: Path) -> None:
    async with windows() as subject:
        a = subject.open("a", naming(tiny_llama))
        n_bytes = (await a.ready()).model.n_bytes
        b = subject.open("b", naming(other_llama, memory_budget_gb=1.5 * n_bytes / 1e9))
        with pytest.raises(ModelTooLargeError, match="of which other models take"):
            await b.ready()
        assert b.status.state is ModelState.ERROR
        assert a.loaded is not None, "the window that has one keeps it"
        a.close()
        await b.use(naming(other_llama, memory_budget_gb=1.6 * n_bytes / 1e9))
        assert (await b.ready()).model.name == other_llama.name, "a closed window's model makes room"
        assert subject.resident == [other_llama.name]


async def test_a_model_that_somebody_else_has_unloaded_is_loaded_again(tiny_llama: Path) -> None:
    async with windows() as subject:
        a = subject.open("a", naming(tiny_llama))
        gone = (await a.ready()).model
        await subject.engine.unload(gone)
        assert a.loaded is None
        assert (await a.ready()).model is not gone
        assert a.status.state is ModelState.READY
