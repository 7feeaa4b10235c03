"""The keys that were asked of harmony-ls and of mlx_lm.server, as numbers: ratios of medians with their intervals.

Each ratio says of how many keys it is. It measures nothing.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from harmony_ls.cli.bench.figures import bootstrap_ratio, median, ratio_of_medians, share, wilson_interval
from harmony_ls.cli.bench.inline.replay import KeyRecord
from harmony_ls.cli.bench.inline.rival import RivalAnswer
from harmony_ls.features.inline.request import Reason, Source

__all__ = ["comparison_numbers"]

Numbers = dict[str, Any]


def comparison_numbers(records: Sequence[KeyRecord], seed: int) -> Numbers:
    """What the compared keys say; empty where there are none."""
    pairs = [(record, record.rival) for record in records if record.rival is not None]
    if not pairs:
        return {}
    with_model = [(record, answer) for record, answer in pairs if record.used_model]
    shown = [(record, answer) for record, answer in with_model if record.shown]
    first = [(record.client_first_token_ms, answer.first_token_ms) for record, answer in pairs]
    first_with_model = [(record.client_first_token_ms, answer.first_token_ms) for record, answer in with_model]
    whole = [(record.client_ms, answer.total_ms) for record, answer in pairs]
    paired = {
        "ttft_ratio_vs_mlx_lm_server": first,
        "latency_ratio_vs_mlx_lm_server": whole,
        "ttft_ratio_with_model": first_with_model,
        "latency_ratio_with_model": [(record.client_ms, answer.total_ms) for record, answer in with_model],
        "latency_ratio_shown_with_model": [(record.client_ms, answer.total_ms) for record, answer in shown],
        "latency_ratio_equal_length": [
            (record.client_ms, _at_length(answer, record.generated_tokens)) for record, answer in with_model
        ],
    }
    sides = {key: ([ours for ours, _ in values], [theirs for _, theirs in values]) for key, values in paired.items()}
    outcomes = Counter(record.outcome for record, _ in pairs)
    n_adopted = outcomes[Source.ADOPTED]
    n_timed_out = outcomes[Reason.TIMED_OUT]
    n_without = sum(not record.used_model and record.outcome != Source.ADOPTED for record, _ in pairs)
    n_refused = sum(not record.shown and record.outcome != Reason.TIMED_OUT for record, _ in with_model)
    return {
        **{key: ratio_of_medians(*both) for key, both in sides.items()},
        "n_compared_keys": len(pairs),
        "n_compared_lines": len({(record.block, record.line) for record, _ in pairs}),
        "n_compared_keys_with_model": len(with_model),
        "n_compared_keys_shown_with_model": len(shown),
        "n_compared_refused": n_refused,
        "n_compared_timed_out": n_timed_out,
        "n_compared_adopted": n_adopted,
        "compared_outcomes": dict(outcomes.most_common()),
        "compared_answered_without_model_rate": share(n_without, len(pairs)),
        "compared_ours_first_token_ms_p50": median([ours for ours, _ in first]),
        "compared_ours_ms_p50": median([ours for ours, _ in whole]),
        "compared_ours_with_model_first_token_ms_p50": median([ours for ours, _ in first_with_model]),
        "compared_ours_recomputed_p50": median([record.computed_tokens for record, _ in with_model]),
        "compared_ours_generated_p50": median([record.generated_tokens for record, _ in with_model]),
        "mlx_lm_server_first_token_ms_p50": median([theirs for _, theirs in first]),
        "mlx_lm_server_with_model_first_token_ms_p50": median([theirs for _, theirs in first_with_model]),
        "mlx_lm_server_ms_p50": median([theirs for _, theirs in whole]),
        "mlx_lm_server_recomputed_p50": median([answer.computed_tokens for _, answer in pairs]),
        "mlx_lm_server_generated_p50": median([answer.generated_tokens for _, answer in pairs]),
        "mlx_lm_server_prompt_tokens_p50": median([answer.prompt_tokens for _, answer in pairs]),
        "samples": {
            **{key: len(values) for key, values in paired.items()},
            "compared_answered_without_model_rate": len(pairs),
        },
        "intervals": {
            **{key: bootstrap_ratio(*both, seed) for key, both in sides.items()},
            "compared_answered_without_model_rate": wilson_interval(n_without, len(pairs)),
        },
    }


def _at_length(answer: RivalAnswer, n_tokens: int) -> float:
    """How long the rival's answer would have taken if it had been as long as ours."""
    n_further = answer.generated_tokens - 1
    pace = (answer.total_ms - answer.first_token_ms) / n_further if n_further > 0 else 0.0
    return answer.first_token_ms + pace * max(0, n_tokens - 1)
