"""The result of a bench as one JSON-able object, of the same shape for all of them.

Numbers stand under their keys at the top level, as the project's targets name them; beside them stand what they mean,
what was promised and the verdicts, and what they were measured on.
"""

import importlib.metadata
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]

from harmony_ls import __version__
from harmony_ls.cli.bench.figures import Interval
from harmony_ls.cli.bench.running import Outcome
from harmony_ls.cli.bench.targets import Target, judge, told_bound

__all__ = ["bench_document"]

_DIGITS = 6


def bench_document(
    bench: str,
    outcome: Outcome,
    targets: Sequence[Target],
    numbers: Mapping[str, Any],
    *,
    samples: Mapping[str, int] | None = None,
    intervals: Mapping[str, Interval | None] | None = None,
    notes: Sequence[str] = (),
    conditions: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The result of a run. A number that has a target is there even if it was not measured: as null.

    ``samples`` says of how many values a number is, ``intervals`` how sure it is (95 %; what is None is left out),
    ``notes`` what a reader must know. ``conditions`` is what else the run was made with, at the top level.
    """
    document = {
        "bench": bench,
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "partial": outcome.is_partial,
        "faults": list(outcome.faults),
        **(conditions or {}),
        "machine": _machine(),
        "versions": _versions(),
        **{target.key: numbers.get(target.key) for target in targets},
        **numbers,
        "samples": dict(samples or {}),
        "intervals": {key: each._asdict() for key, each in (intervals or {}).items() if each is not None},
        "meanings": {target.key: target.meaning for target in targets},
        "targets": {target.key: told for target in targets if (told := told_bound(target, numbers)) is not None},
        "verdicts": {target.key: judge(target, numbers) for target in targets},
        "notes": list(notes),
    }
    return {key: _rounded(value) for key, value in document.items()}


def _rounded(value: Any) -> Any:
    """The same with numbers that a person can read."""
    if isinstance(value, float):
        return round(value, _DIGITS)
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(each) for each in value]
    return value


def _machine() -> dict[str, Any]:
    """What the figures were measured on."""
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


def _versions() -> dict[str, str]:
    """The versions of the programs that a figure depends on."""
    libraries = {name: importlib.metadata.version(name) for name in ("mlx", "mlx-lm", "pygls")}
    return {"harmony-ls": __version__, "python": platform.python_version(), **libraries}
