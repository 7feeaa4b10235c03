"""What a person is told of diagnostics that were left as they are while others were mended. It decides nothing."""

from collections.abc import Sequence
from dataclasses import dataclass

from harmony_ls.edits.diff import visible
from harmony_ls.features.diagnostics import MOST_DIAGNOSTICS, DiagnosticNote

__all__ = ["Skipped", "skipped_text"]

# Beyond so many places a person looks at the diagnostics that are left rather than at a message.
_MOST_PLACES = 4
_LONGEST_MESSAGE, _LONGEST_REASON = 60, 160
# What a reason says of the whole document, which is not so where other places were mended.
_OF_ALL = " Nothing was changed"


@dataclass(frozen=True, slots=True)
class Skipped:
    """Diagnostics of one place, at least one, and why they were not mended, in words for a person."""

    notes: tuple[DiagnosticNote, ...]
    reason: str


def skipped_text(skipped: Sequence[Skipped], n_in_all: int) -> str:
    """The places that were skipped, of ``n_in_all`` diagnostics, each with its reason; empty where there is nothing to
    tell. Lines count as before the edit.

    What is beyond `MOST_DIAGNOSTICS` is not even read, which is told as well.
    """
    lines = []
    if skipped:
        lines.append(f"{sum(len(place.notes) for place in skipped)} of {n_in_all} problems could not be fixed.")
    for place in skipped[:_MOST_PLACES]:
        reason = place.reason.partition(_OF_ALL)[0]
        lines.append(f"{_place(place.notes)}: {_bounded(reason, _LONGEST_REASON)}")
    if n_more := sum(len(place.notes) for place in skipped[_MOST_PLACES:]):
        lines.append(f"And {n_more} more.")
    if n_in_all >= MOST_DIAGNOSTICS:
        lines.append(f"No more than {MOST_DIAGNOSTICS} problems are fixed at a time. Ask again for what is left.")
    return "\n".join(lines)


def _place(notes: Sequence[DiagnosticNote]) -> str:
    first = notes[0]
    message = _bounded(" ".join(visible(first.message).split()), _LONGEST_MESSAGE)
    others = f" and {len(notes) - 1} more" if len(notes) > 1 else ""
    return f"Line {first.line} ({message}){others}"


def _bounded(text: str, n_characters: int) -> str:
    return text if len(text) <= n_characters else f"{text[: n_characters - 1].rstrip()}…"
