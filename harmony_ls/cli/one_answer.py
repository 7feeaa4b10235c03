"""One answer of a model without a conversation around it: to messages, or to a text that is gone on with.

It shows nothing. `harmony-ls generate` is its front end, and `harmony_ls.session.generation` makes the pass.
"""

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace

from harmony_ls.engine.engine import Engine
from harmony_ls.engine.generation.request import Sampling, Token
from harmony_ls.engine.models.model import Model
from harmony_ls.engine.tokenizer.tokenizer import Tokenizer
from harmony_ls.errors import PromptTooLongError, UserError
from harmony_ls.events import Event, ReasoningDelta, TextDelta, ToolCallFinished, Usage
from harmony_ls.messages import Conversation, FinishReason, Message, Role, ToolCall
from harmony_ls.prompts.format import Prompt
from harmony_ls.session.chat_model import ChatModel
from harmony_ls.session.generation import Asked, Pass, written

__all__ = ["Answer", "OneAnswer", "ask", "go_on_with"]


@dataclass(slots=True)
class Answer:
    """What was written so far; complete once the events have ended. ``tokens`` are all of them, markers included."""

    text: str = ""
    reasoning: str = ""
    tool_calls: list[ToolCall] = field(default_factory=list)
    reason: FinishReason = FinishReason.CANCELLED
    usage: Usage = field(default_factory=Usage)
    tokens: list[Token] = field(default_factory=list)

    def take(self, item: Event | Token) -> None:
        """Note what came."""
        match item:
            case Token():
                self.tokens.append(item)
            case TextDelta(text):
                self.text += text
            case ReasoningDelta(text):
                self.reasoning += text
            case ToolCallFinished(_, call):
                self.tool_calls.append(call)


def ask(chat_model: ChatModel, conversation: Conversation) -> Asked:
    """The prompt of a conversation. Raises ModelError where the model cannot be spoken to like this."""
    prompt = chat_model.format.render(conversation)
    return Asked(prompt, chat_model.format.parser(prompt, conversation), chat_model.format.stop_tokens)


def go_on_with(model: Model, text: str) -> Asked:
    """The prompt that is nothing but ``text``; the model goes on with it."""
    tokenizer = model.tokenizer
    bos = tokenizer.bos_token_id
    tokens = (*(() if bos is None else (bos,)), *tokenizer.encode(text))
    return Asked(Prompt(tokens), _PlainParser(tokenizer), tokenizer.eos_token_ids)


class OneAnswer:
    """The pass. Iterate over ``events`` once; ``answer`` grows meanwhile.

    ``stops`` and ``n_top`` are as in `Asked`; ``max_tokens`` is the most that is written, where the context has room.
    Raises UserError for a prompt that is empty, and PromptTooLongError for one that fills the model's context.
    """

    def __init__(
        self,
        engine: Engine,
        model: Model,
        asked: Asked,
        *,
        sampling: Sampling,
        max_tokens: int,
        stops: Sequence[str] = (),
        n_top: int = 0,
    ) -> None:
        n_prompt = len(asked.prompt.tokens)
        if not n_prompt:
            raise UserError("The prompt is empty: there is nothing to go on with.")
        if n_prompt >= model.context_length:
            raise PromptTooLongError(
                f"The prompt has {n_prompt:,} tokens, and {model.name} takes {model.context_length:,} in all. "
                "Shorten it, or choose a model with a longer context."
            )
        self.answer = Answer()
        self._engine = engine
        self._model = model
        self._asked = replace(asked, stops=stops, n_top=n_top)
        self._pass = Pass(asked.prompt)
        self._sampling = sampling
        self.max_tokens = max_tokens
        self._is_cancelled = False

    @property
    def model_name(self) -> str:
        """What the model is called."""
        return self._model.name

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer."""
        return self._model.tokenizer

    def cancel(self) -> None:
        """End the answer before the next step; what was written stays."""
        self._is_cancelled = True
        self._pass.cancel()

    async def events(self) -> AsyncIterator[Event | Token]:
        """Each token, followed by the events that it completes."""
        if self._is_cancelled:
            return
        items = written(
            self._engine,
            self._model,
            self._asked,
            self._pass,
            max_tokens=self.max_tokens,
            sampling=self._sampling,
        )
        answer = self.answer
        try:
            async with contextlib.aclosing(items):
                async for item in items:
                    answer.take(item)
                    yield item
        finally:
            answer.usage, answer.reason = self._pass.usage, self._pass.reason
            if answer.tool_calls and answer.reason is FinishReason.STOP:
                answer.reason = FinishReason.TOOL_CALLS


class _PlainParser:
    """Reads an answer that has no format."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._decoder = tokenizer.decoder()
        self._text = ""

    @property
    def is_over(self) -> bool:
        """Never: only the model ends it."""
        return False

    @property
    def in_reasoning(self) -> bool:
        """Never: without a format nothing is known to be reasoning."""
        return False

    def feed(self, token: int) -> list[Event]:
        """The text that the token completes."""
        text = self._decoder.feed(token)
        self._text += text
        return [TextDelta(text)] if text else []

    def finish(self, *, complete: bool) -> list[Event]:
        """Nothing more: the bytes of half a character are no text."""
        return []

    def message(self) -> Message:
        """What was written."""
        return Message(Role.ASSISTANT, self._text)
