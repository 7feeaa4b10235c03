"""Sharded models, in two processes over loopback: the same tokens as with one, and no process is left behind."""

import json
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harmony_ls.engine.distributed.process_group import is_follower, rank
from harmony_ls.engine.distributed.sharding import check_shard_spec, shard_network
from harmony_ls.engine.distributed.step_watch import StepWatch
from harmony_ls.engine.engine import Engine
from harmony_ls.engine.loading.follower import run_follower
from harmony_ls.engine.models.cache_options import CacheOptions
from harmony_ls.engine.models.model import ModelSpec, Shard
from harmony_ls.errors import ModelError
from tests.engine.sharding import PATIENCE_SECONDS, Case, run_ranks, started
from tests.engine.test_adapters import write_adapter
from tests.mlx_thread import run_with_mlx
from tests.models import ModelKind, build_model

SHARDED: dict[str, tuple[ModelKind, Shard, dict[str, Any]]] = {
    "llama by tensor": ("llama", "tensor", {}),
    "quantised qwen2 by pipeline": ("qwen2", "pipeline", {"bits": 8, "config": {"num_hidden_layers": 3}}),
    "gpt_oss by tensor": ("gpt_oss", "tensor", {}),
    "quantised llama by tensor": ("llama", "tensor", {"bits": 4}),
}
DRAFTED = "qwen2 with an adapter and a draft model"


@dataclass(frozen=True)
class Outcome:
    """What became of one case: what rank 0 says, and what the rank that follows logged."""

    result: dict[str, Any]
    errors: list[str]
    n_unloads: int


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory, tiny_llama: Path, tiny_gpt_oss: Path) -> dict[str, Outcome]:
    """All cases whose ranks end in good order, in one group: to start one takes longer than most cases."""
    folder = tmp_path_factory.mktemp("ranks")
    cases = {}
    for name, (kind, shard, options) in SHARDED.items():
        spec = {"reference": str(build_model(folder / name, kind, **options)), "shard": shard}
        cases[name] = Case("compare", (spec, spec))
    qwen2 = build_model(folder / DRAFTED, "qwen2")
    adapter = write_adapter(folder / "adapter", qwen2, scale=0.5)
    spec = {"reference": str(qwen2), "shard": "tensor", "adapter_path": str(adapter), "draft": str(qwen2)}
    cases[DRAFTED] = Case("compare", (spec, spec))
    sound = {"reference": str(tiny_llama), "shard": "tensor"}
    cut = build_model(folder / "cut", "llama")
    weights = cut / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    broken = {"reference": str(cut), "shard": "tensor"}
    cases["leader"] = Case("fail", (broken, sound))
    cases["follower"] = Case("fail", (sound, broken))
    cases["different"] = Case("fail", (sound, {"reference": str(tiny_gpt_oss), "shard": "tensor"}))
    cases["no draft"] = Case("fail", ({**sound, "draft": str(cut)}, sound))
    cases["second"] = Case("refuse a second", (sound, sound))
    own = {"reference": str(build_model(folder / "files", "llama")), "shard": "tensor"}
    cases["files"] = Case("refuse files", (own, own))
    leader, follower = run_ranks(folder, *cases.values())
    assert (leader.code, leader.errors) == (0, "")
    assert (follower.code, follower.errors) == (0, "")
    results, logged = ([json.loads(line) for line in one.output.splitlines()] for one in (leader, follower))
    return {name: Outcome(result, **log) for name, result, log in zip(cases, results, logged, strict=True)}


@pytest.mark.slow
@pytest.mark.parametrize("case", SHARDED)
def test_ranks_write_together_what_one_writes_alone(case: str, outcomes: dict[str, Outcome]) -> None:
    """Interleaved, drawn with a seed, overtaken, given up, with reused prompt caches, and after the model came back."""
    result = outcomes[case].result
    assert result["together"] == result["alone"]
    assert result["again"] == result["alone"]
    assert result["together"][4]["reused"] == 199, "the second round starts from the caches of the first"
    assert result["share"] < 0.8
    assert result["counted_alike"]
    assert outcomes[case].errors == []


@pytest.mark.slow
def test_adapters_and_draft_models_work_with_sharded_models(outcomes: dict[str, Outcome]) -> None:
    result = outcomes[DRAFTED].result
    assert [one["ids"] for one in result["together"]] == [one["ids"] for one in result["alone"]]
    assert [one["ids"] for one in result["again"]] == [one["ids"] for one in result["alone"]]
    assert sum(one["guessed"] for one in result["together"]) > 0
    assert outcomes[DRAFTED].errors == []


@pytest.mark.slow
@pytest.mark.parametrize("which", ["leader", "follower"])
def test_a_part_that_cannot_be_loaded_is_told_on_all_ranks(which: str, outcomes: dict[str, Outcome]) -> None:
    """Both go on afterwards: rank 0 tries again, and then ends in good order."""
    result = outcomes[which].result
    assert result["n_models"] == 0
    first, second = result["messages"]
    assert first == second
    told = {"leader": first, "follower": outcomes[which].errors[0]}
    other = "leader" if which == "follower" else "follower"
    assert "cut short by 100 bytes" in told[which]
    assert f"The process of rank {int(which == 'follower')} could not load its part of the model" in told[other]


@pytest.mark.slow
def test_ranks_that_were_given_different_models_refuse(outcomes: dict[str, Outcome]) -> None:
    assert "different models" in outcomes["different"].result["messages"][0]
    assert "different models" in outcomes["different"].errors[0]


@pytest.mark.slow
def test_a_draft_model_that_cannot_be_loaded_leaves_no_part_of_the_model(outcomes: dict[str, Outcome]) -> None:
    result = outcomes["no draft"].result
    assert result["n_models"] == 0
    assert all("cut short by 100 bytes" in message for message in result["messages"])
    assert outcomes["no draft"].errors == []
    assert outcomes["no draft"].n_unloads == len(result["messages"]) == 2, "each time it had been loaded there"


