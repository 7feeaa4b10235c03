"""The arithmetic of the bench: statistics, the numbers made of records, the verdicts."""

import io
import json

import pytest
from rich.console import Console

from harmony_ls.cli.bench.document import bench_document
from harmony_ls.cli.bench.figures import (
    Interval,
    bootstrap_ratio,
    median,
    percentile,
    ratio_of_medians,
    ratio_of_pairs,
    share,
    wilson_interval,
)
from harmony_ls.cli.bench.inline.engine_numbers import EngineRecord
from harmony_ls.cli.bench.inline.quality import CaseRecord, first_identifier
from harmony_ls.cli.bench.inline.replay import KeyRecord
from harmony_ls.cli.bench.inline.rival import RivalAnswer
from harmony_ls.cli.bench.inline.summary import engine_numbers, quality_numbers, replay_numbers
from harmony_ls.cli.bench.inline.targets import TARGETS, targets_for
from harmony_ls.cli.bench.running import Outcome
from harmony_ls.cli.bench.table import print_numbers
from harmony_ls.cli.bench.targets import Target, judge, told_bound
from harmony_ls.engine.measuring.measure import Step


def key(
    outcome: str,
    *,
    column: int = 1,
    client_ms: float = 10.0,
    computed: int = 0,
    prompt: int = 0,
    first_token_ms: float | None = None,
    rival: RivalAnswer | None = None,
    shown: str = "",
) -> KeyRecord:
    return KeyRecord(
        block=0,
        line=0,
        column=column,
        inserted="x",
        outcome=outcome,
        detail="",
        client_ms=client_ms,
        server_ms=client_ms - 1,
        first_token_ms=first_token_ms,
        prompt_tokens=prompt,
        computed_tokens=computed,
        generated_tokens=3 if prompt else 0,
        shown=shown,
        rival=rival,
    )


def case(expected: str, ungated: str, confidence: float, shown: str = "") -> CaseRecord:
    return CaseRecord("package", "a.py", 1, expected, ungated, confidence, bool(ungated), shown, "model")


def test_percentiles_are_interpolated() -> None:
    assert percentile([4, 1, 3, 2], 50) == 2.5 == median([4, 1, 3, 2])
    assert percentile([1, 2, 3, 4], 100) == 4
    assert percentile([7], 95) == 7
    assert percentile([], 95) is None
    assert median([]) is None
    assert share(1, 0) is None


