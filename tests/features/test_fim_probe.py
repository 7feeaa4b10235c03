"""The proof of the markers: a trained model passes, an untrained one does not, the verdict is remembered."""

import asyncio
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from harmony_ls.engine.engine import Engine
from harmony_ls.engine.models.model import Model, ModelSpec
from harmony_ls.features.fim_probe import HOLES, FimVerdict, probe_fim
from harmony_ls.prompts.fim import FimFormat, detect_format
from tests.engine.engines import loaded
from tests.models import Rule

Scripted = Callable[[Sequence[Rule]], Path]
TRAINED = [Rule(before, middle) for before, middle, _ in HOLES]


def format_of(model: Model) -> FimFormat:
    found = detect_format(model.tokenizer, model.model_type)
    assert found is not None
    return found


async def verdict_on(folder: Path) -> FimVerdict:
    async with loaded(folder) as (engine, model):
        return await probe_fim(engine, model, format_of(model))


async def test_a_trained_model_passes(scripted_model: Scripted, cache_folder: Path) -> None:
    verdict = await verdict_on(scripted_model(TRAINED))
    assert verdict == FimVerdict(len(HOLES), len(HOLES), len(HOLES))
    assert verdict.trained
    assert str(verdict) == "probe: 6 of 6 holes filled exactly, 6 ended by themselves"


async def test_an_untrained_model_fails(tiny_qwen2: Path, cache_folder: Path) -> None:
    verdict = await verdict_on(tiny_qwen2)
    assert verdict.exact == 0
    assert not verdict.trained


@pytest.mark.parametrize(
    ("rules", "exact", "trained"),
    [
        (TRAINED[:2], 2, True),
        (TRAINED[:1], 1, False),
        ([Rule(before, middle + "\n" * 30) for before, middle, _ in HOLES], 6, False),
        ([Rule(before, f" {middle} ") for before, middle, _ in HOLES], 6, True),
        ([Rule(before, "Sure! Here is the code: " * 3) for before, _, _ in HOLES], 0, False),
    ],
    ids=["two holes", "one hole", "runs on", "blanks", "prose"],
)
async def test_verdicts(
    scripted_model: Scripted, cache_folder: Path, rules: list[Rule], exact: int, trained: bool
) -> None:
    verdict = await verdict_on(scripted_model(rules))
    assert verdict.exact == exact
    assert verdict.trained is trained


async def test_the_verdict_is_remembered_by_the_files_of_the_model(
    scripted_model: Scripted, cache_folder: Path
) -> None:
    folder = scripted_model(TRAINED)
    await verdict_on(folder)
    (file,) = (cache_folder / "fim-probe").iterdir()
    file.write_text('{"holes": 6, "exact": 4, "ended": 5}')
    assert (await verdict_on(folder)).exact == 4, "it was recalled"
    weights = folder / "model.safetensors"
    os.utime(weights, (1, 1))
    assert (await verdict_on(folder)).exact == 6, "other weights"
    assert len(list((cache_folder / "fim-probe").iterdir())) == 2


@pytest.mark.parametrize("content", ["", "{", "[]", '{"holes": 6}', '{"holes": "x", "exact": 1, "ended": 1}', "null"])
async def test_a_damaged_memory_is_no_verdict(scripted_model: Scripted, cache_folder: Path, content: str) -> None:
    folder = scripted_model(TRAINED)
    await verdict_on(folder)
    (file,) = (cache_folder / "fim-probe").iterdir()
    file.write_text(content)
    assert (await verdict_on(folder)).exact == 6
    assert "exact" in file.read_text()


def test_a_cache_folder_that_cannot_be_written_is_no_fault(scripted_model: Scripted, cache_folder: Path) -> None:
    cache_folder.parent.mkdir(parents=True)
    cache_folder.write_text("a file where the folder should be")
    assert asyncio.run(verdict_on(scripted_model(TRAINED))).trained


async def test_a_probe_that_is_given_up_leaves_nothing_running(tiny_qwen2: Path, cache_folder: Path) -> None:
    async with Engine() as engine:
        model = await engine.load(ModelSpec(str(tiny_qwen2)))
        probing = asyncio.create_task(probe_fim(engine, model, format_of(model)))
        await asyncio.sleep(0)  # up to its first generation: it waits for nothing before
        (generation,) = engine._generations
        probing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await probing
        await generation.ended()
        assert generation.stats.generated_tokens < 24
