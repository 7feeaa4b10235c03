"""``harmony-ls bench tools``: what the tools cost beside the model."""

import statistics
import time
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table

from harmony_ls.cli.bench.document import machine
from harmony_ls.cli.bench.running import Outcome, Say, run_bench
from harmony_ls.edits.parse import parse_patch
from harmony_ls.edits.plan import plan_changes
from harmony_ls.messages import ToolCall
from harmony_ls.settings.models import ToolSettings

__all__ = ["ToolsPlan", "bench_tools"]

_MAX_LOCATE_MS = 50.0
_MEANINGS = {
    "python_warm_ms_p50": "A Python cell in a container that runs, call to answer, median",
    "python_cold_ms_p50": "The first cell of a conversation, its container included, median",
    "locate_ms_p95": "A patch read and placed in a file of 50,000 lines, 95th percentile",
}


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
    numbers: dict[str, float | None] = field(default_factory=lambda: dict.fromkeys(_MEANINGS))


def bench_tools(plan: ToolsPlan, *, as_json: bool) -> int:
    """Measure and show; return the exit code."""
    result = _Result()

    async def work(say: Say) -> None:
        say("Placing patches")
        result.numbers["locate_ms_p95"] = _locate_ms(plan)
        say("Running Python")
        await _python(plan, result.numbers, result.faults)

    return run_bench(work, result, lambda: _document(result), _print, as_json=as_json)


def _document(result: _Result) -> dict[str, Any]:
    return {
        **result.numbers,
        "verdicts": _verdicts(result.numbers),
        "faults": result.faults,
        "partial": result.is_partial,
        "machine": machine(),
    }


def _locate_ms(plan: ToolsPlan) -> float:
    """Reading patches and placing them all over a long file, whose lines come again and again as those of code do."""
    lines = [
        f"    value_{number} = compute({number % 97})" if number % 3 else "    return None"
        for number in range(plan.n_lines)
    ]
    text = "\n".join(lines) + "\n"
    times = []
    for index in range(plan.n_patches):
        place = 3 + (index * 7919) % (plan.n_lines - 10)
        context = [lines[number] for number in range(place - 2, place + 3)]
        if index % 3 == 1:  # as models write: blanks at the ends of lines, and other indentation
            context = [line + "  " for line in context]
        elif index % 3 == 2:
            context = [line.strip() for line in context]
        old = [f" {line}" for line in context[:2]] + [f"-{context[2]}", "+    changed()"]
        hunk = old + [f" {line}" for line in context[3:]]
        patch = "\n".join(["*** Begin Patch", "*** Update File: long.py", "@@", *hunk, "*** End Patch"])
        started = time.perf_counter()
        plan_changes(parse_patch(patch), {"long.py": text})
        times.append((time.perf_counter() - started) * 1000)
    return statistics.quantiles(times, n=20)[-1]


async def _python(plan: ToolsPlan, numbers: dict[str, float | None], faults: list[str]) -> None:
    from harmony_ls.tools.python import python_tool

    call = ToolCall("1", "python", "1 + 1")
    cold: list[float] = []
    for _ in range(plan.n_cold):
        tool = await python_tool(plan.settings)
        if isinstance(tool, str):
            faults.append(tool)
            return
        warm: list[float] = []
        try:
            for times in (cold, *[warm] * plan.n_warm):
                started = time.perf_counter()
                output = await tool.run(call)
                times.append((time.perf_counter() - started) * 1000)
                if output.text != "2":
                    faults.append(output.text)
                    return
        finally:
            await tool.close()
        numbers["python_warm_ms_p50"] = statistics.median(warm)
        numbers["python_cold_ms_p50"] = statistics.median(cold)


def _verdicts(numbers: dict[str, float | None]) -> dict[str, str]:
    located = numbers["locate_ms_p95"]
    verdict = "not measured" if located is None else "met" if located <= _MAX_LOCATE_MS else "missed"
    return {"locate_ms_p95": verdict}


def _print(document: dict[str, Any], console: Console) -> None:
    table = Table("", "ms", "promised")
    for key, meaning in _MEANINGS.items():
        value, verdict = document[key], document["verdicts"].get(key)
        promised = f"<= {_MAX_LOCATE_MS:g}: {verdict}" if verdict else ""
        table.add_row(meaning, "-" if value is None else f"{value:.1f}", promised)
    console.print(table)
