"""The result of a bench on a terminal: a row for each number with its target and verdict, then what it was made on."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from harmony_ls.cli.bench.targets import Target, Unit

__all__ = ["format_value", "print_numbers"]

_STYLES = {"met": "green", "missed": "bold red", "not measured": "yellow", "not promised": "dim"}


def format_value(value: float | None, unit: Unit) -> str:
    """A number as people read it."""
    if value is None:
        return "-"
    match unit:
        case "%":
            return f"{value:.1%}"
        case "ms":
            return f"{value:.2f} ms" if abs(value) < 10 else f"{value:.1f} ms"
        case "us":
            return f"{value:.1f} us"
        case "x":
            return f"{value:.3f}"
        case _:
            return f"{value:g}"


def print_numbers(
    document: dict[str, Any], targets: Sequence[Target], console: Console, conditions: Sequence[str] = ()
) -> None:
    """Print the numbers of a document with targets and verdicts, and below them what they were measured on."""
    machine = document["machine"]
    measured_on = f"{machine['processor']}, {machine['cores']} cores, {machine['system']}"
    table = Table(
        title=f"harmony-ls bench {document['bench']}" + (" (partial)" if document["partial"] else ""),
        title_justify="left",
        caption=Text("\n".join((measured_on, *conditions, *document["notes"]))),
        caption_justify="left",
    )
    table.add_column("number", no_wrap=True)
    table.add_column("what it is")
    table.add_column("measured", justify="right", no_wrap=True)
    table.add_column("n", justify="right", no_wrap=True)
    table.add_column("95 % interval", justify="right", no_wrap=True)
    table.add_column("target", justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for target in targets:
        verdict = document["verdicts"][target.key]
        table.add_row(
            target.key,
            target.meaning,
            format_value(document[target.key], target.unit),
            str(document["samples"].get(target.key, "")),
            _interval(document["intervals"].get(target.key), target.unit),
            document["targets"].get(target.key, ""),
            Text(verdict, style=_STYLES[verdict]),
        )
    console.print(table)


def _interval(interval: dict[str, float] | None, unit: Unit) -> str:
    if interval is None:
        return ""
    return f"{format_value(interval['low'], unit)} … {format_value(interval['high'], unit)}"
