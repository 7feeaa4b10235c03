"""``harmony-ls bench chat`` on small real models: the keys that are promised, the faults that are told."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from harmony_ls.cli import app
from harmony_ls.cli.bench.chat.command import ChatPlan, bench_chat
from harmony_ls.cli.bench.chat.numbers import ChatSizes
from harmony_ls.cli.bench.shapes import SHAPES, write_shape
from harmony_ls.engine.engine import Engine
from harmony_ls.engine.models.model import ModelSpec
from tests.models import Rule
from tests.session.support import final, scripted_gpt_oss

SMALL = ChatSizes(
    decode_pairs=2,
    decode_tokens=12,
    prompt_characters=400,
    conversations=1,
    first_turn_tokens=8,
    second_turn_characters=100,
    prefill_tokens=64,
    parsed_tokens=200,
    parser_runs=1,
)


def run(plan: ChatPlan, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any], str]:
    exit_code = bench_chat(plan, as_json=True)
    output = capsys.readouterr()
    return exit_code, json.loads(output.out), output.err


def test_the_promised_numbers_of_both_kinds_of_cache(
    tiny_llama: Path, tiny_gpt_oss: Path, harmony_vocabulary: None, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = ChatPlan(models=(str(tiny_llama), str(tiny_gpt_oss)), sizes=SMALL)
    exit_code, document, _ = run(plan, capsys)
    assert (exit_code, document["faults"], document["partial"]) == (0, [], False)
    assert document["decode_ratio_vs_mlx_lm"] > 0
    assert document["parser_us_per_token"] > 0
    # These two are counts of tokens, so they hold on any machine and at any size.
    assert 0 < document["turn2_prefill_ratio_llama"] <= 1.2
    assert 0 < document["turn2_prefill_ratio_gpt_oss"] <= 1.2
    assert document["verdicts"]["turn2_prefill_ratio_llama"] == "met"
    assert [model["type"] for model in document["models"]] == ["llama", "gpt_oss"]
    assert all(model["n_decode_pairs"] == 2 for model in document["models"])


def test_a_model_that_is_not_there_is_a_fault_and_the_others_are_measured(
    tiny_llama: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = ChatPlan(models=(str(tmp_path / "missing"), str(tiny_llama)), sizes=SMALL)
    exit_code, document, errors = run(plan, capsys)
    assert exit_code == 1
    assert "There is no model folder" in document["faults"][0]
    assert "not measured" in errors
    assert document["turn2_prefill_ratio_llama"] is not None


def test_an_answer_that_is_too_short_to_be_timed_is_a_fault(
    tmp_path: Path, harmony_vocabulary: None, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = scripted_gpt_oss(tmp_path / "brief", [Rule("<|end|><|start|>assistant", final("No."))])
    plan = ChatPlan(models=(str(folder),), sizes=ChatSizes(decode_tokens=200), trust_remote_code=True)
    exit_code, document, _ = run(plan, capsys)
    assert exit_code == 1
    assert "ended its answer after" in document["faults"][0]
    assert document["verdicts"]["decode_ratio_vs_mlx_lm"] == "not measured"


def test_a_shape_that_there_is_not_is_refused() -> None:
    result = CliRunner().invoke(app, ["bench", "chat", "--shape", "gpt-oss-21b"])
    assert result.exit_code == 2
    assert "gpt-oss-21b" in result.output
    assert set(SHAPES) <= words_of(result.output)


def test_the_help_names_every_shape() -> None:
    assert set(SHAPES) <= words_of(CliRunner().invoke(app, ["bench", "chat", "--help"]).output)


def test_models_and_shapes_exclude_each_other() -> None:
    result = CliRunner().invoke(app, ["bench", "chat", "--model", "x", "--shape", "tiny"])
    assert result.exit_code == 2
    assert "exclude each other" in result.output


def words_of(output: str) -> set[str]:
    """The words of a text that was wrapped, and may have a frame."""
    return set(re.findall(r"[\w-]+", output))


@pytest.mark.slow
async def test_a_shape_is_a_model_like_any_other(tmp_path: Path) -> None:
    """It loads, and writes on for as long as it is let: end tokens are silent."""
    async with Engine() as engine:
        folder = await write_shape(engine, SHAPES["gpt-oss"], tmp_path / "gpt-oss")
        model = await engine.load(ModelSpec(str(folder)))
        assert model.model_type == "gpt_oss"
        assert model.tokenizer.token_id("<|call|>") is not None
        assert model.n_parameters > 20_000_000
