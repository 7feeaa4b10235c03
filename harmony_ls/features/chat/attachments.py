"""What goes along with a message: pieces of documents, diagnostics, changes; as the model is shown them.

Where they come from is a front end's matter. Nothing here reads a file.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from harmony_ls.errors import UserError

__all__ = ["Attachment", "DiagnosticNote", "diagnostics_text", "fenced", "with_attachments"]

# What a model reads of this size fills the context of most, and takes minutes.
_MOST_CHARACTERS = 1_000_000
_MOST_DIAGNOSTICS = 100


@dataclass(frozen=True, slots=True)
class Attachment:
    """One piece: ``label`` names it for a person and the model, ``text`` is what the model reads.

    ``language`` is an LSP language id, for the fence; empty where there is none.
    """

    label: str
    text: str
    language: str = ""


@dataclass(frozen=True, slots=True)
class DiagnosticNote:
    """A diagnostic: its ``line`` counted from 1, what it says, and where the client told it its severity and source."""

    line: int
    message: str
    severity: str = ""
    source: str = ""


def diagnostics_text(notes: Sequence[DiagnosticNote]) -> str:
    """Diagnostics, one a line."""
    lines = [_diagnostic_line(note) for note in notes[:_MOST_DIAGNOSTICS]]
    if len(notes) > _MOST_DIAGNOSTICS:
        lines.append(f"and {len(notes) - _MOST_DIAGNOSTICS} more")
    return "\n".join(lines)


def with_attachments(message: str, attachments: Sequence[Attachment]) -> str:
    """The message after what goes with it: the question stands last, and what is read before it can stay in a cache.

    Raises UserError where that is more than a model should be given.
    """
    n_characters = sum(len(attachment.text) for attachment in attachments)
    if n_characters > _MOST_CHARACTERS:
        raise UserError(
            f"What is attached has {n_characters:,} characters, and {_MOST_CHARACTERS:,} is the limit. Attach the part "
            "that matters."
        )
    pieces = [f"{each.label}:\n{fenced(each.text, each.language)}" for each in attachments]
    return "\n".join([*pieces, message])


def fenced(text: str, language: str = "") -> str:
    """Text in a fence that it cannot close."""
    longest = max((len(run) for run in re.findall(r"`{3,}", text)), default=2)
    fence = "`" * (longest + 1)
    end = "" if text.endswith("\n") or not text else "\n"
    return f"{fence}{language}\n{text}{end}{fence}\n"


def _diagnostic_line(note: DiagnosticNote) -> str:
    kind = " ".join(filter(None, (note.severity, f"({note.source})" if note.source else "")))
    message = " ".join(note.message.split())
    return f"line {note.line}: {kind + ': ' if kind else ''}{message}"
