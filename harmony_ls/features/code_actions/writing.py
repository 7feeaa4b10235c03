"""From an action that a person chose to a checked edit: the region is found, the model asked, its answer read.

Nothing is changed here. What cannot be trusted to be an edit is an error that says so.
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from harmony_ls.edits.changes import LineEdit, TextChange, replace_lines
from harmony_ls.edits.line_diff import line_edits
from harmony_ls.edits.text_file import split_lines
from harmony_ls.errors import UserError
from harmony_ls.events import ReasoningDelta, TextDelta, TurnFinished
from harmony_ls.features.code_actions.actions import Action, Subject
from harmony_ls.features.code_actions.answer import code_of, fitted, refuse_repeated
from harmony_ls.features.code_actions.imports import import_edit, split_imports, without_imports
from harmony_ls.features.code_actions.listing import LONGEST_SELECTION
from harmony_ls.features.code_actions.question import Question, Region, fitted_question, prompt_text
from harmony_ls.features.diagnostics import DiagnosticNote
from harmony_ls.features.document import DocumentSnapshot
from harmony_ls.features.inline.refusal import Refusal
from harmony_ls.features.inline.safety import clean
from harmony_ls.features.syntax.python import refuse_broken, whole_statements
from harmony_ls.features.syntax.symbols import symbol_at
from harmony_ls.messages import FinishReason, ReasoningEffort
from harmony_ls.session.chat_model import ChatModel
from harmony_ls.session.session import Session
from harmony_ls.settings.models import ChatSettings

__all__ = ["Job", "added_tests", "changes_for"]

# A diagnostic is shown to the model with the whole definition around it, unless that is longer than this, in lines.
_LONGEST_DEFINITION = 60


@dataclass(frozen=True, slots=True)
class Job:
    """An action at a place: ``start`` and ``end`` are offsets of what is selected, equal where nothing is.

    ``name`` is what the document is called. ``notes`` are the diagnostics, ``note_lines`` the lines of each, counted
    from 0, the last one excluded. ``tell`` hears what is going on, in words for a person.
    """

    action: Action
    document: DocumentSnapshot
    name: str
    start: int
    end: int
    notes: tuple[DiagnosticNote, ...] = ()
    note_lines: tuple[tuple[int, int], ...] = ()
    tell: Callable[[str], None] = lambda _message: None


async def changes_for(job: Job, chat_model: ChatModel, settings: ChatSettings) -> tuple[TextChange, ...]:
    """The changes of the document that the action comes to.

    Raises UserError where the model makes none that can be used, PromptTooLongError where there is too much code, and
    whatever `Session.turn` raises. Cancelled, it frees the model within one step.
    """
    region = await _region(job)
    question = Question(
        job.name,
        job.document.language_id,
        region,
        prompt_text(job.action.name),
        selected=_selected(job, region),
        notes=job.notes,
    )
    code = code_of(await _answer(question, job, chat_model, settings))
    if not any(line.strip() for line in code) and job.action.subject is not Subject.DIAGNOSTICS:
        raise UserError("The model answered with no code at all. Nothing was changed; try again.")
    changes, new_text = await asyncio.to_thread(_changes, job.document, region, code)
    await refuse_broken(job.document.text, new_text, job.document.language_id)
    return changes


async def added_tests(
    job: Job, tests_name: str, tests: str, chat_model: ChatModel, settings: ChatSettings
) -> tuple[TextChange, ...]:
    """What is put at the end of a file of tests, whose text is ``tests`` so far. Raises as `changes_for` does."""
    region = await _region(job)
    extra = [(f"The tests' file, `{tests_name}`", _ending(tests))] if tests.strip() else []
    task = prompt_text(job.action.name)
    if not extra:
        task = f"The tests' file will be `{tests_name}`. It is empty.\n\n{task}"
    question = Question(job.name, job.document.language_id, region, task, extra=extra)
    code = code_of(await _answer(question, job, chat_model, settings))
    written = fitted(code, ())
    if not written:
        raise UserError("The model wrote no tests. Nothing was changed; try again.")
    changes, new_text = await asyncio.to_thread(_appended, tests, written, region.lines.line_ending)
    _refuse_hidden("\n".join(written), DocumentSnapshot(tests_name, None, job.document.language_id, None, tests))
    await refuse_broken(tests, new_text, job.document.language_id)
    return changes


async def _region(job: Job) -> Region:
    """The whole lines that the model writes anew. Raises UserError where there is nothing, or far too much."""
    lines = await asyncio.to_thread(split_lines, job.document.text)
    if not len(lines):
        raise UserError("The document is empty: there is nothing to work on.")
    is_diagnosed = job.action.subject is Subject.DIAGNOSTICS
    start, end = await (_diagnosed(job, len(lines)) if is_diagnosed else _chosen(job, len(lines)))
    region = Region(lines, start, end)
    if not any(line.strip() for line in region.bodies):
        raise UserError("There is no code at this place.")
    n_characters = sum(map(len, region.bodies))
    if n_characters > LONGEST_SELECTION:
        raise UserError(
            f"The code has {n_characters:,} characters, and {LONGEST_SELECTION:,} is the limit. Choose a smaller part."
        )
    return region


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


async def _diagnosed(job: Job, n_lines: int) -> tuple[int, int]:
    """The lines that diagnostics are about: whole statements, or the definition around them if it is not too long."""
    text, language = job.document.text, job.document.language_id
    start, end = _inside(min(first for first, _ in job.note_lines), max(last for _, last in job.note_lines), n_lines)
    symbol = await symbol_at(text, start, language)
    if symbol is not None and symbol.end >= end and symbol.end - symbol.start <= _LONGEST_DEFINITION:
        return _inside(symbol.start, symbol.end, n_lines)
    return await whole_statements(text, language, start, end)


def _inside(start: int, end: int, n_lines: int) -> tuple[int, int]:
    """The nearest lines that there are, at least one."""
    start = max(0, min(start, n_lines - 1))
    return start, max(start + 1, min(end, n_lines))


def _line_at(text: str, offset: int) -> int:
    before = text[:offset]
    return before.count("\n") + before.count("\r") - before.count("\r\n")


def _selected(job: Job, region: Region) -> tuple[str, str] | None:
    """What exactly is selected, if it is something else than the region."""
    text = job.document.text[job.start : job.end]
    if not text.strip() or job.action.subject is Subject.DIAGNOSTICS:
        return None
    if text.split() == " ".join(region.bodies).split():
        return None
    where = f"what begins in line {_line_at(job.document.text, job.start) + 1}"
    return where, text


async def _answer(question: Question, job: Job, chat_model: ChatModel, settings: ChatSettings) -> str:
    """What the model says to the question, complete."""
    # A person waits for an edit: what takes the longest thought is better talked over.
    effort = ReasoningEffort.LOW if settings.effort == "low" else ReasoningEffort.MEDIUM
    settings = settings.model_copy(update={"effort": effort.value})
    instructions = "\n\n".join(filter(None, (settings.instructions.strip(), prompt_text("instructions"))))
    job.tell("Reading")
    text = await fitted_question(question, chat_model, settings, instructions, effort)
    session = Session(chat_model, settings, instructions=prompt_text("instructions"))
    pieces: list[str] = []
    reason = FinishReason.CANCELLED
    async with contextlib.aclosing(session.turn(text)) as events:  # type: ignore[type-var]
        async for event in events:
            match event:
                case ReasoningDelta():
                    job.tell("Thinking")
                case TextDelta(piece):
                    pieces.append(piece)
                    job.tell("Writing")
                case TurnFinished():
                    reason = event.reason
    if reason is FinishReason.LENGTH:
        raise UserError("The model's answer was cut off at its greatest length. Select less, or raise chat.maxTokens.")
    if reason is not FinishReason.STOP:
        raise UserError("The model did not come to the end of its answer. Nothing was changed; try again.")
    return "".join(pieces)


def _changes(document: DocumentSnapshot, region: Region, code: Sequence[str]) -> tuple[tuple[TextChange, ...], str]:
    """The changes of the document, and its text after them. Raises UserError."""
    bodies, language = region.lines.bodies, document.language_id
    imports, rest = split_imports(code, region.bodies, language)
    refuse_repeated(rest, without_imports(bodies, language) if imports else bodies, region.start, region.end)
    edits = line_edits(region.bodies, fitted(rest, region.bodies), region.start)
    added = import_edit(bodies, region.start, imports, language)
    edits = edits if added is None else (added, *edits)
    new_text, changes = replace_lines(document.text, region.lines, edits)
    if not changes:
        raise UserError("The model would leave the code as it is.")
    for edit in edits:
        _refuse_hidden("\n".join(edit.lines), document)
    return changes, new_text


def _appended(tests: str, written: Sequence[str], line_ending: str) -> tuple[tuple[TextChange, ...], str]:
    """The changes that put lines at the end of a file of tests, and its text after them."""
    if not tests.strip():
        new_text = "".join(line + line_ending for line in written)
        return (TextChange(0, len(tests), new_text),), new_text
    lines = split_lines(tests)
    n_blank = next(n for n, line in enumerate(reversed(lines.bodies)) if line.strip())
    gap = ("",) * max(0, 2 - n_blank)
    edit = LineEdit(len(lines), len(lines), (*gap, *written))
    new_text, changes = replace_lines(tests, lines, [edit], ends_with_newline=True)
    return changes, new_text


def _refuse_hidden(text: str, document: DocumentSnapshot) -> None:
    """Raise UserError for a text of the model's that hides something from the eye, or holds marks of its own."""
    shown = clean(text, document)
    if isinstance(shown, Refusal):
        raise UserError(f"{shown.detail} It is not used.")
    if shown != text:
        raise UserError("The model's text holds control characters or marks of its own. It is not used.")


def _ending(tests: str) -> str:
    """The end of a file of tests, and its beginning, where the imports are."""
    lines = split_lines(tests).bodies
    if len(lines) <= 120:
        return "\n".join(lines)
    return "\n".join((*lines[:40], "[…]", *lines[-80:]))
