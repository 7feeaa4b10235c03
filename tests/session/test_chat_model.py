"""How a model is spoken to: found out from its architecture, overridden or refused with a reason."""

import json
from pathlib import Path

import pytest

from harmony_ls.engine.engine import Engine
from harmony_ls.engine.generation.request import Sampling
from harmony_ls.engine.models.model import ModelSpec
from harmony_ls.errors import ModelError
from harmony_ls.session.chat_model import load_chat_model
from harmony_ls.session.session import Session
from tests.models import Rule, TokenizerRecipe, build_model
from tests.session.support import answer, chat_model, final, greedy, said, scripted_gpt_oss, text_of, thought


async def test_gpt_oss_is_known_by_its_architecture(tmp_path: Path, harmony_vocabulary: None) -> None:
    async with chat_model(build_model(tmp_path / "qwen", "gpt_oss")) as model:
        assert model.speaks_harmony
        assert model.sampling == Sampling(temperature=1.0)


async def test_a_name_makes_no_gpt_oss(tmp_path: Path) -> None:
    async with chat_model(build_model(tmp_path / "gpt-oss-20b", "llama")) as model:
        assert not model.speaks_harmony
        assert model.sampling == Sampling(temperature=0.7)


async def test_harmony_is_refused_for_a_model_without_its_markers(tiny_llama: Path) -> None:
    with pytest.raises(ModelError, match="no Harmony markers"):
        async with chat_model(tiny_llama, use_harmony=True):
            pass


async def test_harmony_can_be_asked_for_by_its_markers(tmp_path: Path, harmony_vocabulary: None) -> None:
    """A fine-tune may have another architecture and Harmony's vocabulary."""
    special = ("<|startoftext|>", "<|endoftext|>", "<|return|>", "<|constrain|>", "<|channel|>", "<|start|>")
    recipe = TokenizerRecipe(special=(*special, "<|end|>", "<|message|>", "<|call|>"), eos="<|return|>")
    async with chat_model(build_model(tmp_path / "tuned", "llama", recipe=recipe), use_harmony=True) as model:
        assert model.speaks_harmony


async def test_without_harmony_gpt_oss_still_shows_no_markers(tmp_path: Path) -> None:
    """Its own template renders the prompt then, and what it answers is Harmony all the same."""
    after = said("Hello")
    folder = scripted_gpt_oss(tmp_path / "gpt-oss", [Rule(after, final("Hi.", reasoning="They greet."))])
    async with chat_model(folder, use_harmony=False) as model:
        assert not model.speaks_harmony
        events = await answer(Session(model, greedy()), "Hello")
    assert (thought(events), text_of(events)) == ("They greet.", "Hi.")


async def test_without_the_vocabulary_the_models_own_template_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("TIKTOKEN_ENCODINGS_BASE", "TIKTOKEN_RS_CACHE_DIR", "TIKTOKEN_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    for name in ("XDG_CACHE_HOME", "HOME", "TMPDIR"):
        monkeypatch.setenv(name, str(tmp_path / "nothing"))
    folder = scripted_gpt_oss(tmp_path / "gpt-oss", [Rule(said("Hello"), final("Hi."))])
    async with chat_model(folder) as model:
        assert not model.speaks_harmony
        assert text_of(await answer(Session(model, greedy()), "Hello")) == "Hi."
    with pytest.raises(ModelError, match="o200k_base"):
        async with chat_model(folder, use_harmony=True):
            pass


async def test_the_makers_recommendation_is_followed(tmp_path: Path) -> None:
    folder = build_model(tmp_path / "model", "llama")
    file = folder / "generation_config.json"
    config = json.loads(file.read_text())
    file.write_text(json.dumps(config | {"temperature": 0.6, "top_p": 0.95, "top_k": 20}))
    async with chat_model(folder) as model:
        assert model.sampling == Sampling(temperature=0.6, top_p=0.95, top_k=20)
    file.write_text(json.dumps(config | {"temperature": "warm"}))
    async with chat_model(folder) as model:
        assert model.sampling == Sampling(temperature=0.7)


async def test_the_embedded_model_does_not_chat() -> None:
    async with Engine() as engine:
        with pytest.raises(ModelError, match="only completes code"):
            await load_chat_model(engine, ModelSpec())
