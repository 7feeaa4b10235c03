"""The result of ``harmony-ls bench inline`` as one JSON-able object: its numbers, and how they came about."""

from typing import Any

from harmony_ls.cli.bench.document import bench_document
from harmony_ls.cli.bench.inline.course import BenchResult
from harmony_ls.cli.bench.inline.targets import targets_for
from harmony_ls.features.inline.completer import CONFIDENCE_THRESHOLDS
from harmony_ls.settings.models import Settings

__all__ = ["NOTES", "as_document"]

NOTES = {
    "ratio": "The ratios beside mlx_lm.server, and preempt_ratio, are ratios of medians, ours / theirs. The intervals "
    "are bootstrapped over keys at 95 %; keys of one line are alike, so the true uncertainty is larger.",
    "typed_through": "The replay never accepts a suggestion: every key of it is typed through, and those keys are "
    "answered without the model.",
    "first_token": "The first token is the first that adds to what was typed, or ends the answer; an answer without "
    "the model counts with its whole time.",
    "refusals": "Answers in which nothing is shown, because the model is not sure or the deadline passed, count as "
    "whole answers; latency_ratio_shown_with_model leaves them out.",
    "thresholds": "The confidence thresholds of the embedded model were read off cases of these same packages, so the "
    "shown and quiet rates are somewhat too good. The model itself never saw the packages.",
}
"""What a reader of the numbers must know; a note is in a result that has its numbers."""


def as_document(result: BenchResult) -> dict[str, Any]:
    """The document of a run, in the shape of all benches."""
    numbers = dict(result.numbers)
    samples, intervals = numbers.pop("samples"), numbers.pop("intervals")
    facts = result.facts
    settings = Settings().inline_completion
    return bench_document(
        "inline",
        result,
        targets_for(is_embedded=facts is not None and facts.is_embedded),
        numbers,
        samples=samples,
        intervals=intervals,
        notes=[NOTES[key] for key in _notes(result)],
        conditions={
            "seed": result.plan.seed,
            "seconds": result.seconds,
            "model": None
            if facts is None
            else {
                "name": facts.name,
                "embedded": facts.is_embedded,
                "type": facts.model_type,
                "parameters": facts.n_parameters,
                "precision": facts.precision,
                "capability": facts.capability,
            },
            "packages": result.packages,
            "settings": {
                "eagerness": settings.eagerness,
                "threshold": CONFIDENCE_THRESHOLDS[settings.eagerness],
                "maxTokens": settings.max_tokens,
                "deadlineMs": settings.deadline_ms,
                "blas": None if facts is None else bool(facts.blas_library),
            },
        },
    )


def _notes(result: BenchResult) -> list[str]:
    chosen = ["ratio", "typed_through", "first_token", "refusals"] if result.keys else []
    is_embedded = result.facts is not None and result.facts.is_embedded
    return [*chosen, "thresholds"] if result.cases and is_embedded else chosen
