"""Diagnostics as a model is told of them. What they are in a protocol is a front end's matter."""

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["MOST_DIAGNOSTICS", "DiagnosticNote", "diagnostics_text"]

MOST_DIAGNOSTICS = 100
"""So many are told of; a model that is told of more does not get better."""


@dataclass(frozen=True, slots=True)
class DiagnosticNote:
    """A diagnostic: its ``line`` counted from 1, what it says, and where the client told it its severity and source.

    ``code`` is the text of the line, where the model shall be shown that once more.
    """

    line: int
    message: str
    severity: str = ""
    source: str = ""
    code: str = ""


def diagnostics_text(notes: Sequence[DiagnosticNote]) -> str:
    """Diagnostics, one a line."""
    lines = [_diagnostic_line(note) for note in notes[:MOST_DIAGNOSTICS]]
    if len(notes) > MOST_DIAGNOSTICS:
        lines.append(f"and {len(notes) - MOST_DIAGNOSTICS} more")
    return "\n".join(lines)


def _diagnostic_line(note: DiagnosticNote) -> str:
    kind = " ".join(filter(None, (note.severity, f"({note.source})" if note.source else "")))
    message = " ".join(note.message.split())
    code = f", `{note.code}`" if note.code else ""
    return f"line {note.line}{code}: {kind + ': ' if kind else ''}{message}"
