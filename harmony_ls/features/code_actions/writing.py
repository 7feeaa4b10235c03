"""From an action that a person chose to a checked edit: the region is found, the model asked, its answer read.

Nothing is changed here. What cannot be trusted to be an edit is an error that says so.
"""

import asyncio
import contextlib
import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from harmony_ls.edits.changes import TextChange
from harmony_ls.errors import ModelError, UserError
from harmony_ls.events import ReasoningDelta, TextDelta
from harmony_ls.features.code_actions.actions import Subject
from harmony_ls.features.code_actions.answer import Answer, fitted
from harmony_ls.features.code_actions.placing import (
    UNCHANGED,
    Rewriting,
    appended,
    combined,
    refuse_hidden,
    rewriting,
)
from harmony_ls.features.code_actions.question import Question, excerpt_of_tests, prompt_text, rendered
from harmony_ls.features.code_actions.region import (
    Job,
    Region,
    refuse_unfit,
    region_of,
    regions_to_mend,
    selected_apart,
)
from harmony_ls.features.code_actions.repetition import Repetition
from harmony_ls.features.code_actions.skipped import Skipped, skipped_text
from harmony_ls.features.code_actions.tests_marks import can_hold_test
from harmony_ls.features.diagnostics import DiagnosticNote
from harmony_ls.features.document import DocumentSnapshot
from harmony_ls.features.syntax.kept import Kept
from harmony_ls.features.syntax.python import refuse_broken, refuse_changed, refuse_no_tests
from harmony_ls.messages import FinishReason, ReasoningEffort
from harmony_ls.session.chat_model import ChatModel, chosen_sampling
from harmony_ls.session.generation import Pass, run_pass
from harmony_ls.settings.models import ChatSettings

__all__ = ["Job", "added_tests", "changes_for"]

# Some editors keep the byte order mark in the text. It is no part of the code.
_BYTE_ORDER_MARK = "\ufeff"
_PYTHON_HEADER = re.compile(r"\s*(?:async\s+)?(?:def|class)\s+(\w+)")
_PYTHON_TEST = re.compile(r"\s*(?:async\s+)?(?:def\s+test|class\s+Test)")


async def changes_for(job: Job, chat_model: ChatModel, settings: ChatSettings) -> tuple[TextChange, ...]:
    """The changes of the document that the action comes to. What diagnostics report is mended place by place, and what
    can be mended is, whatever becomes of the rest.

    What is left as it is, is told with its reason by ``job.warn``, or raised where nothing can be mended at all.

    Raises UserError where the model makes none that can be used, PromptTooLongError where there is too much code, and
    ModelError where the model cannot be spoken to. Cancelled, it frees the model within one step.
    """
    marked, job = job.document.text.startswith(_BYTE_ORDER_MARK), _without_mark(job)
    if job.action.subject is Subject.DIAGNOSTICS:
        regions = await regions_to_mend(job)
    else:
        regions = [(await region_of(job), job.notes)]
    changes: tuple[TextChange, ...] = ()
    made: list[Rewriting] = []
    faults: list[tuple[tuple[DiagnosticNote, ...], UserError]] = []
    for number, (region, notes) in enumerate(regions, 1):
        at_region = job if len(regions) == 1 else replace(job, tell=_counted(job.tell, number, len(regions)))
        try:
            refuse_unfit(region)
            one = await _rewriting(at_region, region, notes, chat_model, settings)
            with_it = await _combined(job, [*made, one])
            if with_it == changes:  # the others alone would come to the same
                raise UserError(UNCHANGED)
        except ModelError:
            raise
        except UserError as fault:  # what cannot be mended at one place takes nothing from the others
            faults.append((notes, fault))
        else:
            made.append(one)
            changes = with_it
    skipped = [Skipped(notes, str(fault)) for notes, fault in faults]
    if not made:
        raise faults[0][1] if len(faults) == 1 else UserError(skipped_text(skipped, len(job.notes)))
    if text := skipped_text(skipped, len(job.notes)):
        job.warn(text)
    return tuple(TextChange(each.start + marked, each.end + marked, each.text) for each in changes)


async def _rewriting(
    job: Job, region: Region, notes: Sequence[DiagnosticNote], chat_model: ChatModel, settings: ChatSettings
) -> Rewriting:
    """What the model makes of a region."""
    question = Question(
        job.name,
        job.document.language_id,
        region,
        prompt_text(job.action.name),
        selected=selected_apart(job, region),
        notes=notes,
    )
    answer = Answer(region.bodies, _header_of(region, job.document.language_id))
    code = await _code(answer, question, job, chat_model, settings)
    if not any(line.strip() for line in code) and job.action.subject is not Subject.DIAGNOSTICS:
        raise UserError("The model answered with no code at all. Nothing was changed; try again.")
    return await asyncio.to_thread(rewriting, job.document, region, code, job.is_diagnosed)


async def _combined(job: Job, made: Sequence[Rewriting]) -> tuple[TextChange, ...]:
    """The changes that regions come to, if the document stays in order."""
    changes, new_text = await asyncio.to_thread(combined, job.document, made)
    await refuse_broken(job.document.text, new_text, job.document.language_id)
    await refuse_changed(
        job.document.text,
        new_text,
        job.document.language_id,
        job.action.kept,
        free_lines=job.note_lines,
        # Other cells of a notebook define names as well; a cell is no file.
        is_whole=job.document.path is not None,
    )
    return changes


