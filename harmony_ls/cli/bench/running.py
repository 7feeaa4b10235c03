"""A bench as a program, whatever it measures: progress on stderr, the result as a table or as JSON, exit codes.

0: everything was measured. 1: something could not be. 130: interrupted; what there is, is shown. A missed target is a
result.
"""

import asyncio
import json
import logging
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import typer
from rich.console import Console

__all__ = ["Outcome", "Say", "run_bench"]

_INTERRUPTED = 130

Say = Callable[[str], None]
"""Tells a person what is being done now."""


@dataclass(slots=True)
class Outcome:
    """How it went: what could not be measured, and whether somebody stopped it."""

    faults: list[str] = field(default_factory=list)
    is_partial: bool = False


def run_bench(
    work: Callable[[Say], Coroutine[Any, Any, None]],
    outcome: Outcome,
    document: Callable[[], dict[str, Any]],
    show: Callable[[dict[str, Any], Console], None],
    *,
    as_json: bool,
) -> int:
    """Do ``work``, then show the ``document`` of what it measured; return the exit code."""
    errors = Console(stderr=True)
    started = time.monotonic()

    def say(what: str) -> None:
        errors.print(f"{time.monotonic() - started:6.1f} s  {what}", markup=False, highlight=False)

    logging.disable(logging.CRITICAL)  # what goes wrong is in the result
    try:
        asyncio.run(work(say))
    except KeyboardInterrupt:
        outcome.is_partial = True
        errors.print("Interrupted: the figures are of what was measured so far.")
    finally:
        logging.disable(logging.NOTSET)
    if as_json:
        typer.echo(json.dumps(document(), indent=1, ensure_ascii=False))
    else:
        show(document(), Console())
    for fault in outcome.faults:
        errors.print(f"harmony-ls: not measured: {fault}", markup=False, style="red")
    if outcome.is_partial:
        return _INTERRUPTED
    return 1 if outcome.faults else 0
