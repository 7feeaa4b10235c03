"""Which lines an action is about: whole statements, or the definition around a place. Nothing is asked of a model."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from harmony_ls.edits.text_file import Lines, split_lines
from harmony_ls.errors import UserError
from harmony_ls.features.code_actions.actions import Action, Subject
from harmony_ls.features.code_actions.listing import LONGEST_SELECTION
from harmony_ls.features.diagnostics import DiagnosticNote
from harmony_ls.features.document import DocumentSnapshot
from harmony_ls.features.syntax.python import lines_to_mend, whole_statements
from harmony_ls.features.syntax.symbols import block_at, symbol_at

__all__ = ["Job", "Region", "refuse_unfit", "region_of", "regions_to_mend", "selected_apart"]

# A diagnostic is shown to the model with the whole definition around it, unless that is longer than this, in lines.
_LONGEST_DEFINITION = 60


@dataclass(frozen=True, slots=True)
class Job:
    """An action at a place: ``start`` and ``end`` are offsets of what is selected, equal where nothing is.

    ``name`` is what the document is called. ``notes`` are the diagnostics, ``note_lines`` the lines of each, counted
    from 0, the last one excluded. ``tell`` hears what is going on, and ``warn`` what an edit that comes leaves undone,
    both in words for a person.
    """

    action: Action
    document: DocumentSnapshot
    name: str
    start: int
    end: int
    notes: tuple[DiagnosticNote, ...] = ()
    note_lines: tuple[tuple[int, int], ...] = ()
    tell: Callable[[str], None] = lambda _message: None
    warn: Callable[[str], None] = lambda _message: None

    def is_diagnosed(self, line: int) -> bool:
        """Whether a diagnostic is about a line."""
        return any(start <= line < end for start, end in self.note_lines)


@dataclass(frozen=True, slots=True)
class Region:
    """The lines ``start`` to ``end`` of ``lines``, counted from 0, ``end`` excluded."""

    lines: Lines
    start: int
    end: int

    @property
    def bodies(self) -> tuple[str, ...]:
        """The lines without what ends them."""
        return self.lines.bodies[self.start : self.end]


async def region_of(job: Job) -> Region:
    """The whole lines that are chosen to be written anew. Raises UserError where there is nothing, or far too much."""
    lines = await _lines_of(job)
    region = Region(lines, *await _chosen(job, len(lines)))
    refuse_unfit(region)
    return region


async def regions_to_mend(job: Job) -> list[tuple[Region, tuple[DiagnosticNote, ...]]]:
    """The regions that diagnostics are about, in their order and apart from each other, each with its diagnostics: the
    definitions around them, or the statements where those are too long. Whether they are fit is not looked at."""
    lines = await _lines_of(job)
    places = [_inside(start, end, len(lines)) for start, end in job.note_lines]
    runs = None
    if job.document.language_id == "python":
        runs = await lines_to_mend(job.document.text, places, _LONGEST_DEFINITION)
    if runs is None:
        runs = await asyncio.to_thread(_blocks_around, lines.bodies, places, job.document.language_id)
    regions = []
    for start, end in runs:
        notes = [note for note, place in zip(job.notes, places, strict=True) if start <= place[0] < end]
        regions.append((Region(lines, start, end), tuple(sorted(notes, key=lambda note: note.line))))
    return regions


async def _lines_of(job: Job) -> Lines:
    lines = await asyncio.to_thread(split_lines, job.document.text)
    if not len(lines):
        raise UserError("The document is empty: there is nothing to work on.")
    return lines


def refuse_unfit(region: Region) -> None:
    """Raise UserError for a region without code, or with far too much."""
    if not any(line.strip() for line in region.bodies):
        raise UserError("There is no code at this place.")
    n_characters = sum(map(len, region.bodies))
    if n_characters > LONGEST_SELECTION:
        raise UserError(
            f"The code has {n_characters:,} characters, and {LONGEST_SELECTION:,} is the limit. Choose a smaller part."
        )


def selected_apart(job: Job, region: Region) -> tuple[str, str] | None:
    """What exactly is selected and where, in words, if it is something else than the region."""
    text = job.document.text[job.start : job.end]
    if not text.strip() or job.action.subject is Subject.DIAGNOSTICS:
        return None
    if text.split() == " ".join(region.bodies).split():
        return None
    return f"what begins in line {_line_at(job.document.text, job.start) + 1}", text


async def _chosen(job: Job, n_lines: int) -> tuple[int, int]:
    """The lines that are selected, grown to whole statements; without a selection the definition around the cursor."""
    text, language = job.document.text, job.document.language_id
    first, last = _line_at(text, job.start), _line_at(text, job.end)
    # A selection that ends before the first character of a line does not reach into it.
    if job.end > job.start and last > first and text[job.end - 1] in "\r\n":
        last -= 1
    start, end = _inside(first, last + 1, n_lines)
    if job.start == job.end:
        symbol = await symbol_at(text, start, language)
        if symbol is not None:
            return _inside(symbol.start, symbol.end, n_lines)
    return await whole_statements(text, language, start, end)


def _blocks_around(lines: Sequence[str], places: Sequence[tuple[int, int]], language: str) -> list[tuple[int, int]]:
    """The runs of lines to rewrite in a text that is not parsed."""
    return _joined([_grown(lines, start, end, language) for start, end in set(places)])


def _grown(lines: Sequence[str], start: int, end: int, language: str) -> tuple[int, int]:
    """The lines of the block around some, if it is not too long; else those lines."""
    block = block_at(lines, start, language)
    if block is not None and block.end >= end and block.end - block.start <= _LONGEST_DEFINITION:
        return block.start, block.end
    return start, end


def _joined(runs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The runs in their order, those made one that touch, or that together are no longer than a definition."""
    joined: list[tuple[int, int]] = []
    for start, end in sorted(runs):
        last = joined[-1] if joined else None
        if last is not None and (start <= last[1] or max(last[1], end) - last[0] <= _LONGEST_DEFINITION):
            joined[-1] = last[0], max(last[1], end)
        else:
            joined.append((start, end))
    return joined


def _inside(start: int, end: int, n_lines: int) -> tuple[int, int]:
    """The nearest lines that there are, at least one."""
    start = max(0, min(start, n_lines - 1))
    return start, max(start + 1, min(end, n_lines))


def _line_at(text: str, offset: int) -> int:
    before = text[:offset]
    return before.count("\n") + before.count("\r") - before.count("\r\n")
