"""What a model is asked: the document in parts, the diagnostics, and what is to be done, in as much as it can read.

The parts of a document are quoted, and never read as instructions or markers: fences that they cannot close stand
around them, and prompts are made of token ids. Rendering happens on a thread.
"""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib import resources

from harmony_ls.edits.diff import visible
from harmony_ls.edits.text_file import Lines
from harmony_ls.errors import PromptTooLongError
from harmony_ls.features.diagnostics import DiagnosticNote, diagnostics_text
from harmony_ls.features.markdown import fenced
from harmony_ls.messages import Conversation, Message, ReasoningEffort, Role
from harmony_ls.session.chat_model import ChatModel
from harmony_ls.settings.models import ChatSettings

__all__ = ["Question", "Region", "fitted_question", "prompt_text"]

# So much of the document around a region is shown, in characters: it takes a laptop seconds to read.
_AROUND = (16_000, 8_000, 4_000, 2_000, 1_000, 500, 0)
_LANGUAGE = re.compile(r"[\w+#.-]{1,40}")
# What a model needs to think and to say around its code, in tokens.
_N_FREE = 256


@cache
def prompt_text(name: str) -> str:
    """A file of ``prompts``: that of an action, or ``instructions``, which stand before each."""
    file = resources.files("harmony_ls.features.code_actions") / "prompts" / f"{name}.md"
    return file.read_text(encoding="utf-8").strip()


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

    def text(self, n_around: int) -> str:
        """The question, with at most so many characters of the document around the region."""
        region, lines = self.region, self.region.lines
        first, last = _around(lines.bodies, region.start, region.end, n_around)
        name = " ".join(visible(self.name).replace("`", "'").split())
        pieces = [f"The document is `{name}`.\n"]
        if first < region.start:
            pieces.append(self._part("Before the region", first, region.start))
        pieces.append(self._part("The region", region.start, region.end))
        if region.end < last:
            pieces.append(self._part("After the region", region.end, last))
        if self.selected is not None:
            where, text = self.selected
            pieces.append(f"In the region, the person selected {where}:\n{fenced(text, self._fence_language)}")
        pieces += [f"{label}:\n{fenced(text, self._fence_language)}" for label, text in self.extra]
        if self.notes:
            pieces.append(f"Diagnostics of the region:\n{fenced(diagnostics_text(self.notes))}")
        return "\n".join([*pieces, self.task])

    @property
    def _fence_language(self) -> str:
        """The language as a fence may name it; a client may send anything."""
        return self.language if _LANGUAGE.fullmatch(self.language) else ""

    def _part(self, label: str, start: int, end: int) -> str:
        where = f"line {start + 1}" if end - start == 1 else f"lines {start + 1} to {end}"
        text = "\n".join(self.region.lines.bodies[start:end])
        return f"{label}, {where}:\n{fenced(text, self._fence_language)}"


async def fitted_question(
    question: Question, chat_model: ChatModel, settings: ChatSettings, instructions: str, effort: ReasoningEffort
) -> str:
    """The question with as much around the region as leaves room for an answer of the region's length.

    Raises PromptTooLongError where even the region alone is too much for the model.
    """
    return await asyncio.to_thread(_fitted, question, chat_model, settings, instructions, effort)


def _fitted(
    question: Question, chat_model: ChatModel, settings: ChatSettings, instructions: str, effort: ReasoningEffort
) -> str:
    context_length = chat_model.model.context_length
    n_region = len(chat_model.model.tokenizer.encode("\n".join(question.region.bodies)))
    n_answer = n_region + n_region // 4 + _N_FREE
    n_answer_kept_free = max(min(n_answer, settings.max_tokens), min(settings.max_tokens, context_length // 4))
    room = context_length - n_answer_kept_free
    if n_region <= settings.max_tokens:
        for n_around in _AROUND:
            text = question.text(n_around)
            messages = (Message(Role.SYSTEM, instructions), Message(Role.USER, text))
            conversation = Conversation(messages, effort=effort, started=date.today())
            if len(chat_model.format.render(conversation).tokens) <= room:
                return text
    raise PromptTooLongError(
        f"The code has {n_region:,} tokens, too many for {chat_model.model.name} to read and write anew: its context "
        f"has {context_length:,}, and chat.maxTokens lets it write {settings.max_tokens:,}. Select less."
    )


def _around(lines: Sequence[str], start: int, end: int, n_characters: int) -> tuple[int, int]:
    """The lines around a region that fit so many characters: half of them before it, or more where the other half is
    not needed."""
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
    return first, last
