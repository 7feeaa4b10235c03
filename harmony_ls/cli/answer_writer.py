"""Writes what a model answers to stdout: as text, as one JSON object, or as one JSON object a line.

What is no answer goes to stderr. It asks no model and reads no prompt.
"""

import sys
import time
from typing import TYPE_CHECKING, Any

from harmony_ls.cli.plain_text import clean, json_line
from harmony_ls.engine.generation.request import Token
from harmony_ls.events import (
    Event,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallFinished,
    ToolCallStarted,
)
from harmony_ls.messages import FinishReason, ToolCall

if TYPE_CHECKING:
    from rich.console import Console

    from harmony_ls.cli.one_answer import OneAnswer
    from harmony_ls.engine.tokenizer.tokenizer import Tokenizer

__all__ = ["AnswerWriter"]


class AnswerWriter:
    """Writes one answer. ``begin`` it with the pass, ``write`` what comes, then ``finish``; or ``give_up`` early."""

    def __init__(
        self,
        errors: "Console",
        *,
        is_json: bool,
        is_streamed: bool,
        shows_reasoning: bool,
        shows_logprobs: bool,
    ) -> None:
        self._errors = errors
        self._is_json = is_json
        self._is_streamed = is_streamed
        self._shows_reasoning = shows_reasoning
        self._shows_logprobs = shows_logprobs
        self._one: OneAnswer | None = None
        self._loaded_seconds = 0.0
        self._began = time.perf_counter()
        self._written = ""
        self._reasoning_is_open = False

    def begin(self, one: "OneAnswer", *, loaded_seconds: float) -> None:
        """The model is there, and is about to write."""
        self._one = one
        self._loaded_seconds = loaded_seconds
        self._began = time.perf_counter()

    def write(self, item: Event | Token) -> None:
        """Write an event, or a token of which log-probabilities are wanted, if it is to be shown as it comes."""
        if self._is_json:
            if self._is_streamed and (line := self._event_line(item)) is not None:
                self._put(json_line(line) + "\n")
            return
        match item:
            case ReasoningDelta(text) if self._shows_reasoning and self._is_streamed:
                self._put_reasoning(text)
            case TextDelta(text) if self._is_streamed:
                self._close_reasoning()
                self._put(clean(text))

    def finish(self) -> None:
        """Write what is left, once the answer has ended."""
        assert self._one is not None
        answer = self._one.answer
        if self._is_json:
            self._put_object(self._object())
            return
        if not self._is_streamed:
            if self._shows_reasoning and answer.reasoning:
                self._put_reasoning(answer.reasoning)
            self._close_reasoning()
            self._put(clean(answer.text))
        self._close_reasoning()
        if self._written and not self._written.endswith("\n"):
            self._put("\n")
        for call in answer.tool_calls:
            self._say(f"The model called the tool {call.name}, which nobody offered:\n{call.arguments}")
        if answer.reason is FinishReason.LENGTH:
            is_full = len(answer.tokens) < self._one.max_tokens
            limit = ": the model's context is full" if is_full else " (--max-tokens)"
            self._say(f"The answer was cut off after {len(answer.tokens):,} tokens{limit}.")
        elif answer.reason is FinishReason.CANCELLED:
            self._say("Stopped.")
        elif not answer.text and not answer.tool_calls:
            self._say("The model ended without an answer.")

    def give_up(self) -> None:
        """End before the model has begun: with JSON there is an object all the same."""
        self._say("Stopped.")
        if self._is_json:
            self._put_object(self._object())

    def _put_object(self, content: dict[str, Any]) -> None:
        first = {"type": "finished"} if self._is_streamed else {}
        self._put(json_line(first | content) + "\n")

    def _object(self) -> dict[str, Any]:
        """All of the answer, in OpenAI's words where they have some."""
        if self._one is None:
            return {"text": "", "finish_reason": str(FinishReason.CANCELLED)}
        answer, usage = self._one.answer, self._one.answer.usage
        n_decoded = usage.generated_tokens - 1
        speed = n_decoded / usage.decode_seconds if n_decoded > 0 and usage.decode_seconds > 0 else None
        return {
            "model": self._one.model_name,
            "text": answer.text,
            "reasoning": answer.reasoning,
            "tool_calls": [_call(call) for call in answer.tool_calls],
            "finish_reason": str(answer.reason),
            "usage": {
                "prompt_tokens": usage.prompt_tokens,
                "prompt_tokens_details": {"cached_tokens": usage.prompt_tokens - usage.computed_tokens},
                "completion_tokens": usage.generated_tokens,
                "reasoning_tokens": usage.reasoning_tokens,
            },
            "timings": {
                "load_seconds": round(self._loaded_seconds, 3),
                "first_token_ms": None if usage.first_token_ms is None else round(usage.first_token_ms, 1),
                "decode_seconds": round(usage.decode_seconds, 3),
                "tokens_per_second": None if speed is None else round(speed, 1),
                "total_seconds": round(time.perf_counter() - self._began, 3),
            },
            "logprobs": [self._logprob(token) for token in answer.tokens] if self._shows_logprobs else None,
        }

    def _event_line(self, item: Event | Token) -> dict[str, Any] | None:
        match item:
            case Token():
                return {"type": "token"} | self._logprob(item) if self._shows_logprobs else None
            case TextDelta(text):
                return {"type": "text", "text": text}
            case ReasoningDelta(text):
                return {"type": "reasoning", "text": text}
            case ToolCallStarted(index, name):
                return {"type": "tool_call_started", "index": index, "name": name}
            case ToolCallDelta(index, text):
                return {"type": "tool_call_delta", "index": index, "text": text}
            case ToolCallFinished(index, call):
                return {"type": "tool_call_finished", "index": index, "tool_call": _call(call)}
        return None

    def _logprob(self, token: Token) -> dict[str, Any]:
        assert self._one is not None
        tokenizer = self._one.tokenizer
        top = [{"id": each, "token": _spelled(tokenizer, each), "logprob": logprob} for each, logprob in token.top]
        spelled = _spelled(tokenizer, token.id)
        return {"id": token.id, "token": spelled, "logprob": token.logprob, "top_logprobs": top}

    def _put(self, text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()
        self._written = text or self._written

    def _put_reasoning(self, text: str) -> None:
        self._errors.print(clean(text), end="", style="dim", soft_wrap=True)
        self._reasoning_is_open = True

    def _close_reasoning(self) -> None:
        if self._reasoning_is_open:
            self._errors.print()
            self._reasoning_is_open = False

    def _say(self, text: str) -> None:
        self._errors.print(clean(text), style="yellow")


def _call(call: ToolCall) -> dict[str, str]:
    return {"id": call.id, "name": call.name, "arguments": call.arguments}


def _spelled(tokenizer: "Tokenizer", token: int) -> str:
    """A token as text: a marker by its name, part of a character as U+FFFD."""
    return tokenizer.marker_text(token) or tokenizer.decode([token])
