"""Golden transcripts: a conversation as it is told, and the prompt that Harmony makes of it (fixtures/harmony).

Write a file that ends before its first ``>>>`` and run ``pytest --update``: what is missing is written, and the diff is
to be read. How the files are read is said in ``fixtures/harmony/README.md``.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import date
from functools import cache
from pathlib import Path

import pytest

from harmony_ls.messages import Conversation, Message, ReasoningEffort, Role, ToolCall, ToolSpec
from harmony_ls.prompts.format import Prompt
from harmony_ls.prompts.harmony.format import HarmonyFormat
from tests.harmony_vocabulary import SPECIAL_TOKENS, PublishedTokenizer, published_encoding

FOLDER = Path(__file__).parent.parent.parent / "fixtures" / "harmony"
TRANSCRIPTS = sorted(FOLDER.glob("render-*.txt"))
MARKERS = {token: literal for literal, token in SPECIAL_TOKENS.items()}
SECTION = re.compile(r"^== (.*)$", re.MULTILINE)


@dataclass
class Case:
    """A conversation as a transcript tells it. ``generated`` is what the model wrote before its last messages."""

    conversation: Conversation
    generated: tuple[int, ...] = ()
    n_before: int = 0
    problems: list[str] = field(default_factory=list)


@cache
def harmony() -> HarmonyFormat:
    return HarmonyFormat(PublishedTokenizer(), published_encoding())


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
def test_transcript(path: Path, update: bool) -> None:
    text = path.read_text(encoding="utf-8")
    told, separator, _ = text.partition(">>>")
    fresh = told.rstrip("\n") + "\n\n" + "\n\n".join(shown(prompt) for prompt in prompts_of(read(told))) + "\n"
    if update and fresh != text:
        path.write_text(fresh, encoding="utf-8")
        return
    assert separator, "the transcript has no prompt yet: run pytest with --update"
    assert text == fresh


def prompts_of(case: Case) -> Iterator[Prompt]:
    """The prompt of the conversation; with something generated, the one before and the one that goes on from it."""
    if not case.generated:
        yield harmony().render(case.conversation)
        return
    messages = case.conversation.messages
    first = harmony().render(replace(case.conversation, messages=messages[: case.n_before]))
    yield first
    resumed = harmony().resume(first, case.generated, case.conversation)
    assert resumed.tokens[: len(first.tokens)] == first.tokens
    yield resumed


def shown(prompt: Prompt) -> str:
    """A prompt as text: each message on lines of its own, and no text that could be taken for a marker."""
    parts = []
    ordinary: list[int] = []
    for token in (*prompt.tokens, SPECIAL_TOKENS["<|endofprompt|>"]):
        if token not in MARKERS:
            ordinary.append(token)
            continue
        parts.append(published_encoding().decode_utf8(ordinary).replace("<|", "<\\|"))
        ordinary.clear()
        parts.append("\n" * (MARKERS[token] == "<|start|>" and len(parts) > 1) + MARKERS[token])
    places = ", ".join(map(str, prompt.checkpoints))
    return f">>> {len(prompt.tokens)} tokens, checkpoints {places}\n" + "".join(parts[:-1])


def read(told: str) -> Case:
    head, *sections = SECTION.split(told)
    settings = [line.split(": ", 1) for line in head.splitlines() if re.match(r"(effort|started|tool): ", line)]
    tools = [value.split(" | ") for key, value in settings if key == "tool"]
    values = dict(settings)
    case = Case(
        Conversation(
            tools=tuple(ToolSpec(name, text, *map(json.loads, schema)) for name, text, *schema in tools),
            effort=ReasoningEffort(values.get("effort", "medium")),
            started=date.fromisoformat(values["started"]) if "started" in values else None,
        )
    )
    messages: list[Message] = []
    for title, body in zip(sections[::2], sections[1::2], strict=True):
        # One newline belongs to the title; the blank line after a body is for the eye.
        content = body.removeprefix("\n").removesuffix("\n").removesuffix("\n")
        match title.split():
            case ["generated"]:
                case.generated = tuple(published_encoding().encode(content, allowed_special="all"))
                case.n_before = len(messages)
            case ["reasoning"]:
                messages.append(Message(Role.ASSISTANT, reasoning=content))
            case ["call", identity, name]:
                calls = (*messages[-1].tool_calls, ToolCall(identity, name, content))
                messages[-1] = replace(messages[-1], tool_calls=calls)
            case ["text"]:
                messages[-1] = replace(messages[-1], content=content)
            case ["tool", *identities]:
                names = dict(zip(("tool_call_id", "name"), identities, strict=False))
                messages.append(Message(Role.TOOL, content, **names))
            case [role]:
                messages.append(Message(Role(role), content))
    case.conversation = replace(case.conversation, messages=tuple(messages))
    return case


def test_there_are_transcripts() -> None:
    assert len(TRANSCRIPTS) >= 12
