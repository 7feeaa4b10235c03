"""``harmony-ls bench inline`` as a program: progress on stderr, the result as a table or as JSON, the page, exit codes.

0: all parts were measured. 1: one failed, or nothing could be measured. 130: interrupted; what there is, is shown.
A missed target is a result, not an error.
"""

import asyncio
import json
import logging
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from harmony_ls.cli.bench.corpus import installed_packages
from harmony_ls.cli.bench.document import as_document
from harmony_ls.cli.bench.inline import BenchResult, Part, Plan, Watcher, run_bench
from harmony_ls.cli.bench.table import print_tables
from harmony_ls.errors import HarmonyLsError

__all__ = ["Part", "Plan", "bench_inline", "installed_packages"]

_INTERRUPTED = 130


def bench_inline(plan: Plan, *, as_json: bool, report: Path | None) -> int:
    """Run the bench and show its result; return the exit code."""
    errors = Console(stderr=True)
    result = BenchResult(plan)
    if report is not None and not report.absolute().parent.is_dir():
        errors.print(f"harmony-ls: there is no folder {report.absolute().parent}", markup=False, style="red")
        return 1
    exit_code = _run(plan, result, errors)
    document = as_document(result)
    if as_json:
        sys.stdout.write(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
        sys.stdout.flush()
    else:
        print_tables(document, Console())
    if report is not None:
        from harmony_ls.cli.bench.report import render

        report.write_text(render(document, result), encoding="utf-8")
        errors.print(f"The report is {report.absolute()}", markup=False)
    for fault in result.faults:
        errors.print(f"harmony-ls: not measured: {fault}", markup=False, style="red")
    return exit_code or (1 if result.faults else 0)


def _run(plan: Plan, result: BenchResult, errors: Console) -> int:
    if not errors.is_terminal:
        return _measure(plan, result, errors, _plain_watcher(errors))
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=errors, transient=True) as progress:
        return _measure(plan, result, errors, _watcher(progress))


def _measure(plan: Plan, result: BenchResult, errors: Console, watcher: Watcher) -> int:
    # What goes wrong is in the result; a log line would tear the progress display.
    logging.disable(logging.CRITICAL)
    try:
        asyncio.run(run_bench(plan, result, watcher))
    except KeyboardInterrupt:
        result.is_partial = True
        errors.print("Interrupted: the figures are of what was measured so far.")
        return _INTERRUPTED
    except HarmonyLsError as error:
        result.faults.append(str(error))
        return 1
    finally:
        logging.disable(logging.NOTSET)
    return 0


def _plain_watcher(errors: Console) -> Watcher:
    """One line as each part begins, with the seconds since the start: for logs, where a bar says nothing."""
    started = time.monotonic()

    def begin(name: str, n_steps: int | None) -> None:
        steps = "" if n_steps is None else f" ({n_steps:,} steps)"
        errors.print(f"{time.monotonic() - started:6.1f} s  {name}{steps}", markup=False, highlight=False)

    return Watcher(begin)


def _watcher(progress: Progress) -> Watcher:
    tasks: list[TaskID] = []

    def begin(name: str, n_steps: int | None) -> None:
        for task in tasks:
            progress.update(task, visible=False)
        tasks.append(progress.add_task(name, total=n_steps))

    def advance() -> None:
        progress.advance(tasks[-1])

    return Watcher(begin, advance)
