"""The result as one JSON-able object: the numbers under their keys, and everything that tells what they mean."""

import importlib.metadata
import os
import platform
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]

from harmony_ls import __version__
from harmony_ls.cli.bench.inline import BenchResult
from harmony_ls.cli.bench.targets import TARGETS, judge
from harmony_ls.features.inline.completer import CONFIDENCE_THRESHOLDS
from harmony_ls.settings.models import Settings

__all__ = ["as_document", "machine", "versions"]

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

_DIGITS = 6


def as_document(result: BenchResult) -> dict[str, Any]:
    """All keys at the top level, as the project's targets name them."""
    numbers = result.numbers
    facts = result.facts
    is_embedded = facts is not None and facts.is_embedded
    settings = Settings().inline_completion
    document = {
        "bench": "inline",
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "partial": result.is_partial,
        "faults": list(result.faults),
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
        "machine": machine(),
        "versions": versions(),
        "packages": result.packages,
        "settings": {
            "eagerness": settings.eagerness,
            "threshold": CONFIDENCE_THRESHOLDS[settings.eagerness],
            "maxTokens": settings.max_tokens,
            "deadlineMs": settings.deadline_ms,
            "blas": None if facts is None else bool(facts.blas_library),
        },
        **{target.key: numbers.get(target.key) for target in TARGETS},
        **{key: value for key, value in numbers.items() if key != "intervals"},
        "intervals": {key: {"low": low, "high": high} for key, (low, high) in numbers["intervals"].items()},
        "notes": [NOTES[key] for key in _notes(result)],
        "verdicts": {target.key: judge(target, numbers, is_embedded=is_embedded) for target in TARGETS},
        "targets": {
            target.key: f"{target.comparison} {round(bound, 3):g}"
            for target in TARGETS
            if target.comparison is not None and (bound := target.bound_of(numbers)) is not None
        },
    }
    return {key: _rounded(value) for key, value in document.items()}


def _notes(result: BenchResult) -> list[str]:
    chosen = ["ratio", "typed_through", "first_token", "refusals"] if result.keys else []
    is_embedded = result.facts is not None and result.facts.is_embedded
    return [*chosen, "thresholds"] if result.cases and is_embedded else chosen


def machine() -> dict[str, Any]:
    """What a figure was measured on."""
    return {
        "system": f"{platform.system()} {platform.release()}",
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "load_1_minute": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }


def _processor() -> str:
    if sys.platform == "linux":
        try:
            for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
        except OSError:
            pass
    return platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    """The versions of the programs that a figure depends on."""
    libraries = {name: importlib.metadata.version(name) for name in ("mlx", "mlx-lm", "pygls")}
    return {"harmony-ls": __version__, "python": platform.python_version(), **libraries}


def _rounded(value: Any) -> Any:
    """The same with numbers that a person can read."""
    if isinstance(value, float):
        return round(value, _DIGITS)
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(each) for each in value]
    return value