def _counted(tell: Callable[[str], None], number: int, n_in_all: int) -> Callable[[str], None]:
    return lambda message: tell(f"{message} ({number} of {n_in_all})")


async def added_tests(
    job: Job, tests_name: str, tests: str, chat_model: ChatModel, settings: ChatSettings
) -> tuple[TextChange, ...]:
    """What is put at the end of a file of tests, whose text is ``tests`` so far. Raises as `changes_for` does."""
    job = _without_mark(job)
    region = await region_of(job)
    extra = [(f"The tests' file, `{tests_name}`", excerpt_of_tests(tests))] if tests.strip() else []
    task = prompt_text(job.action.name)
    if not extra:
        task = f"The tests' file will be `{tests_name}`. It is empty.\n\n{task}"
    question = Question(job.name, job.document.language_id, region, task, extra=extra)
    answer = Answer(wanted=_PYTHON_TEST if job.document.language_id == "python" else None)
    code = await _code(answer, question, job, chat_model, settings)
    written = fitted(code, ())
    if not written:
        raise UserError("The model wrote no tests. Nothing was changed; try again.")
    changes, new_text = await asyncio.to_thread(
        appended, tests, written, region.lines.line_ending, job.document.language_id
    )
    refuse_hidden("\n".join(written), DocumentSnapshot(tests_name, None, job.document.language_id, None, tests))
    await _refuse_poor_tests("\n".join(written), tests, new_text, job)
    return changes


async def _refuse_poor_tests(written: str, tests: str, new_text: str, job: Job) -> None:
    """Raise UserError for what would not be run as tests of the document, or harm those that there are."""
    language = job.document.language_id
    if not can_hold_test(written, tests, language):
        raise UserError("The model's answer holds no test. Nothing was changed; try again.")
    await refuse_broken(tests, new_text, language)
    if language == "python":
        await refuse_no_tests(written, tests, job.document.text)
    await refuse_changed(tests, new_text, language, Kept.SIGNATURES)


def _without_mark(job: Job) -> Job:
    document = job.document
    if not document.text.startswith(_BYTE_ORDER_MARK):
        return job
    bare = replace(document, text=document.text.removeprefix(_BYTE_ORDER_MARK))
    return replace(job, document=bare, start=max(0, job.start - 1), end=max(0, job.end - 1))


def _header_of(region: Region, language: str) -> re.Pattern[str] | None:
    """What the line is like that a region's definition begins with; None where it is no definition of Python's."""
    if language != "python":
        return None
    lines = (line for line in region.bodies if line.strip() and not line.lstrip().startswith(("#", "@")))
    match = _PYTHON_HEADER.match(next(lines, ""))
    return match and re.compile(rf"\s*(?:async\s+)?(?:def|class)\s+{re.escape(match[1])}\b")


async def _code(
    answer: Answer, question: Question, job: Job, chat_model: ChatModel, settings: ChatSettings
) -> list[str]:
    """The code that the model answers with. Once it is there, or cannot come any more, the model is stopped."""
    # A person waits for an edit: what takes the longest thought is better talked over.
    effort = ReasoningEffort.LOW if settings.effort == "low" else ReasoningEffort.MEDIUM
    job.tell("Reading")
    conversation, prompt = await rendered(question, chat_model, settings, effort)
    current = Pass(prompt)
    events = run_pass(
        chat_model,
        conversation,
        current,
        max_tokens=min(settings.max_tokens, settings.max_turn_tokens),
        sampling=chosen_sampling(chat_model.sampling, settings),
        cache_owner=f"code actions {job.document.uri}",
    )
    thinking, writing = Repetition(), Repetition(question.region.bodies)
    is_endless = False
    try:
        async with asyncio.timeout(settings.max_turn_seconds), contextlib.aclosing(events):
            async for event in events:
                if isinstance(event, ReasoningDelta):
                    is_endless = thinking.is_in(event.text)
                    job.tell("Thinking")
                elif isinstance(event, TextDelta):
                    answer.feed(event.text)
                    if answer.is_whole:
                        return answer.code()
                    is_endless = writing.is_in(event.text)
                    job.tell("Writing")
                if is_endless:
                    break
    except TimeoutError as error:
        raise UserError(
            f"The model did not come to an end within {settings.max_turn_seconds:g} seconds (chat.maxTurnSeconds). "
            "Nothing was changed."
        ) from error
    is_cut_off = current.reason is FinishReason.LENGTH
    if answer.is_quoted and (is_endless or is_cut_off):  # more of it would have changed nothing
        raise UserError(UNCHANGED)
    if is_endless:
        raise UserError(
            "The model repeats itself without coming to an end. Nothing was changed; try again, or choose another "
            "model."
        )
    if is_cut_off:
        raise UserError("The model's answer was cut off at its greatest length. Select less, or raise chat.maxTokens.")
    if current.reason is not FinishReason.STOP:
        raise UserError("The model did not come to the end of its answer. Nothing was changed; try again.")
    return answer.code()
