"""The numbers that the program promises, and the verdict on each that was measured."""

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["TARGETS", "Target", "Verdict", "judge"]

Verdict = Literal["met", "missed", "not measured", "not promised"]
Unit = Literal["", "tokens", "%", "ms", "x"]

_SLACK_MS = 5.0


@dataclass(frozen=True, slots=True)
class Target:
    """One promised number: its key, what it means, and its bound. ``embedded_only``: no promise for other models."""

    key: str
    meaning: str
    unit: Unit
    comparison: Literal["<=", ">="] | None = None
    bound: float | None = None
    embedded_only: bool = False

    def bound_of(self, numbers: Mapping[str, Any]) -> float | None:
        """The bound; letting go is measured against the machine's own step."""
        if self.key == "cancel_to_idle_ms_p95":
            step = numbers.get("step_ms_p95")
            return None if step is None else float(step) + _SLACK_MS
        return self.bound


TARGETS: tuple[Target, ...] = (
    Target("recomputed_p50", "Prompt tokens recomputed per key that asked the model, median", "tokens", "<=", 2),
    Target("recomputed_p95", "The same within a line, 95th percentile", "tokens", "<=", 64),
    Target("ttft_ratio_with_model", "First token, ours / mlx_lm.server, keys that asked the model", "x"),
    Target("ttft_ratio_vs_mlx_lm_server", "The same for all keys, those answered without it too", "x", "<=", 0.2),
    Target("latency_ratio_with_model", "Whole answer, ours / mlx_lm.server, keys that asked the model", "x"),
    Target("latency_ratio_shown_with_model", "The same, only keys at which the model's text is shown", "x"),
    Target("latency_ratio_equal_length", "The same, mlx_lm.server's answers cut to the length of ours", "x"),
    Target("latency_ratio_vs_mlx_lm_server", "The same for all keys, those answered without it too", "x", "<=", 0.4),
    Target("compared_answered_without_model_rate", "Of the compared keys: answered without the model", "%"),
    Target("answered_without_model_rate", "Of all keys: answered without the model", "%"),
    Target("decode_ratio_vs_mlx_lm", "Decode speed, engine / mlx-lm alone", "x", ">=", 0.95),
    Target("cancel_to_idle_ms_p95", "Cancel to idle, 95th percentile (one step + 5 ms)", "ms", "<="),
    Target("step_ms_p95", "One step of the same jobs, 95th percentile of moments", "ms"),
    Target("preempt_ratio", "Time to the first token while a chat is written / while idle", "x", "<=", 1.3),
    Target("n_cases", "Code cases asked about", "", ">=", 300),
    Target("exact_match_rate", "Exact rest of the line, nothing held back", "%", ">=", 0.25, embedded_only=True),
    Target("first_identifier_rate", "First identifier right, nothing held back", "%"),
    Target("show_rate", "Cases in which something is shown", "%"),
    Target("shown_exact_rate", "Of what is shown: exact rest of the line", "%", ">=", 0.40, embedded_only=True),
    Target(
        "shown_first_identifier_rate",
        "Of what is shown: first identifier right",
        "%",
        ">=",
        0.80,
        embedded_only=True,
    ),
    Target("quiet_rate", "Quiet after a finished statement", "%", ">=", 0.90, embedded_only=True),
)
"""In the order in which they are shown: like is compared with like before all keys are. All ratios but that of decode
speed are ratios of medians. Those without a comparison are told, not promised."""

_COMPARE: dict[str, Callable[[float, float], bool]] = {"<=": operator.le, ">=": operator.ge}


def judge(target: Target, numbers: Mapping[str, Any], *, is_embedded: bool) -> Verdict:
    """Whether a number keeps its promise."""
    value, bound = numbers.get(target.key), target.bound_of(numbers)
    if value is None:
        return "not measured"
    if target.comparison is None or (target.embedded_only and not is_embedded):
        return "not promised"
    if bound is None:
        return "not measured"
    return "met" if _COMPARE[target.comparison](value, bound) else "missed"
