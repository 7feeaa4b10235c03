"""The numbers of ``harmony-ls bench inline``, in the order in which they are shown."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from harmony_ls.cli.bench.targets import Target

__all__ = ["TARGETS", "targets_for"]

_SLACK_MS = 5.0


def _one_step(numbers: Mapping[str, Any]) -> float | None:
    """Letting go is measured against the machine's own step."""
    step = numbers.get("step_ms_p95")
    return None if step is None else float(step) + _SLACK_MS


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
    Target("cancel_to_idle_ms_p95", "Cancel to idle, 95th percentile (one step + 5 ms)", "ms", "<=", _one_step),
    Target("step_ms_p95", "One step of the same jobs, 95th percentile of moments", "ms"),
    Target("preempt_ratio", "Time to the first token while a chat is written / while idle", "x", "<=", 1.3),
    Target("n_cases", "Code cases asked about", "", ">=", 300),
    Target("exact_match_rate", "Exact rest of the line, nothing held back", "%", ">=", 0.25),
    Target("first_identifier_rate", "First identifier right, nothing held back", "%"),
    Target("show_rate", "Cases in which something is shown", "%"),
    Target("shown_exact_rate", "Of what is shown: exact rest of the line", "%", ">=", 0.40),
    Target("shown_first_identifier_rate", "Of what is shown: first identifier right", "%", ">=", 0.80),
    Target("quiet_rate", "Quiet after a finished statement", "%", ">=", 0.90),
)
"""Like is compared with like before all keys are. All ratios but that of decode speed are ratios of medians."""

_OF_THE_EMBEDDED_MODEL = frozenset(
    {"exact_match_rate", "shown_exact_rate", "shown_first_identifier_rate", "quiet_rate"}
)


def targets_for(*, is_embedded: bool) -> tuple[Target, ...]:
    """The targets of a run: what the answers are worth is promised of the embedded model alone."""
    if is_embedded:
        return TARGETS
    return tuple(
        replace(target, comparison=None, bound=None) if target.key in _OF_THE_EMBEDDED_MODEL else target
        for target in TARGETS
    )
