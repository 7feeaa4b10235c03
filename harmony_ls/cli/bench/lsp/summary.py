"""From the raw figures of ``harmony-ls bench lsp`` to its numbers, under the keys by which they are known."""

import statistics
from typing import Any

from harmony_ls.cli.bench.figures import (
    Interval,
    bootstrap_median,
    bootstrap_ratio,
    median,
    percentile,
    ratio_of_medians,
    ratio_of_pairs,
)
from harmony_ls.cli.bench.lsp.record import LspRecord

__all__ = ["intervals", "numbers", "samples"]

_SEED = 1


def numbers(record: LspRecord) -> dict[str, Any]:
    """The numbers; None for what was not measured."""
    idle, busy, deep = record.idle, record.busy, record.busy_deep
    was_soaked = record.n_requests > 0
    return {
        "did_change_ms_p50": median(busy.added_ms),
        "did_change_round_trip_ms_p50": median(busy.change_ms),
        "did_change_ms_p99": percentile(busy.change_ms, 99),
        "request_ms_p50": median(busy.request_ms),
        "step_ms": _mean(busy.steps_ms),
        "server_cores": busy.cpu_seconds / busy.seconds if busy.seconds else None,
        "did_change_step_ratio": ratio_of_medians(deep.change_ms, busy.change_ms),
        "steps_ratio": _ratio_of_means(deep.steps_ms, busy.steps_ms),
        "deep_did_change_ms_p50": median(deep.added_ms),
        "deep_did_change_round_trip_ms_p50": median(deep.change_ms),
        "deep_did_change_ms_p99": percentile(deep.change_ms, 99),
        "deep_step_ms": _mean(deep.steps_ms),
        "idle_did_change_ms_p50": median(idle.added_ms),
        "idle_did_change_round_trip_ms_p50": median(idle.change_ms),
        "did_change_cpu_ms": _mean(record.change_cpu_ms),
        "code_action_ms_p95": percentile(record.code_action_ms, 95),
        "chat_decode_ratio": ratio_of_pairs(record.chat_rates, record.mlx_lm_rates),
        "chat_tokens_per_second": median(record.chat_rates),
        "preempt_ratio": ratio_of_medians(record.busy_key_ms, record.idle_key_ms),
        "idle_key_ms_p50": median(record.idle_key_ms),
        "busy_key_ms_p50": median(record.busy_key_ms),
        "n_tool_calls": record.n_tool_calls if record.busy_key_ms else None,
        "rss_growth": _growth(record.resident_bytes),
        "n_unanswered": record.n_unanswered if was_soaked else None,
        "n_surplus": record.n_surplus if was_soaked else None,
        "n_requests": record.n_requests if was_soaked else None,
        "n_edits": record.n_edits if was_soaked else None,
    }


def samples(record: LspRecord) -> dict[str, int]:
    """Of how many values each number is."""
    counts = {
        "did_change_ms_p50": record.busy.n_pairs,
        "did_change_round_trip_ms_p50": len(record.busy.change_ms),
        "did_change_ms_p99": len(record.busy.change_ms),
        "request_ms_p50": len(record.busy.request_ms),
        "did_change_step_ratio": min(len(record.busy.change_ms), len(record.busy_deep.change_ms)),
        "deep_did_change_ms_p50": record.busy_deep.n_pairs,
        "deep_did_change_round_trip_ms_p50": len(record.busy_deep.change_ms),
        "deep_did_change_ms_p99": len(record.busy_deep.change_ms),
        "idle_did_change_ms_p50": record.idle.n_pairs,
        "idle_did_change_round_trip_ms_p50": len(record.idle.change_ms),
        "code_action_ms_p95": len(record.code_action_ms),
        "chat_decode_ratio": min(len(record.chat_rates), len(record.mlx_lm_rates)),
        "preempt_ratio": len(record.busy_key_ms),
        "rss_growth": len(record.resident_bytes),
    }
    return {key: count for key, count in counts.items() if count}


def intervals(record: LspRecord) -> dict[str, Interval | None]:
    """How sure the paired numbers are; None for what was not measured."""
    return {
        "did_change_ms_p50": bootstrap_median(record.busy.added_ms, _SEED),
        "deep_did_change_ms_p50": bootstrap_median(record.busy_deep.added_ms, _SEED),
        "did_change_step_ratio": bootstrap_ratio(record.busy_deep.change_ms, record.busy.change_ms, _SEED),
        "preempt_ratio": bootstrap_ratio(record.busy_key_ms, record.idle_key_ms, _SEED),
    }


def _mean(values: list[float]) -> float | None:
    return statistics.fmean(values) if values else None


def _ratio_of_means(ours: list[float], theirs: list[float]) -> float | None:
    return statistics.fmean(ours) / statistics.fmean(theirs) if ours and theirs else None


def _growth(resident_bytes: list[int]) -> float | None:
    """The last tenth of the samples against the first."""
    tenth = max(1, len(resident_bytes) // 10)
    if len(resident_bytes) < 2:
        return None
    return statistics.median(resident_bytes[-tenth:]) / statistics.median(resident_bytes[:tenth]) - 1
