"""Conversations with models that follow a script: which text makes them write what, and what came of it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from harmony_ls.engine.engine import Engine
from harmony_ls.engine.models.model import ModelSpec
from harmony_ls.events import Event, Notice, ReasoningDelta, TextDelta, TurnFinished, Usage
from harmony_ls.messages import FinishReason, ToolCall, ToolSpec
from harmony_ls.session.chat_model import ChatModel, load_chat_model
from harmony_ls.session.session import Session
from harmony_ls.settings.models import ChatSettings
from harmony_ls.tools.tool import ApprovalRequest, ToolOutput
from tests.models import RECIPES, Rule, build_scripted_model

__all__ = [
    "Oracle",
    "Script",
    "answer",
    "calls",
    "chat_model",
    "final",
    "greedy",
    "kinds",
    "notices",
    "reason_of",
    "said",
    "scripted_gpt_oss",
    "text_of",
    "thought",
    "tool_result",
    "usages",
]


Script = Callable[..., Path]
"""Builds a scripted GPT-OSS from rules."""


def scripted_gpt_oss(folder: Path, rules: Sequence[Rule], **config: Any) -> Path:
    """A model with GPT-OSS's name and markers that follows ``rules``: one token per byte, Harmony's own markers."""
    recipe = replace(RECIPES["gpt_oss"], merged=())
    return build_scripted_model(folder, rules, recipe=recipe, markers={}, config={"model_type": "gpt_oss", **config})


def said(text: str) -> str:
    """How a prompt ends after the person said ``text``."""
    return f"<|start|>user<|message|>{text}<|end|><|start|>assistant"


def tool_result(text: str) -> str:
    """How a prompt ends after a tool answered ``text``."""
    return f"<|message|>{text}<|end|><|start|>assistant"


def final(text: str, *, reasoning: str = "") -> str:
    """An answer as GPT-OSS writes it."""
    thought = f"<|channel|>analysis<|message|>{reasoning}<|end|><|start|>assistant" if reasoning else ""
    return f"{thought}<|channel|>final<|message|>{text}<|return|>"


def greedy(**options: Any) -> ChatSettings:
    """Settings under which a scripted model says what it is scripted to say."""
    return ChatSettings(temperature=0, **options)


@asynccontextmanager
async def chat_model(folder: Path, **options: Any) -> AsyncIterator[ChatModel]:
    """A model of a folder, ready to be talked to."""
    async with Engine() as engine:
        yield await load_chat_model(engine, ModelSpec(str(folder), trust_remote_code=True), **options)


async def answer(session: Session, text: str) -> list[Event]:
    """All events of one turn."""
    return [event async for event in session.turn(text)]


def text_of(events: Sequence[Event]) -> str:
    """What the person was shown."""
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def thought(events: Sequence[Event]) -> str:
    """What the model reasoned."""
    return "".join(event.text for event in events if isinstance(event, ReasoningDelta))


def notices(events: Sequence[Event]) -> list[str]:
    """What the person was told that the model did not say."""
    return [event.text for event in events if isinstance(event, Notice)]


def reason_of(events: Sequence[Event]) -> FinishReason:
    """Why the turn ended, as its last event says."""
    assert isinstance(events[-1], TurnFinished)
    return events[-1].reason


def usages(events: Sequence[Event]) -> list[Usage]:
    """The figures of the passes of a turn."""
    return [event for event in events if isinstance(event, Usage)]


def kinds(events: Sequence[Event]) -> list[str]:
    """The kinds of events in their order, each run of one kind named once."""
    names = [type(event).__name__ for event in events]
    return [name for index, name in enumerate(names) if index == 0 or names[index - 1] != name]


@dataclass
class Oracle:
    """A tool that knows some answers, and waits for ever where it is told to."""

    answers: dict[str, ToolOutput]
    asks: bool = False
    calls: list[str] = field(default_factory=list)
    is_waiting: asyncio.Event = field(default_factory=asyncio.Event)
    was_cancelled: bool = False
    spec: ToolSpec = field(
        default_factory=lambda: ToolSpec(
            "oracle",
            "Ask the oracle.",
            {"type": "object", "properties": {"question": {"type": "string"}}, "required": ["question"]},
        )
    )

    async def prepare(self, call: ToolCall) -> ApprovalRequest | ToolOutput | None:
        return ApprovalRequest(call, "Ask the oracle") if self.asks else None

    async def run(self, call: ToolCall) -> ToolOutput:
        self.calls.append(call.arguments)
        if "wait" in call.arguments:
            self.is_waiting.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.was_cancelled = True
                raise
        return self.answers.get(call.arguments, ToolOutput("The oracle is silent.", is_error=True))

    async def close(self) -> None:
        """Nothing to let go of."""


def calls(arguments: str, name: str = "functions.oracle") -> str:
    """A tool call as GPT-OSS writes it."""
    return f"<|channel|>commentary to={name} <|constrain|>json<|message|>{arguments}<|call|>"
