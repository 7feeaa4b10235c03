"""``harmony-ls bench inline`` as a program: what it shows, and the page that it writes."""

from pathlib import Path
from typing import Any

from rich.console import Console

from harmony_ls.cli.bench.inline.corpus import installed_packages
from harmony_ls.cli.bench.inline.course import BenchResult, Part, Plan, measure_inline
from harmony_ls.cli.bench.inline.document import as_document
from harmony_ls.cli.bench.inline.table import print_tables
from harmony_ls.cli.bench.running import run_bench

__all__ = ["Part", "Plan", "bench_inline", "installed_packages"]


def bench_inline(plan: Plan, *, as_json: bool, report: Path | None) -> int:
    """Run the bench and show its result; return the exit code."""
    result = BenchResult(plan=plan)
    if report is not None and not report.absolute().parent.is_dir():
        folder = report.absolute().parent
        Console(stderr=True).print(f"harmony-ls: there is no folder {folder}", markup=False, style="red")
        return 1

    def write(document: dict[str, Any], errors: Console) -> None:
        if report is not None:
            from harmony_ls.cli.bench.inline.report import render

            report.write_text(render(document, result), encoding="utf-8")
            errors.print(f"The report is {report.absolute()}", markup=False)

    return run_bench(
        lambda watcher: measure_inline(plan, result, watcher),
        result,
        lambda: as_document(result),
        print_tables,
        as_json=as_json,
        report=write,
    )
