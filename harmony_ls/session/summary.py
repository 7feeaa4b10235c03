"""The oldest turns of a conversation in a few sentences, written by the model itself, when they no longer fit."""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import replace
from importlib import resources

from harmony_ls.engine.generation.request import Sampling
from harmony_ls.messages import Conversation, Message, ReasoningEffort, Role
from harmony_ls.session.chat_model import ChatModel
from harmony_ls.session.generation import Pass, run_pass
from harmony_ls.session.turn import Turn

__all__ = ["room_for_summary", "summarise"]

_MAX_TOKENS = 1024
# The summary may take this share of the room at most, or it would crowd out what it makes room for.
_LARGEST_SHARE = 0.1
# What stands around a summary, in tokens.
_FRAME_TOKENS = 32


def room_for_summary(room: int) -> int:
    """How many tokens of a prompt to keep free for a summary."""
    return _longest(room) + _FRAME_TOKENS


async def summarise(
    chat_model: ChatModel, earlier: str, messages: Sequence[Message], room: int, cache_owner: str, running: Turn
) -> str:
    """``messages`` in a few sentences, with an ``earlier`` summary worked in.

    Empty where there is no room for one, and where the turn is ended before it is begun.

    Where even the old turns are too long to be read at once, their oldest part is left out of the summary. The pass
    belongs to the ``running`` turn: it counts there, and ends with it.
    """
    max_tokens = _longest(room)
    if max_tokens < 1:
        return ""
    order = (resources.files("harmony_ls.session") / "summary.md").read_text(encoding="utf-8").strip()
    told = [replace(message, reasoning="") for message in messages]
    if earlier:
        told[0] = replace(told[0], content=f"(Before this was said: {earlier})\n\n{told[0].content}")
    while told:
        conversation = Conversation(
            (*told, Message(Role.USER, order)),
            effort=ReasoningEffort.LOW,
            template_arguments={"enable_thinking": False},
        )
        prompt = await asyncio.to_thread(chat_model.format.render, conversation)
        if len(prompt.tokens) + max_tokens <= chat_model.model.context_length:
            break
        # The oldest turn goes: from its user's message up to the next one.
        starts = [index for index, message in enumerate(told) if message.role is Role.USER and index > 0]
        told = told[starts[0] :] if starts else []
    else:
        return ""
    if running.is_ended:  # while the prompt was made: nothing more is to be generated
        return ""
    current = running.begin(Pass(prompt))
    stream = run_pass(
        chat_model, conversation, current, max_tokens=max_tokens, sampling=Sampling(), cache_owner=cache_owner
    )
    try:
        async with contextlib.aclosing(stream):
            async for _ in stream:
                pass
    finally:
        running.count(current)
    return current.message.content.strip()


def _longest(room: int) -> int:
    return min(_MAX_TOKENS, int(room * _LARGEST_SHARE))