@pytest.mark.slow
def test_a_second_sharded_model_is_refused_by_name(outcomes: dict[str, Outcome]) -> None:
    result = outcomes["second"].result
    assert "share tiny-llama already" in result["message"]
    assert result["n_tokens"] == 5, "the first goes on"


@pytest.mark.slow
def test_prompt_caches_of_sharded_models_are_not_written(outcomes: dict[str, Outcome]) -> None:
    result = outcomes["files"].result
    assert "spread over several processes" in result["message"]
    assert result["files"] == []


@pytest.mark.slow
def test_who_follows_ends_when_rank_0_is_killed(tmp_path: Path, tiny_llama: Path) -> None:
    spec = {"reference": str(tiny_llama), "shard": "tensor"}
    leader, follower = run_ranks(tmp_path, Case("die", (spec, spec)))
    assert leader.code == -9
    assert follower.code == 1
    assert "tart all" in follower.errors, "between two steps or in the middle of one"
    assert "Traceback" not in follower.errors


@pytest.mark.slow
def test_rank_0_says_so_when_a_rank_was_killed(tmp_path: Path, tiny_llama: Path) -> None:
    spec = {"reference": str(tiny_llama), "shard": "tensor"}
    with started(tmp_path, Case("lose", (spec, spec))) as (leader, follower):
        assert leader.stdout is not None
        assert leader.stdout.readline() == '"loaded"\n'
        follower.kill()
        follower.wait()
        output, _ = leader.communicate("go on\n", timeout=PATIENCE_SECONDS)
    assert leader.returncode == 0
    messages = json.loads(output)["messages"]
    assert len(messages) == 2
    assert all("start all of them again" in message for message in messages)


@pytest.mark.slow
def test_a_rank_that_is_lost_before_the_model_is_loaded_is_told_of(tmp_path: Path, tiny_llama: Path) -> None:
    """Rank 0 meets the others before it looks for the model, which may take as long as a download does."""
    spec = {"reference": str(tiny_llama), "shard": "tensor"}
    with started(tmp_path, Case("lose while loading", (spec, spec))) as (leader, follower):
        assert leader.stdout is not None
        assert leader.stdout.readline() == '"joined"\n'
        follower.kill()
        follower.wait()
        output, errors = leader.communicate("go on\n", timeout=PATIENCE_SECONDS)
    assert leader.returncode == 0
    assert "A process was lost while the model was loaded" in json.loads(output)["message"]
    assert "Traceback" not in errors


def test_a_watch_that_is_closed_leaves_no_thread() -> None:
    watch = StepWatch(3600, lambda: None)
    with watch.step():
        pass
    thread = watch._thread
    assert thread is not None
    watch.close()
    thread.join(60)
    assert not thread.is_alive()


def test_a_step_that_does_not_end_is_noticed() -> None:
    stuck = threading.Event()
    watch = StepWatch(0.05, stuck.set)
    with watch.step():
        assert stuck.wait(60)


def test_steps_that_end_in_time_wake_nobody() -> None:
    stuck = threading.Event()
    watch = StepWatch(3600, stuck.set)
    with watch.step():
        pass
    assert not stuck.is_set()


async def test_a_process_that_was_started_alone_cannot_shard(tiny_llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLX_RANK", "MLX_HOSTFILE"):
        monkeypatch.delenv(name, raising=False)
    assert not is_follower()
    async with Engine() as engine:
        with pytest.raises(ModelError, match=r"needs several processes.*mlx\.launch"):
            await engine.load(ModelSpec(str(tiny_llama), shard="tensor"))
        await engine.load(ModelSpec(str(tiny_llama)))


def test_following_nobody_is_refused(tiny_llama: Path) -> None:
    with pytest.raises(ModelError, match="needs several processes"):
        run_with_mlx(lambda: run_follower(ModelSpec(str(tiny_llama), shard="tensor")))


@pytest.mark.parametrize(("variable", "value", "expected"), [("MLX_RANK", "1", 1), ("OMPI_COMM_WORLD_RANK", "3", 3)])
def test_ranks_are_told_by_the_launcher(
    variable: str, value: str, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    assert rank() == expected
    assert is_follower()


def test_ways_that_an_architecture_does_not_know_are_refused(tiny_llama: Path) -> None:
    def shard() -> None:
        import mlx.core as mx
        from mlx_lm.utils import load_model

        network, _ = load_model(tiny_llama, lazy=True)
        shard_network(network, mx.distributed.init(), "pipeline", "tiny-llama")

    with pytest.raises(ModelError, match=r'cannot shard tiny-llama by "pipeline"\. Shard by "tensor"'):
        run_with_mlx(shard)


def test_heads_that_cannot_be_shared_are_refused() -> None:
    spec = ModelSpec("model", shard="tensor")
    check_shard_spec(spec, 2, {"num_attention_heads": 4, "num_key_value_heads": 2}, "model")
    with pytest.raises(ModelError, match="cannot share the 2 heads of model"):
        check_shard_spec(spec, 4, {"num_attention_heads": 4, "num_key_value_heads": 2}, "model")
    with pytest.raises(ModelError, match="cannot share the 6 heads"):
        check_shard_spec(spec, 4, {"text_config": {"num_attention_heads": 6}}, "model")
    for options in (CacheOptions(kv_bits=8), CacheOptions(max_kv_size=64)):
        with pytest.raises(ModelError, match="Unset kv_bits and max_kv_size"):
            check_shard_spec(ModelSpec("model", shard="pipeline", cache_options=options), 2, {}, "model")
