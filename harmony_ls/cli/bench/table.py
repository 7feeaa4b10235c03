"""The result on a terminal: one row for each promised number, then the calibration, then the conditions."""

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from harmony_ls.cli.bench.targets import TARGETS, Unit

__all__ = ["format_value", "print_tables"]

_STYLES = {"met": "green", "missed": "bold red", "not measured": "yellow", "not promised": "dim"}


def format_value(value: float | None, unit: Unit) -> str:
    """A number as people read it."""
    if value is None:
        return "-"
    match unit:
        case "%":
            return f"{value:.1%}"
        case "ms":
            return f"{value:.1f} ms"
        case "x":
            return f"{value:.3f}"
        case _:
            return f"{value:g}"


def print_tables(document: dict[str, Any], console: Console) -> None:
    """Print the numbers with targets and verdicts, and what they were measured on."""
    title = "harmony-ls bench inline" + (" (partial)" if document["partial"] else "")
    table = Table(title=title, title_justify="left", caption=_conditions(document), caption_justify="left")
    table.add_column("number", no_wrap=True)
    table.add_column("what it is")
    table.add_column("measured", justify="right", no_wrap=True)
    table.add_column("n", justify="right", no_wrap=True)
    table.add_column("95 % interval", justify="right", no_wrap=True)
    table.add_column("target", justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for target in TARGETS:
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
    if document.get("calibration"):
        console.print(_calibration(document))


def _interval(interval: dict[str, float] | None, unit: Unit) -> str:
    if interval is None:
        return ""
    return f"{format_value(interval['low'], unit)} … {format_value(interval['high'], unit)}"


def _calibration(document: dict[str, Any]) -> Table:
    default = document["settings"]["threshold"]
    table = Table(title="What each confidence threshold would show", title_justify="left")
    table.add_column("threshold", justify="right")
    for name in ("shown", "exact of shown", "first identifier of shown", "quiet where nothing belongs"):
        table.add_column(name, justify="right")
    for row in document["calibration"]:
        is_default = row["threshold"] == default
        table.add_row(
            f"{row['threshold']:g}" + (" (default)" if is_default else ""),
            format_value(row["show_rate"], "%"),
            format_value(row["shown_exact_rate"], "%"),
            format_value(row["shown_first_identifier_rate"], "%"),
            format_value(row["quiet_rate"], "%"),
            style="bold" if is_default else "",
        )
    return table


def _conditions(document: dict[str, Any]) -> str:
    model, machine = document["model"], document["machine"]
    lines = [f"{machine['processor']}, {machine['cores']} cores, {machine['system']}"]
    if model is not None:
        lines.append(f"{model['name']}: {model['parameters'] / 1e6:.1f} M parameters, {model['precision']}")
    typed = ", ".join(f"{name} {version}" for name, version in document["packages"].items())
    lines.append(f"typed and completed: {typed}; seed {document['seed']}")
    if "n_keys" in document:
        lines.append(
            f"{document['n_keys']} keys in {document['n_lines']} lines: "
            f"{format_value(document['answered_by_type_through'], '%')} typed through, "
            f"{format_value(document['answered_by_cache'], '%')} from the cache, "
            f"{format_value(document['answered_by_gate'], '%')} gated; "
            f"{format_value(document['key_ms_p50'], 'ms')} median, {format_value(document['key_ms_p95'], 'ms')} p95"
        )
    if "n_compared_keys" in document:
        lines.append(
            f"{document['n_compared_keys']} compared keys in {document['n_compared_lines']} lines: "
            f"{document['n_compared_keys_with_model']} asked the model, of which "
            f"{document['n_compared_keys_shown_with_model']} with a suggestion, "
            f"{document['n_compared_refused']} refused, {document['n_compared_timed_out']} timed out"
        )
    lines += document["notes"]
    return "\n".join(lines)
