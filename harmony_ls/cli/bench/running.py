"""A bench as a program, whatever it measures: progress on stderr, the result as a table or as JSON, exit codes.

0: everything was measured. 1: something could not be. 130: interrupted; what there is, is shown. A missed target is a
result, not an error.
"""

import asyncio
import json
import logging
import sys
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from harmony_ls.errors import HarmonyLsError

__all__ = ["Outcome", "Watcher", "run_bench"]

_INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Watcher:
    """Who follows a bench: ``begin`` a part of so many steps (None: nobody knows), ``advance`` by one."""

    begin: Callable[[str, int | None], None] = lambda _name, _steps: None
    advance: Callable[[], None] = lambda: None


@dataclass(slots=True)
class Outcome:
    """How it went: what could not be measured, and whether somebody stopped it."""

    faults: list[str] = field(default_factory=list)
    is_partial: bool = False


def run_bench(
    work: Callable[[Watcher], Coroutine[Any, Any, None]],
    outcome: Outcome,
    document: Callable[[], dict[str, Any]],
    show: Callable[[dict[str, Any], Console], None],
    *,
    as_json: bool,
    report: Callable[[dict[str, Any], Console], None] = lambda _document, _errors: None,
) -> int:
    """Do ``work``, then show the ``document`` of what it measured, and ``report`` it; return the exit code."""
    errors = Console(stderr=True)
    _measure(work, outcome, errors)
    measured = document()
    if as_json:
        sys.stdout.write(json.dumps(measured, indent=1, ensure_ascii=False) + "\n")
        sys.stdout.flush()
    else:
        show(measured, Console())
    report(measured, errors)
    for fault in outcome.faults:
        errors.print(f"harmony-ls: not measured: {fault}", markup=False, style="red")
    if outcome.is_partial:
        return _INTERRUPTED
    return 1 if outcome.faults else 0


def _measure(work: Callable[[Watcher], Coroutine[Any, Any, None]], outcome: Outcome, errors: Console) -> None:
    # What goes wrong is in the result; a log line would tear the progress display.
    logging.disable(logging.CRITICAL)
    try:
        if errors.is_terminal:
            columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
            with Progress(*columns, TimeElapsedColumn(), console=errors, transient=True) as progress:
                asyncio.run(work(_bars(progress)))
        else:
            asyncio.run(work(_lines(errors)))
    except KeyboardInterrupt:
        outcome.is_partial = True
        errors.print("Interrupted: the figures are of what was measured so far.")
    except HarmonyLsError as error:
        outcome.faults.append(str(error))
    finally:
        logging.disable(logging.NOTSET)


def _lines(errors: Console) -> Watcher:
    """One line as each part begins, with the seconds since the start: for logs, where a bar says nothing."""
    started = time.monotonic()

    def begin(name: str, n_steps: int | None) -> None:
        steps = "" if n_steps is None else f" ({n_steps:,} steps)"
        errors.print(f"{time.monotonic() - started:6.1f} s  {name}{steps}", markup=False, highlight=False)

    return Watcher(begin)


def _bars(progress: Progress) -> Watcher:
    tasks: list[TaskID] = []

    def begin(name: str, n_steps: int | None) -> None:
        for task in tasks:
            progress.update(task, visible=False)
        tasks.append(progress.add_task(name, total=n_steps))

    def advance() -> None:
        progress.advance(tasks[-1])

    return Watcher(begin, advance)
