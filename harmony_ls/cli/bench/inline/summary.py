"""From raw records to the numbers of the bench, under the keys by which they are known. It measures nothing."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from harmony_ls.cli.bench.figures import (
    median,
    percentile,
    ratio_of_medians,
    ratio_of_pairs,
    share,
    wilson_interval,
)
from harmony_ls.cli.bench.inline.comparison import comparison_numbers
from harmony_ls.cli.bench.inline.engine_numbers import EngineRecord
from harmony_ls.cli.bench.inline.quality import CaseRecord
from harmony_ls.cli.bench.inline.replay import KeyRecord
from harmony_ls.features.inline.request import Reason, Source

__all__ = ["CALIBRATION_THRESHOLDS", "calibration", "engine_numbers", "quality_numbers", "replay_numbers"]

CALIBRATION_THRESHOLDS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7, 0.8, 0.9)

_GATES = frozenset(
    {
        Reason.DISABLED,
        Reason.EXCLUDED_FILE,
        Reason.DOCUMENT_TOO_LARGE,
        Reason.LINE_TOO_LONG,
        Reason.POSITION_OUTSIDE,
        Reason.NOT_TRIGGERED,
        Reason.DELETING,
        Reason.MID_LINE,
        Reason.NOTHING_TYPED,
        Reason.COMPLETION_LIST,
    }
)

Numbers = dict[str, Any]


def replay_numbers(records: Sequence[KeyRecord], seed: int) -> Numbers:
    """What the replay says, and the comparison where there was one."""
    asked = [record for record in records if record.used_model]
    within = [record.computed_tokens for record in asked if record.column > 0]
    first = [record.computed_tokens for record in asked if record.column == 0]
    outcomes = Counter(record.outcome for record in records)
    n_keys = len(records)
    n_typed = outcomes[Source.TYPED_THROUGH]
    n_cache = outcomes[Source.CACHE]
    n_gated = sum(outcomes[gate] for gate in _GATES)
    latencies = [record.client_ms for record in records]
    numbers: Numbers = {
        "n_keys": n_keys,
        "n_lines": len({(record.block, record.line) for record in records}),
        "n_keys_with_model": len(asked),
        "recomputed_p50": median([record.computed_tokens for record in asked]),
        "recomputed_p95": percentile(within, 95),
        "recomputed_all_keys_p50": median([record.computed_tokens for record in records]),
        "recomputed_first_key_p50": median(first),
        "recomputed_first_key_p95": percentile(first, 95),
        "prompt_tokens_p50": median([record.prompt_tokens for record in asked]),
        "answered_without_model_rate": share(n_typed + n_cache + n_gated, n_keys),
        "answered_by_type_through": share(n_typed, n_keys),
        "answered_by_cache": share(n_cache, n_keys),
        "answered_by_gate": share(n_gated, n_keys),
        "answered_by_running_generation": share(outcomes[Source.ADOPTED], n_keys),
        "key_ms_p50": median(latencies),
        "key_ms_p95": percentile(latencies, 95),
        "key_with_model_ms_p50": median([record.client_ms for record in asked]),
        "key_with_model_ms_p95": percentile([record.client_ms for record in asked], 95),
        "key_first_token_ms_p50": median([record.client_first_token_ms for record in asked]),
        "key_first_token_ms_p95": percentile([record.client_first_token_ms for record in asked], 95),
        "key_show_rate": share(sum(bool(record.shown) for record in records), n_keys),
        "outcomes": dict(outcomes.most_common()),
    }
    numbers["samples"] = {
        "recomputed_p50": len(asked),
        "recomputed_p95": len(within),
        "answered_without_model_rate": n_keys,
    }
    compared = comparison_numbers(records, seed)
    return numbers | compared | {"samples": numbers["samples"] | compared.get("samples", {})}


def engine_numbers(record: EngineRecord) -> Numbers:
    """What the engine's own measurements say; a key is there only where something was measured."""
    numbers: Numbers = {}
    n_pairs = min(len(record.engine_rates), len(record.mlx_lm_rates))
    if n_pairs:
        numbers |= {
            "decode_ratio_vs_mlx_lm": ratio_of_pairs(record.engine_rates, record.mlx_lm_rates),
            "decode_tokens_per_second": median(record.engine_rates),
            "mlx_lm_tokens_per_second": median(record.mlx_lm_rates),
            "n_decode_pairs": n_pairs,
        }
    if record.steps:
        lengths = [step.milliseconds for step in record.steps]
        numbers |= {
            "step_ms_p95": _percentile_of_moments(lengths, 95),
            "n_steps": len(lengths),
            "step_ms_p50": _percentile_of_moments(lengths, 50),
            "decode_step_ms_p50": median([step.milliseconds for step in record.steps if step.phase == "decode"]),
            "prefill_step_ms_p50": median([step.milliseconds for step in record.steps if step.phase == "prefill"]),
        }
    if record.cancel_ms:
        numbers |= {
            "cancel_to_idle_ms_p95": percentile(record.cancel_ms, 95),
            "cancel_to_idle_ms_p50": median(record.cancel_ms),
            "cancel_to_device_idle_ms_p95": percentile(record.device_idle_ms, 95),
            "n_cancels": len(record.cancel_ms),
        }
    if record.idle_first_token_ms and record.busy_first_token_ms:
        numbers |= {
            "preempt_ratio": ratio_of_medians(record.busy_first_token_ms, record.idle_first_token_ms),
            "n_preempt_not_counted": record.n_preempt_not_counted,
            "first_token_idle_ms_p50": median(record.idle_first_token_ms),
            "first_token_during_chat_ms_p50": median(record.busy_first_token_ms),
            "n_preempt_pairs": min(len(record.idle_first_token_ms), len(record.busy_first_token_ms)),
        }
    if numbers:
        counts = {
            "decode_ratio_vs_mlx_lm": "n_decode_pairs",
            "cancel_to_idle_ms_p95": "n_cancels",
            "step_ms_p95": "n_steps",
            "preempt_ratio": "n_preempt_pairs",
        }
        numbers["samples"] = {key: numbers[count] for key, count in counts.items() if count in numbers}
    return numbers