def test_wilson_intervals() -> None:
    interval = wilson_interval(81, 263)
    assert interval is not None
    low, high = interval
    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662)
    assert wilson_interval(0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert wilson_interval(0, 0) is None


def test_the_interval_of_a_ratio_holds_the_ratio_and_is_the_same_each_time() -> None:
    ours, theirs = [float(index % 7 + 1) for index in range(60)], [float(index % 5 + 10) for index in range(60)]
    interval = bootstrap_ratio(ours, theirs, seed=1)
    assert interval is not None
    assert interval.low <= 4 / 12 <= interval.high
    assert interval == bootstrap_ratio(ours, theirs, seed=1)
    assert bootstrap_ratio([1.0], [2.0], seed=1) is None


def test_the_numbers_of_a_replay() -> None:
    rival = RivalAnswer(100.0, 200.0, 450, 300, 12, "x")
    records = [
        key("model", column=0, computed=440, prompt=450, first_token_ms=300.0, client_ms=400.0),
        key("model", computed=1, prompt=450, first_token_ms=15.0, client_ms=40.0, rival=rival, shown="x"),
        key("lowConfidence", computed=3, prompt=450, first_token_ms=17.0, client_ms=20.0, rival=rival),
        key("typedThrough", client_ms=2.0, rival=rival, shown="y"),
        key("cache", client_ms=2.0, shown="y"),
        key("deleting", client_ms=1.0),
        key("adopted", client_ms=5.0, shown="z"),
        key("timedOut", client_ms=600.0),
    ]
    numbers = replay_numbers(records, seed=1)
    assert numbers["n_keys"] == 8
    assert numbers["n_keys_with_model"] == 3
    assert numbers["recomputed_p50"] == 3
    assert numbers["recomputed_p95"] == pytest.approx(2.9)
    assert numbers["recomputed_first_key_p50"] == 440
    assert numbers["answered_without_model_rate"] == 3 / 8
    assert numbers["answered_by_gate"] == 1 / 8
    assert numbers["answered_by_running_generation"] == 1 / 8
    # Seen by the client: 40 - 39 + 15 = 16, 20 - 19 + 17 = 18, and 2 for the answer without the model.
    assert numbers["ttft_ratio_vs_mlx_lm_server"] == 16 / 100
    assert numbers["latency_ratio_vs_mlx_lm_server"] == 20 / 200
    assert numbers["ttft_ratio_with_model"] == 17 / 100
    assert numbers["latency_ratio_shown_with_model"] == 40 / 200
    assert (numbers["n_compared_keys"], numbers["n_compared_keys_with_model"]) == (3, 2)
    assert (numbers["n_compared_keys_shown_with_model"], numbers["n_compared_refused"]) == (1, 1)
    assert numbers["compared_answered_without_model_rate"] == 1 / 3
    assert numbers["samples"]["ttft_ratio_with_model"] == 2
    assert numbers["samples"]["ttft_ratio_vs_mlx_lm_server"] == 3
    low, high = numbers["intervals"]["ttft_ratio_with_model"]
    assert 16 / 100 <= low <= 17 / 100 <= high <= 18 / 100
    # Three tokens of its twelve: 100 + 2 * 100 / 11.
    assert numbers["latency_ratio_equal_length"] == pytest.approx(30 / (100 + 200 / 11))


def test_a_replay_without_a_comparison_has_no_ratios() -> None:
    assert "ttft_ratio_vs_mlx_lm_server" not in replay_numbers([key("cache")], seed=1)


def test_the_numbers_of_the_engine() -> None:
    record = EngineRecord(
        engine_rates=[50.0, 60.0, 70.0],
        mlx_lm_rates=[50.0, 50.0],
        steps=[Step("prefill", 200.0), *[Step("decode", 10.0)] * 20],
        cancel_ms=[1.0, 2.0, 3.0],
        device_idle_ms=[2.0, 3.0, 4.0],
        idle_first_token_ms=[20.0],
        busy_first_token_ms=[30.0],
    )
    numbers = engine_numbers(record)
    assert numbers["decode_ratio_vs_mlx_lm"] == pytest.approx(1.1)
    # Half of the time passes in the long step, though it is one of 21.
    assert (numbers["step_ms_p50"], numbers["step_ms_p95"]) == (10.0, 200.0)
    assert numbers["cancel_to_idle_ms_p50"] == 2.0
    assert numbers["preempt_ratio"] == 1.5
    assert engine_numbers(EngineRecord()) == {}


def test_the_numbers_of_the_answers() -> None:
    records = [
        case("name)", "name)", 0.9, shown="name)"),
        case("name)", "name, other)", 0.5, shown="name, other)"),
        case("value", "nothing", 0.1),
        case("value", "", 0.0),
        case("", "more", 0.3, shown="more"),
        case("", "", 0.0),
    ]
    numbers = quality_numbers(records)
    assert (numbers["n_cases"], numbers["n_quiet_cases"]) == (4, 2)
    assert (numbers["exact_match_rate"], numbers["first_identifier_rate"]) == (1 / 4, 2 / 4)
    assert (numbers["show_rate"], numbers["shown_exact_rate"]) == (2 / 4, 1 / 2)
    assert (numbers["shown_first_identifier_rate"], numbers["quiet_rate"]) == (1.0, 1 / 2)
    rows = {row["threshold"]: row for row in numbers["calibration"]}
    assert (rows[0.0]["show_rate"], rows[0.4]["show_rate"], rows[0.9]["show_rate"]) == (3 / 4, 2 / 4, 1 / 4)
    assert (rows[0.0]["quiet_rate"], rows[0.4]["quiet_rate"]) == (1 / 2, 1.0)


@pytest.mark.parametrize(
    ("text", "identifier"), [("self.name)", "self"), ("(3, other)", "other"), (" ) ", ")"), ("_a1 = 2", "_a1")]
)
def test_first_identifier(text: str, identifier: str) -> None:
    assert first_identifier(text) == identifier


def test_verdicts() -> None:
    targets = {
        is_embedded: {target.key: target for target in targets_for(is_embedded=is_embedded)}
        for is_embedded in (True, False)
    }
    assert len(targets[True]) == len(targets[False]) == len(TARGETS)

    def verdict(name: str, *, embedded: bool = True, **numbers: float) -> str:
        return judge(targets[embedded][name], numbers)

    assert verdict("recomputed_p50", recomputed_p50=2) == "met"
    assert verdict("recomputed_p50", recomputed_p50=2.5) == "missed"
    assert verdict("recomputed_p50") == "not measured"
    assert verdict("decode_ratio_vs_mlx_lm", decode_ratio_vs_mlx_lm=0.94) == "missed"
    assert verdict("show_rate", show_rate=0.5) == "not promised"
    assert verdict("show_rate") == "not measured"
    assert verdict("quiet_rate", quiet_rate=0.5) == "missed"
    assert verdict("quiet_rate", quiet_rate=0.5, embedded=False) == "not promised"
    assert verdict("cancel_to_idle_ms_p95", cancel_to_idle_ms_p95=24.0, step_ms_p95=20.0) == "met"
    assert verdict("cancel_to_idle_ms_p95", cancel_to_idle_ms_p95=26.0, step_ms_p95=20.0) == "missed"
    assert verdict("cancel_to_idle_ms_p95", cancel_to_idle_ms_p95=26.0) == "not measured"


def test_a_promise_is_told_as_it_is_judged() -> None:
    targets = {target.key: target for target in TARGETS}
    assert told_bound(targets["recomputed_p50"], {}) == "<= 2"
    assert told_bound(targets["cancel_to_idle_ms_p95"], {"step_ms_p95": 20.0}) == "<= 25"
    assert told_bound(targets["cancel_to_idle_ms_p95"], {}) is None
    assert told_bound(targets["show_rate"], {}) is None


def test_all_benches_tell_their_results_in_one_shape() -> None:
    targets = (Target("speed", "How fast it is", "x", ">=", 0.95), Target("size", "How large it is"))
    outcome = Outcome(faults=["a part"])
    numbers = {"speed": 0.97, "extra": 1 / 3}
    document = bench_document(
        "test",
        outcome,
        targets,
        numbers,
        samples={"speed": 7},
        intervals={"speed": Interval(0.9, 1.0)},
        notes=["Note."],
    )
    assert (document["bench"], document["faults"], document["partial"]) == ("test", ["a part"], False)
    assert (document["speed"], document["size"], document["extra"]) == (0.97, None, 0.333333)
    assert document["verdicts"] == {"speed": "met", "size": "not measured"}
    assert document["targets"] == {"speed": ">= 0.95"}
    assert document["meanings"] == {"speed": "How fast it is", "size": "How large it is"}
    assert document["intervals"] == {"speed": {"low": 0.9, "high": 1.0}}
    paper = io.StringIO()
    print_numbers(json.loads(json.dumps(document)), targets, Console(file=paper, width=200), ["A condition."])
    shown = paper.getvalue()
    assert all(
        text in shown for text in ("0.970", "0.900 … 1.000", ">= 0.95", "met", "not measured", "A condition.", "Note.")
    )


def test_ratios() -> None:
    assert ratio_of_medians([3.0, 1.0, 2.0], [4.0]) == 0.5
    assert ratio_of_medians([], [4.0]) is None
    assert ratio_of_pairs([2.0, 9.0, 8.0], [4.0, 3.0, 8.0]) == 1.0
    assert ratio_of_pairs([2.0, 9.0], [4.0]) == 0.5, "the last pair has only one half"
    assert ratio_of_pairs([], []) is None
