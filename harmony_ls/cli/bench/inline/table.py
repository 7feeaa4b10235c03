"""The result of ``harmony-ls bench inline`` on a terminal: the numbers, then what each threshold would show."""

from typing import Any

from rich.console import Console
from rich.table import Table

from harmony_ls.cli.bench.inline.targets import TARGETS
from harmony_ls.cli.bench.table import format_value, print_numbers

__all__ = ["print_tables"]


def print_tables(document: dict[str, Any], console: Console) -> None:
    """Print everything that was measured, and what it was measured on."""
    print_numbers(document, TARGETS, console, _conditions(document))
    if document.get("calibration"):
        console.print(_calibration(document))


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


def _conditions(document: dict[str, Any]) -> list[str]:
    model, lines = document["model"], []
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
    return lines