def quality_numbers(records: Sequence[CaseRecord]) -> Numbers:
    """What the cases say."""
    code = [record for record in records if not record.is_finished]
    finished = [record for record in records if record.is_finished]
    shown = [record for record in code if record.shown]
    counted: dict[str, tuple[int, int]] = {
        "exact_match_rate": (sum(record.ungated_exact for record in code), len(code)),
        "first_identifier_rate": (sum(record.ungated_first for record in code), len(code)),
        "shown_exact_rate": (sum(record.shown_exact for record in shown), len(shown)),
        "shown_first_identifier_rate": (sum(record.shown_first for record in shown), len(shown)),
        "show_rate": (len(shown), len(code)),
        "quiet_rate": (sum(not record.shown for record in finished), len(finished)),
    }
    return {
        "n_cases": len(code),
        "n_quiet_cases": len(finished),
        **{key: share(*counts) for key, counts in counted.items()},
        "samples": {key: total for key, (_, total) in counted.items()},
        "quality_by_package": {
            package: {
                "n_cases": len(group),
                "exact_match_rate": share(sum(record.ungated_exact for record in group), len(group)),
                "first_identifier_rate": share(sum(record.ungated_first for record in group), len(group)),
            }
            for package in sorted({record.package for record in code})
            if (group := [record for record in code if record.package == package])
        },
        "quality_outcomes": dict(Counter(record.outcome for record in code).most_common()),
        "quiet_outcomes": dict(Counter(record.outcome for record in finished).most_common()),
        "calibration": calibration(records),
        "intervals": {key: wilson_interval(*counts) for key, counts in counted.items()},
    }


def calibration(records: Sequence[CaseRecord]) -> list[Numbers]:
    """What would be shown at each confidence threshold."""
    code = [record for record in records if not record.is_finished]
    finished = [record for record in records if record.is_finished]
    rows = []
    for threshold in CALIBRATION_THRESHOLDS:
        shown = [record for record in code if record.showable and record.confidence >= threshold]
        disturbed = [record for record in finished if record.showable and record.confidence >= threshold]
        rows.append(
            {
                "threshold": threshold,
                "show_rate": share(len(shown), len(code)),
                "shown_exact_rate": share(sum(record.ungated_exact for record in shown), len(shown)),
                "shown_first_identifier_rate": share(sum(record.ungated_first for record in shown), len(shown)),
                "quiet_rate": share(len(finished) - len(disturbed), len(finished)),
            }
        )
    return rows


def _percentile_of_moments(lengths: Sequence[float], percent: float) -> float | None:
    """The percentile of the length of the step that runs at a random moment: long steps fill more of the time."""
    passed, total = 0.0, sum(lengths)
    for length in sorted(lengths):
        passed += length
        if passed >= total * percent / 100:
            return length
    return None
