"""The oldest turns of a conversation in a few sentences, written by the model itself, when they no longer fit."""

from collections.abc import Sequence
from dataclasses import replace
from importlib import resources

from harmony_ls.engine.request import Sampling
from harmony_ls.messages import Conversation, Message, ReasoningEffort, Role
from harmony_ls.session.chat_model import ChatModel
from harmony_ls.session.generation import Pass, run_pass

__all__ = ["summarise"]

_MAX_TOKENS = 1024
# The summary may take this share of the room at most, or it would crowd out what it makes room for.
_LARGEST_SHARE = 0.1


async def summarise(
    chat_model: ChatModel, earlier: str, messages: Sequence[Message], room: int, cache_owner: str
) -> str:
    """``messages`` in a few sentences, with an ``earlier`` summary worked in; empty where there is no room for one.

    Where even the old turns are too long to be read at once, their oldest part is left out of the summary.
    """
    max_tokens = min(_MAX_TOKENS, int(room * _LARGEST_SHARE))
    if max_tokens < 1:
        return ""
    order = (resources.files("harmony_ls.session") / "summary.md").read_text(encoding="utf-8").strip()
    system = (Message(Role.SYSTEM, f"What was said before:\n{earlier}"),) if earlier else ()
    told = [replace(message, reasoning="") for message in messages]
    while told:
        conversation = Conversation(
            (*system, *told, Message(Role.USER, order)),
            effort=ReasoningEffort.LOW,
            template_arguments={"enable_thinking": False},
        )
        prompt = chat_model.format.render(conversation)
        if len(prompt.tokens) + max_tokens <= chat_model.model.context_length:
            break
        # The oldest turn goes: from its user's message up to the next one.
        starts = [index for index, message in enumerate(told) if message.role is Role.USER and index > 0]
        told = told[starts[0] :] if starts else []
    else:
        return ""
    current = Pass(prompt)
    async for _ in run_pass(
        chat_model, conversation, current, max_tokens=max_tokens, sampling=Sampling(), cache_owner=cache_owner
    ):
        pass
    return current.message.content.strip()
