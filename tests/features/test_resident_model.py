"""The life of the model: loaded once, kept or failed until the settings change, swapped, unloaded when idle."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from harmony_ls.engine.engine import Engine
from harmony_ls.errors import EngineClosedError, ModelError
from harmony_ls.features.completion_models import CompletionModels
from harmony_ls.features.fim_probe import HOLES
from harmony_ls.features.resident_model import ModelState, ModelStatus, ResidentModel
from harmony_ls.settings.models import Settings
from tests.engine.engines import held
from tests.models import (
    FAMILY_MARKERS,
    QWEN_MARKERS,
    Rule,
    TokenizerRecipe,
    build_model,
    build_scripted_model,
)

pytestmark = pytest.mark.usefixtures("cache_folder")

Scripted = Callable[[Sequence[Rule]], Path]
MARKERS = {"prefix": "<|fim_prefix|>", "suffix": "<|fim_suffix|>", "middle": "<|fim_middle|>"}


def naming(folder: Path | str, **fields: object) -> Settings:
    return Settings.model_validate({"model": str(folder), "trust_remote_code": True, **fields})


class Subject:
    """A resident model, its engine and the statuses that it reported."""

    def __init__(self, settings: Settings) -> None:
        self.engine = Engine()
        self.statuses: list[ModelStatus] = []
        self.has_reported = asyncio.Event()
        self.resident = ResidentModel(CompletionModels(self.engine), settings, self._note)

    def _note(self, status: ModelStatus) -> None:
        self.statuses.append(status)
        self.has_reported.set()

    async def __aenter__(self) -> "Subject":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.engine.close()

    @property
    def states(self) -> list[str]:
        """The states in order, repetitions left out."""
        states = [status.state.value for status in self.statuses]
        return [state for index, state in enumerate(states) if index == 0 or states[index - 1] != state]

    @property
    def names(self) -> list[str]:
        return [model.name for model in self.engine.models]


@pytest.fixture
def other_llama(tmp_path: Path) -> Path:
    return build_model(tmp_path / "other-llama", "llama", seed=5)


async def test_it_is_loaded_on_first_use_and_once(tiny_llama: Path) -> None:
    async with Subject(naming(tiny_llama)) as subject:
        assert subject.resident.status.state is ModelState.UNLOADED
        assert subject.resident.loaded is None
        first, *others = await asyncio.gather(*(subject.resident.ready() for _ in range(5)))
        assert all(other is first for other in others)
        assert await subject.resident.ready() is first is subject.resident.loaded
        assert subject.states == ["loading", "ready"]
        assert subject.names == [tiny_llama.name]
        status = subject.statuses[-1]
        assert status.n_bytes > 0
        assert "continues the assistant's turn (no fill-in-the-middle markers)" in status.message
        messages = [status.message for status in subject.statuses]
        assert [message.split()[0] for message in messages[:4]] == ["Loading", "Checking", "Loading", "Reading"]


async def test_untrained_markers_fall_back_and_trained_ones_are_used(
    tiny_qwen2: Path, scripted_model: Scripted
) -> None:
    async with Subject(naming(tiny_qwen2)) as subject:
        ready = await subject.resident.ready()
        assert ready.fim is None
        assert "its markers are untrained" in ready.capability.summary
        assert "probe: 0 of 6 holes" in ready.capability.summary
        assert any(status.message.startswith("Testing fill in the middle") for status in subject.statuses)
    async with Subject(naming(scripted_model([Rule(before, middle) for before, middle, _ in HOLES]))) as subject:
        ready = await subject.resident.ready()
        assert ready.fim is not None
        assert (
            "fill in the middle (Qwen Coder, line after the middle marker); probe: 6 of 6"
            in subject.statuses[-1].capability
        )


@pytest.mark.parametrize(("trained_on", "family"), [("starcoder", "StarCoder"), ("qwen", "Qwen Coder")])
async def test_of_two_families_in_a_vocabulary_the_one_that_fills_the_holes_is_used(
    tmp_path: Path, trained_on: str, family: str
) -> None:
    recipe = TokenizerRecipe(special=(*FAMILY_MARKERS["starcoder"], *QWEN_MARKERS), merged=())
    names = {"starcoder": "<fim_{}>", "qwen": "<|fim_{}|>"}
    markers = {part: names[trained_on].format(part) for part in ("prefix", "suffix", "middle")}
    # Of several lines, so that the prompt in the other family's markers holds no such text.
    holes = [Rule(before, middle) for before, middle, _ in HOLES if "\n" in before]
    folder = build_scripted_model(tmp_path / "both", holes, recipe=recipe, markers=markers)
    async with Subject(naming(folder)) as subject:
        ready = await subject.resident.ready()
        assert ready.fim is not None
        assert ready.fim.family.name == family
        assert f"({family}, " in subject.statuses[-1].capability


async def test_a_failure_is_kept_until_the_settings_change(tmp_path: Path, tiny_llama: Path) -> None:
    folder = tmp_path / "later"
    async with Subject(naming(folder)) as subject:
        for _ in range(3):
            with pytest.raises(ModelError, match="There is no model folder"):
                await subject.resident.ready()
        assert subject.states == ["loading", "error"], "it was tried once"
        assert "There is no model folder" in subject.statuses[-1].message
        await subject.resident.use(naming(tiny_llama))
        await subject.resident.ready()
        assert subject.states == ["loading", "error", "unloaded", "loading", "ready"]


async def test_a_failed_load_is_tried_again_after_any_change_for_inline_completion(tmp_path: Path) -> None:
    folder = tmp_path / "later"
    async with Subject(naming(folder)) as subject:
        with pytest.raises(ModelError):
            await subject.resident.ready()
        build_model(folder, "llama")
        await subject.resident.use(naming(folder, inline_completion={"max_lines": 3}))
        assert (await subject.resident.ready()).model.name == "later"


async def test_another_model_takes_the_place_of_the_first(tiny_llama: Path, other_llama: Path) -> None:
    async with Subject(naming(tiny_llama)) as subject:
        await subject.resident.ready()
        await subject.resident.use(naming(other_llama))
        assert subject.names == []
        assert subject.resident.loaded is None
        assert (await subject.resident.ready()).model.name == other_llama.name
        assert subject.names == [other_llama.name]
        assert subject.states == ["loading", "ready", "unloaded", "loading", "ready"]


async def test_a_swap_while_it_loads_leaves_one_model_and_answers_everyone(tiny_llama: Path, other_llama: Path) -> None:
    async with Subject(naming(tiny_llama)) as subject:
        engine = subject.engine
        await engine._call(lambda: None)  # starts the worker
        async with held(engine._worker):
            waiting = [asyncio.create_task(subject.resident.ready()) for _ in range(3)]
            await subject.has_reported.wait()
            await subject.resident.use(naming(other_llama))
        models = await asyncio.gather(*waiting)
        assert {model.model.name for model in models} == {other_llama.name}
        await engine._call(lambda: None)
        assert subject.names == [other_llama.name]
        assert await engine._call(lambda: len(engine._contexts)) == 1


@pytest.mark.parametrize("message", ["Checking", "Loading tiny", "Reading", "Testing"])
async def test_a_swap_at_any_moment_of_a_load(tiny_qwen2: Path, other_llama: Path, message: str) -> None:
    async with Subject(naming(tiny_qwen2)) as subject:
        reached = asyncio.Event()

        def on_status(status: ModelStatus) -> None:
            subject.statuses.append(status)
            if status.message.startswith(message):
                reached.set()

        subject.resident._on_status = on_status
        waiting = asyncio.create_task(subject.resident.ready())
        await reached.wait()
        await subject.resident.use(naming(other_llama))
        assert (await waiting).model.name == other_llama.name
        await subject.engine._call(lambda: None)
        assert subject.names == [other_llama.name]
        assert await subject.engine._call(lambda: len(subject.engine._contexts)) == 1
        assert subject.states == ["loading", "unloaded", "loading", "ready"]


async def test_there_and_back_again_while_it_loads(tiny_llama: Path, other_llama: Path) -> None:
    async with Subject(naming(tiny_llama)) as subject:
        waiting = asyncio.create_task(subject.resident.ready())
        for folder in (other_llama, tiny_llama, other_llama, tiny_llama):
            await asyncio.sleep(0)
            await subject.resident.use(naming(folder))
        assert (await waiting).model.name == tiny_llama.name
        await subject.engine._call(lambda: None)
        assert subject.names == [tiny_llama.name]


async def test_who_gives_up_does_not_stop_the_load(tiny_llama: Path) -> None:
    async with Subject(naming(tiny_llama)) as subject:
        waiting = asyncio.create_task(subject.resident.ready())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert (await subject.resident.ready()).model.name == tiny_llama.name
        assert subject.states == ["loading", "ready"]


async def test_other_settings_of_the_same_model_load_nothing(tiny_qwen2: Path) -> None:
    async with Subject(naming(tiny_qwen2, inline_completion={"fim": MARKERS})) as subject:
        first = await subject.resident.ready()
        await subject.resident.use(naming(tiny_qwen2, inline_completion={"fim": MARKERS, "layout": "lineAfterMiddle"}))
        second = await subject.resident.ready()
        assert second is not first
        assert second.model is first.model
        assert "line after the middle marker" in subject.statuses[-1].capability
        assert subject.states == ["loading", "ready"]


async def test_wrong_markers_are_an_error_that_right_ones_mend(tiny_qwen2: Path) -> None:
    wrong = naming(tiny_qwen2, inline_completion={"fim": MARKERS | {"middle": "<nothing>"}})
    async with Subject(wrong) as subject:
        with pytest.raises(ModelError, match="<nothing>"):
            await subject.resident.ready()
        await subject.resident.use(naming(tiny_qwen2, inline_completion={"fim": MARKERS}))
        assert (await subject.resident.ready()).fim is not None
        await subject.resident.use(wrong)
        with pytest.raises(ModelError, match="<nothing>"):
            await subject.resident.ready()
        assert subject.states == ["loading", "error", "ready", "error"]
        assert len(subject.names) == 1, "the model itself was never loaded twice"
        await subject.resident.unload()
        assert subject.names == []


async def test_settings_that_change_while_it_loads_are_those_in_force(tiny_qwen2: Path) -> None:
    async with Subject(naming(tiny_qwen2)) as subject:
        waiting = asyncio.create_task(subject.resident.ready())
        await asyncio.sleep(0)
        await subject.resident.use(naming(tiny_qwen2, inline_completion={"fim": MARKERS, "layout": "spm"}))
        ready = await waiting
        assert ready.fim is not None
        assert "suffix first" in ready.capability.summary


async def test_unloading_and_loading_again(tiny_llama: Path) -> None:
    async with Subject(naming(tiny_llama)) as subject:
        await subject.resident.ready()
        await subject.resident.unload()
        assert subject.names == []
        await subject.resident.ready()
        assert subject.states == ["loading", "ready", "unloaded", "loading", "ready"]


async def test_it_is_unloaded_when_nobody_asks_any_more(tiny_llama: Path) -> None:
    async with Subject(naming(tiny_llama, idle_unload_minutes=0.05 / 60)) as subject:
        await subject.resident.ready()
        unloaded = asyncio.Event()
        subject.resident._on_status = lambda status: unloaded.set()
        async with asyncio.timeout(60):
            await unloaded.wait()
            await asyncio.gather(*subject.resident._unloading)
        assert subject.resident.status.state is ModelState.UNLOADED
        assert subject.names == []
        assert (await subject.resident.ready()).model.name == tiny_llama.name


async def test_asking_for_it_puts_the_unloading_off(tiny_llama: Path) -> None:
    """Completions use the loaded model without waiting for it; that is use as well."""
    async with Subject(naming(tiny_llama, idle_unload_minutes=10)) as subject:
        resident = subject.resident
        await resident.ready()
        resident._last_used -= 601
        assert resident.loaded is not None
        resident._unload_if_idle()
        assert not resident._unloading
        resident._last_used -= 601
        resident._unload_if_idle()
        await asyncio.gather(*resident._unloading)
        assert subject.names == []


async def test_after_the_engine_has_closed(tiny_llama: Path) -> None:
    async with Subject(naming(tiny_llama)) as subject:
        await subject.engine.close()
        with pytest.raises(EngineClosedError):
            await subject.resident.ready()


async def test_closing_the_engine_while_it_loads(tiny_llama: Path) -> None:
    async with Subject(naming(tiny_llama)) as subject:
        waiting = asyncio.create_task(subject.resident.ready())
        await subject.has_reported.wait()
        await subject.engine.close()
        with pytest.raises(EngineClosedError):
            await waiting
