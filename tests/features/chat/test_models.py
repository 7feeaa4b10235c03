"""The models that are talked to: who shares them, and when they go."""

import asyncio
import gc
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from harmony_ls.engine.engine import Engine
from harmony_ls.engine.models.model import ModelSpec
from harmony_ls.errors import ModelError
from harmony_ls.features.chat.models import ChatModels
from harmony_ls.settings.models import Settings
from tests.models import Rule, build_model


def settings_of(folder: Path, **more: object) -> Settings:
    return Settings.model_validate({"chat": {"model": str(folder)}, "trustRemoteCode": True, **more})


@pytest.fixture
def folder(scripted_model: Callable[[Sequence[Rule]], Path]) -> Path:
    return scripted_model([Rule("hello", "world")])


async def test_two_that_ask_at_once_share_one_load(folder: Path) -> None:
    async with Engine() as engine:
        models = ChatModels(engine)

        async def ask() -> object:
            async with models.using(settings_of(folder)) as chat_model:
                return chat_model

        first, second = await asyncio.gather(ask(), ask())
        assert first is second
        assert len(engine.models) == 1


async def test_a_model_that_is_in_use_is_unloaded_when_it_no_longer_is(folder: Path) -> None:
    async with Engine() as engine:
        models = ChatModels(engine)
        async with models.using(settings_of(folder)) as chat_model:
            await models.unload(chat_model.model)
            assert engine.models == (chat_model.model,)
            assert models.is_in_use(chat_model.model)
        for _ in range(1000):  # it goes in a task of its own
            if not engine.models:
                break
            await asyncio.sleep(0)
        assert engine.models == ()


async def test_a_model_that_is_asked_for_while_it_is_about_to_go_stays(folder: Path) -> None:
    async with Engine() as engine:
        models = ChatModels(engine)
        async with models.using(settings_of(folder)) as chat_model:
            await models.unload(chat_model.model)
        async with models.using(settings_of(folder)) as again:
            for _ in range(1000):
                await asyncio.sleep(0)
            assert again.model in engine.models


async def test_a_model_that_somebody_else_unloaded_is_loaded_again(folder: Path) -> None:
    async with Engine() as engine:
        models = ChatModels(engine)
        async with models.using(settings_of(folder)) as before:
            pass
        await engine.unload(before.model)
        async with models.using(settings_of(folder)) as after:
            assert engine.models == (after.model,)
        assert after.model is not before.model


async def test_an_idle_model_makes_room_for_the_next(tmp_path: Path) -> None:
    small, large = build_model(tmp_path / "small", "llama"), build_model(tmp_path / "large", "llama", seed=1)
    async with Engine() as engine:
        models = ChatModels(engine)
        async with models.using(settings_of(small)) as chat_model:
            n_bytes = chat_model.model.n_bytes
        tight = 1.5 * n_bytes / 1e9
        async with models.using(settings_of(small, memoryBudgetGb=tight)) as chat_model:
            first = chat_model.model
        async with models.using(settings_of(large, memoryBudgetGb=tight)) as chat_model:
            assert chat_model.model.path == large
        assert first not in engine.models


async def test_the_embedded_model_cannot_chat() -> None:
    async with Engine() as engine:
        with pytest.raises(ModelError, match=r"cannot chat.*chat\.model"):
            async with ChatModels(engine).using(Settings()):
                pass
        assert engine.models == ()


async def test_nothing_is_kept_of_models_that_there_are_not(tmp_path: Path) -> None:
    async with Engine() as engine:
        models = ChatModels(engine)
        for number in range(20):
            with pytest.raises(ModelError):
                async with models.using(settings_of(tmp_path / f"typo{number}")):
                    pass
        gc.collect()
        named = {each.reference for each in gc.get_objects() if isinstance(each, ModelSpec)}
        typos = [reference for reference in named if reference.startswith(str(tmp_path / "typo"))]
        assert len(typos) <= 1, "the last error may still hold its own"
        async with models.using(settings_of(build_model(tmp_path / "typo0", "llama"))) as chat_model:
            assert chat_model.model in engine.models, "a name that has come to be that of a model"
