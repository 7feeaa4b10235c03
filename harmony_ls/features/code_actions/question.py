"""What a model is asked: the document, the region in it, the diagnostics, and what is to be done, in as much as fits.

The document is a message of its own and comes first, without a word of the region or the task: what is asked next
about the same document finds it in the prompt cache, whichever action it is and wherever. Documents are quoted, and
never read as instructions or markers: fences that they cannot close stand around them, and prompts are made of token
ids. Rendering happens on a thread.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import cache
from importlib import resources
from itertools import accumulate

from harmony_ls.edits.diff import visible
from harmony_ls.edits.text_file import split_lines
from harmony_ls.errors import PromptTooLongError
from harmony_ls.features.code_actions.region import Region
from harmony_ls.features.diagnostics import DiagnosticNote, diagnostics_text
from harmony_ls.features.markdown import fenced
from harmony_ls.messages import Conversation, Message, ReasoningEffort, Role
from harmony_ls.prompts.format import Prompt
from harmony_ls.session.chat_model import ChatModel
from harmony_ls.settings.models import ChatSettings

__all__ = ["Question", "excerpt_of_tests", "prompt_text", "rendered"]

# So much of the document around a region is shown, in characters: it takes a laptop seconds to read.
_AROUND = (16_000, 8_000, 4_000, 2_000, 1_000, 500, 0)
# What is shown of a longer document begins and ends at a multiple of so many lines: near regions then show the same.
_STEP = 32
# What a model needs to think and to say around its code, in tokens.
_N_FREE = 256
# All that is said in diagnostics, in characters. Some compilers say thousands in one.
_MOST_SAID = 8_000
_LONGEST_LINE = 200
# What is shown of a file of tests: of its first lines, where the imports are, and of its last ones, in lines and
# characters.
_FIRST_TESTS, _LAST_TESTS = (40, 4_000), (80, 8_000)


@cache
def prompt_text(name: str) -> str:
    """A file of ``prompts``: that of an action, or ``instructions``, which stand before each."""
    file = resources.files("harmony_ls.features.code_actions") / "prompts" / f"{name}.md"
    return file.read_text(encoding="utf-8").strip()


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of a region.

    ``name`` and ``language`` are those of the document. ``selected`` is what the person selected and where, in words,
    if it is not the region itself. ``extra`` are labelled texts that go along, ``task`` is what is to be done.
    """

    name: str
    language: str
    region: Region
    task: str
    selected: tuple[str, str] | None = None
    notes: Sequence[DiagnosticNote] = ()
    extra: Sequence[tuple[str, str]] = ()

    def messages(self, n_around: int) -> tuple[Message, Message]:
        """The document, with at most so many characters of it around the region; and what is asked of the region."""
        region, bodies = self.region, self.region.lines.bodies
        first, last = _around(bodies, region.start, region.end, n_around)
        name = " ".join(visible(self.name).replace("`", "'").split())
        is_all, is_region = (first, last) == (0, len(bodies)), (first, last) == (region.start, region.end)
        document = f"The document is `{name}`."
        if is_all or not is_region:
            where = "" if is_all else f", {_lines(first, last)} of {len(bodies)}"
            document = f"The document `{name}`{where}:\n{fenced(_joined(bodies[first:last]), self.language)}"
        text = _joined(region.bodies)
        if is_all and is_region and 2 * len(text) > n_around:
            pieces = ["The region is the whole document.\n"]
        else:  # also where it was shown a moment ago: small models only talk about what they do not see once more
            pieces = [f"The region, {_lines(region.start, region.end)}:\n{fenced(text, self.language)}"]
        if self.selected is not None:
            where, text = self.selected
            pieces.append(f"In the region, the person selected {where}:\n{fenced(text, self.language)}")
        pieces += [f"{label}:\n{fenced(text, self.language)}" for label, text in self.extra]
        if self.notes:
            pieces.append(f"Diagnostics:\n{fenced(self._said())}")
        return Message(Role.USER, document), Message(Role.USER, "\n".join([*pieces, self.task]))

    def _said(self) -> str:
        """The diagnostics, each with the line that it is about: models count lines badly."""
        bodies = self.region.lines.bodies
        notes: list[DiagnosticNote] = []
        n_said = 0
        for note in self.notes:
            line = bodies[note.line - 1].strip() if note.line <= len(bodies) else ""
            shown = replace(note, code=line if len(line) <= _LONGEST_LINE else "")
            n_said += len(shown.message) + len(shown.code)
            if notes and n_said > _MOST_SAID:
                return f"{diagnostics_text(notes)}\nand {len(self.notes) - len(notes)} more"
            notes.append(shown)
        return diagnostics_text(notes)


