"""``harmony-ls bench tools``: its numbers, and what is promised of them."""

from dataclasses import dataclass, field
from typing import Any

from harmony_ls.cli.bench.document import bench_document
from harmony_ls.cli.bench.figures import median, percentile
from harmony_ls.cli.bench.running import Outcome, Watcher, run_bench
from harmony_ls.cli.bench.table import print_numbers
from harmony_ls.cli.bench.targets import Target
from harmony_ls.cli.bench.tools.numbers import ToolsRecord, place_patches, run_python
from harmony_ls.errors import UserError
from harmony_ls.settings.models import ToolSettings

__all__ = ["TARGETS", "ToolsPlan", "bench_tools"]

TARGETS: tuple[Target, ...] = (
    Target("python_warm_ms_p50", "A Python cell in a container that runs, call to answer, median", "ms"),
    Target("python_cold_ms_p50", "The first cell of a conversation, its container included, median", "ms"),
    Target("locate_ms_p95", "A patch read and placed in a file of 50,000 lines, 95th percentile", "ms", "<=", 50.0),
)


@dataclass(frozen=True, slots=True)
class ToolsPlan:
    """How often each is done, and with which settings."""

    settings: ToolSettings = field(default_factory=ToolSettings)
    n_warm: int = 50
    n_cold: int = 5
    n_patches: int = 60
    n_lines: int = 50_000


@dataclass(slots=True)
class _Result(Outcome):
    record: ToolsRecord = field(default_factory=ToolsRecord)


def bench_tools(plan: ToolsPlan, *, as_json: bool) -> int:
    """Measure and show; return the exit code."""
    result = _Result()

    async def work(watcher: Watcher) -> None:
        watcher.begin("Placing patches", None)
        place_patches(result.record, plan.n_patches, plan.n_lines)
        watcher.begin("Running Python", None)
        try:
            await run_python(result.record, plan.settings, plan.n_cold, plan.n_warm)
        except UserError as error:
            result.faults.append(str(error))

    return run_bench(
        work,
        result,
        lambda: _document(result),
        lambda document, console: print_numbers(document, TARGETS, console),
        as_json=as_json,
    )


def _document(result: _Result) -> dict[str, Any]:
    record = result.record
    numbers = {
        "python_warm_ms_p50": median(record.warm_ms),
        "python_cold_ms_p50": median(record.cold_ms),
        "locate_ms_p95": percentile(record.locate_ms, 95),
    }
    samples = {
        "python_warm_ms_p50": len(record.warm_ms),
        "python_cold_ms_p50": len(record.cold_ms),
        "locate_ms_p95": len(record.locate_ms),
    }
    return bench_document("tools", result, TARGETS, numbers, samples=samples)