def excerpt_of_tests(tests: str) -> str:
    """What a model is shown of a file of tests: its beginning and its end."""
    lines = split_lines(tests).bodies
    first = _leading(lines, *_FIRST_TESTS)
    last = _leading(lines[len(first) :][::-1], *_LAST_TESTS)[::-1]
    left_out = ("[…]",) if len(first) + len(last) < len(lines) else ()
    return _joined((*first, *left_out, *last))


def _leading(lines: Sequence[str], n_lines: int, n_characters: int) -> Sequence[str]:
    """The first lines, whole, as far as they are no more than so many with so many characters."""
    ends = accumulate(len(line) + 1 for line in lines[:n_lines])
    return lines[: sum(end <= n_characters for end in ends)]


async def rendered(
    question: Question, chat_model: ChatModel, settings: ChatSettings, effort: ReasoningEffort
) -> tuple[Conversation, Prompt]:
    """The question with as much around the region as leaves room for an answer of the region's length.

    Raises PromptTooLongError where even the region alone is too much for the model.
    """
    return await asyncio.to_thread(_rendered, question, chat_model, settings, effort)


def _rendered(
    question: Question, chat_model: ChatModel, settings: ChatSettings, effort: ReasoningEffort
) -> tuple[Conversation, Prompt]:
    context_length = chat_model.model.context_length
    n_region = len(chat_model.model.tokenizer.encode(_joined(question.region.bodies)))
    n_answer = n_region + n_region // 4 + _N_FREE
    n_answer_kept_free = max(min(n_answer, settings.max_tokens), min(settings.max_tokens, context_length // 4))
    room = context_length - n_answer_kept_free
    instructions = "\n\n".join(filter(None, (settings.instructions.strip(), prompt_text("instructions"))))
    if n_region <= settings.max_tokens:
        for n_around in _AROUND:
            messages = (Message(Role.SYSTEM, instructions), *question.messages(n_around))
            conversation = Conversation(messages, effort=effort, started=date.today())
            prompt = chat_model.format.render(conversation)
            if len(prompt.tokens) <= room:
                return conversation, prompt
    raise PromptTooLongError(
        f"The code has {n_region:,} tokens, too many for {chat_model.model.name} to read and write anew: its context "
        f"has {context_length:,}, and chat.maxTokens lets it write {settings.max_tokens:,}. Select less."
    )


def _around(lines: Sequence[str], start: int, end: int, n_characters: int) -> tuple[int, int]:
    """The lines around a region that fit so many characters: half of them before it, or more where the other half is
    not needed. Where not all fit, both ends are moved nearer to the region, to the next step."""
    n_before = sum(len(line) + 1 for line in lines[:start])
    n_after = sum(len(line) + 1 for line in lines[end:])
    half = n_characters // 2
    for_before = max(half, n_characters - n_after)
    for_after = n_characters - min(for_before, n_before)
    first = start
    while first > 0 and len(lines[first - 1]) + 1 <= for_before:
        first -= 1
        for_before -= len(lines[first]) + 1
    last = end
    while last < len(lines) and len(lines[last]) + 1 <= for_after:
        for_after -= len(lines[last]) + 1
        last += 1
    if first > 0 and (later := -(-first // _STEP) * _STEP) <= start:
        first = later
    if last < len(lines) and (earlier := last // _STEP * _STEP) >= end:
        last = earlier
    return first, last


def _lines(start: int, end: int) -> str:
    return f"line {start + 1}" if end - start == 1 else f"lines {start + 1} to {end}"


def _joined(lines: Sequence[str]) -> str:
    return "\n".join(lines)
