"""The Python API: tokens from a prompt, a text or messages, asynchronously or not.

    from harmony_ls import TokenGenerator

    with TokenGenerator("mlx-community/gpt-oss-20b-MXFP4-Q8") as generator:
        for token in generator.generate(messages=[{"role": "user", "content": "Hello"}], max_tokens=200):
            ...

`AsyncTokenGenerator` does the work; `TokenGenerator` is the same for programs without an event loop, and keeps one on a
thread of its own. Both yield token ids as the model writes them, markers included: for text, reasoning and tool calls
use `harmony_ls.session.session.Session`.
"""

import asyncio
import contextlib
import queue
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Self, TypeVar

from harmony_ls.engine.engine import Engine
from harmony_ls.engine.generation.request import GenerationRequest, Sampling, Token
from harmony_ls.engine.generation.stop_strings import StopStrings
from harmony_ls.engine.models.model import Model, ModelSpec
from harmony_ls.errors import EngineClosedError, ModelError
from harmony_ls.messages import Conversation, FinishReason, Message, ReasoningEffort, ToolSpec
from harmony_ls.session.chat_model import ChatModel, load_chat_model
from harmony_ls.session.openai_messages import messages_of

__all__ = ["AsyncTokenGenerator", "GeneratedToken", "TokenGenerator"]

Result = TypeVar("Result")
_CLOSED = "This generator is closed."
GeneratedToken = int | dict[str, Any]
"""A token id; with ``return_logprobs`` a dictionary with ``token`` (id), ``logprob`` (natural logarithm) and
``text`` (what the token completes, empty for markers and unfinished characters); ``top_logprobs`` adds ``top``, the
likeliest ids with their log-probabilities."""


class AsyncTokenGenerator:
    """A resident model that turns prompts into tokens. Use it as an asynchronous context manager, or call ``close``.

    ``model_path`` is a folder or a repository of the Hugging Face Hub. ``use_harmony``: None decides by the model's
    architecture; True raises ModelError for a model without Harmony's markers; False uses the model's own chat
    template. ``lazy``: load at the first use, and not with ``open``. Further options are those of ``ModelSpec``:
    ``adapter_path``, ``draft``, ``trust_remote_code`` and so on.
    """

    def __init__(
        self, model_path: str | None, use_harmony: bool | None = None, lazy: bool = False, **options: Any
    ) -> None:
        self._spec = ModelSpec(reference=None if model_path is None else str(model_path), **options)
        self._use_harmony = use_harmony
        self.lazy = lazy
        self._engine = Engine()
        self._model: Model | None = None
        self._chat_model: ChatModel | None = None
        self._why_no_chat: ModelError | None = None
        self._opening: asyncio.Task[None] | None = None
        self._started = date.today()

    async def __aenter__(self) -> Self:
        if not self.lazy:
            await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def open(self) -> None:
        """Load the model, unless it is there. Raises ModelError where it cannot be loaded."""
        if self._opening is None or (self._opening.done() and self._model is None):
            self._opening = asyncio.create_task(self._open())
        await asyncio.shield(self._opening)

    async def _open(self) -> None:
        self._model = await self._engine.load(self._spec)
        try:
            self._chat_model = await load_chat_model(self._engine, self._spec, use_harmony=self._use_harmony)
        except ModelError as error:
            # A base model still continues token ids and plain text.
            if self._use_harmony is not None:
                self._model = None
                raise
            self._why_no_chat = error

    async def close(self) -> None:
        """Free the model. Generations that run are ended."""
        await self._engine.close()

    @property
    def model(self) -> Model:
        """The model. Raises RuntimeError before it is loaded."""
        if self._model is None:
            raise RuntimeError("the model is not loaded yet: call open() first")
        return self._model

    @property
    def speaks_harmony(self) -> bool:
        """Whether messages are rendered in Harmony."""
        return self._chat_model is not None and self._chat_model.speaks_harmony

    async def render(
        self,
        messages: Sequence[Message | Mapping[str, Any]] | str,
        *,
        system_message: str | None = None,
        tools: Sequence[ToolSpec] = (),
        effort: ReasoningEffort | str = ReasoningEffort.MEDIUM,
        template_arguments: Mapping[str, Any] | None = None,
        started: date | None = None,
    ) -> list[int]:
        """The prompt of a conversation, as token ids, up to where the assistant begins to write.

        A text is the message of a user. ``started`` is the date that the model is told, by default that on which this
        generator was made (or the prompt cache that it loaded), so that a prompt stays the same past midnight. Raises
        ModelError for a model that has no chat template.
        """
        await self.open()
        if self._chat_model is None:
            raise self._why_no_chat or ModelError(f"{self.model.name} cannot be spoken to.")
        conversation = Conversation(
            messages_of(messages, system_message),
            tuple(tools),
            ReasoningEffort(effort),
            started or self._started,
            template_arguments=dict(template_arguments or {}),
        )
        rendered = await asyncio.to_thread(self._chat_model.format.render, conversation)
        return list(rendered.tokens)

    async def generate(
        self,
        prompt_tokens: Sequence[int] | None = None,
        stop_tokens: Sequence[int] | None = None,
        temperature: float = 1.0,
        max_tokens: int = 0,
        return_logprobs: bool = False,
        *,
        messages: Sequence[Message | Mapping[str, Any]] | None = None,
        prompt: str | None = None,
        system_message: str | None = None,
        stop: str | Sequence[str] = (),
        top_logprobs: int = 0,
        logit_bias: Mapping[int, float] | None = None,
        **options: Any,
    ) -> AsyncIterator[GeneratedToken]:
        """Generate after exactly one of ``prompt_tokens`` (ids), ``messages`` (OpenAI's form) and ``prompt`` (a text).

        The first five parameters are those of the reference implementation of GPT-OSS, in its order: ``stop_tokens``
        None means the model's own, and an empty list none; the stop token is yielded, as the last one. ``max_tokens``
        0 means up to the end of the context, and more than that is cut to it. ``prompt`` is a user's message where the
        model has a chat template, else text that is continued. ``stop`` is a text that ends the generation, or several;
        the token that completes one is the last. ``top_logprobs`` adds so many of the likeliest tokens to each
        dictionary, under ``top``. ``logit_bias`` is added to the logits of these ids. ``options`` are further fields of
        ``Sampling`` (``top_p``, ``seed``, ...), and of `render` (``tools``, ``effort``, ``template_arguments``,
        ``started``).

        Raises TypeError for options that there are not, ValueError for arguments that do not go together, ModelError
        and PromptTooLongError as they say, and EngineClosedError where the generator is closed before the end.
        """
        given = [name for name, value in _named(prompt_tokens, messages, prompt) if value is not None]
        if len(given) != 1:
            raise ValueError(f"name one of prompt_tokens, messages and prompt, not {' and '.join(given) or 'none'}")
        await self.open()
        names = ("tools", "effort", "template_arguments", "started")
        rendering: dict[str, Any] = {name: options.pop(name) for name in names if name in options}
        tokens = await self._tokens(prompt_tokens, messages, prompt, system_message, rendering)
        model = self.model
        request = GenerationRequest(
            prompt=tuple(tokens),
            max_tokens=max_tokens or model.context_length,
            stop_tokens=self._stops() if stop_tokens is None else frozenset(stop_tokens),
            sampling=Sampling(temperature=temperature, logit_bias=tuple((logit_bias or {}).items()), **options),
            top_logprobs=top_logprobs,
        )
        decoder, stops = model.tokenizer.decoder(), StopStrings((stop,) if isinstance(stop, str) else stop)
        generation = self._engine.generate(model, request)
        try:
            async for token in generation:
                text = decoder.feed(token.id)
                _, is_stopped = stops.feed(text)
                yield _with_logprob(token, text) if return_logprobs else token.id
                if is_stopped:
                    return
            if generation.stats.finish_reason is FinishReason.CANCELLED:  # nobody else ends it
                raise EngineClosedError(_CLOSED)
        finally:
            generation.cancel()

    async def save_prompt_cache(self, path: Path, tokens: Sequence[int]) -> None:
        """Keep what the model computed for a prompt, so that another process need not; see ``Engine``."""
        await self.open()
        await self._engine.save_prompt_cache(self.model, path, tokens)

    async def load_prompt_cache(self, path: Path, tokens: Sequence[int] | None = None) -> list[int]:
        """Take over a file of `save_prompt_cache`; returns the tokens with which prompts that use it begin.

        A file of ``mlx_lm.cache_prompt`` does not name its ``tokens``, so they are needed there. A date that Harmony
        tells in them is told in messages from now on: else none would begin so.
        """
        await self.open()
        held = await self._engine.load_prompt_cache(self.model, path, tokens)
        if self._chat_model is not None:
            self._started = self._chat_model.format.date_of(held) or self._started
        return list(held)

    async def _tokens(
        self,
        prompt_tokens: Sequence[int] | None,
        messages: Sequence[Message | Mapping[str, Any]] | None,
        prompt: str | None,
        system_message: str | None,
        rendering: dict[str, Any],
    ) -> Sequence[int]:
        if prompt_tokens is not None:
            if system_message is not None or rendering:
                raise ValueError("prompt_tokens are the whole prompt: a system message or tools cannot be added to it")
            return prompt_tokens
        if messages is not None:
            return await self.render(messages, system_message=system_message, **rendering)
        assert prompt is not None
        if not prompt:
            raise ValueError("the prompt is empty")
        if self._chat_model is not None:
            return await self.render(prompt, system_message=system_message, **rendering)
        if system_message is not None or rendering:
            raise self._why_no_chat or ModelError(f"{self.model.name} has no chat template.")
        tokenizer = self.model.tokenizer
        bos = tokenizer.bos_token_id
        return [*(() if bos is None else (bos,)), *tokenizer.encode(prompt)]

    def _stops(self) -> frozenset[int]:
        if self._chat_model is not None:
            return self._chat_model.format.stop_tokens
        return self.model.tokenizer.eos_token_ids


class TokenGenerator:
    """`AsyncTokenGenerator` for programs without an event loop: the same arguments, plain iterators.

    It may be used from several threads; their generations take turns. Close it, or use it as a context manager; what is
    not closed is closed when the program ends.
    """

    def __init__(
        self, model_path: str | None, use_harmony: bool | None = None, lazy: bool = False, **options: Any
    ) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="harmony-ls loop", daemon=True)
        self._thread.start()
        # Closing and handing over work exclude each other: what is handed to a loop that has ended is never run.
        self._lock = threading.Lock()
        self._is_closed = False
        try:
            self._generator = self._call(_made(model_path, use_harmony, lazy, options))
            if not lazy:
                self._call(self._generator.open())
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def model(self) -> Model:
        """The model; loaded here if it is not yet."""
        self._call(self._generator.open())
        return self._generator.model

    @property
    def speaks_harmony(self) -> bool:
        """Whether messages are rendered in Harmony."""
        self._call(self._generator.open())
        return self._generator.speaks_harmony

    def render(self, messages: Sequence[Message | Mapping[str, Any]] | str, **options: Any) -> list[int]:
        """See `AsyncTokenGenerator.render`."""
        return self._call(self._generator.render(messages, **options))

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of tokens; markers have none."""
        return self.model.tokenizer.decode(tokens)

    def save_prompt_cache(self, path: Path, tokens: Sequence[int]) -> None:
        """See `AsyncTokenGenerator.save_prompt_cache`."""
        self._call(self._generator.save_prompt_cache(path, tokens))

    def load_prompt_cache(self, path: Path, tokens: Sequence[int] | None = None) -> list[int]:
        """See `AsyncTokenGenerator.load_prompt_cache`."""
        return self._call(self._generator.load_prompt_cache(path, tokens))

    def generate(
        self,
        prompt_tokens: Sequence[int] | None = None,
        stop_tokens: Sequence[int] | None = None,
        temperature: float = 1.0,
        max_tokens: int = 0,
        return_logprobs: bool = False,
        **options: Any,
    ) -> Iterator[GeneratedToken]:
        """See `AsyncTokenGenerator.generate`. Leaving the iteration ends the generation within one step."""
        tokens = self._generator.generate(
            prompt_tokens, stop_tokens, temperature, max_tokens, return_logprobs, **options
        )
        items: queue.SimpleQueue[_Item] = queue.SimpleQueue()
        pump = self._submit(_pump(tokens, items.put))
        try:
            while (item := items.get()).token is not None:
                yield item.token
            if item.error is not None:
                raise item.error
        finally:
            pump.cancel()

    def close(self) -> None:
        """Free the model and end the loop. Closing twice does nothing."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
        if hasattr(self, "_generator"):
            asyncio.run_coroutine_threadsafe(self._generator.close(), self._loop).result()
        asyncio.run_coroutine_threadsafe(_end_tasks(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _call(self, work: Coroutine[Any, Any, Result]) -> Result:
        future = self._submit(work)
        try:
            return future.result()
        except CancelledError:
            raise EngineClosedError(_CLOSED) from None
        except BaseException:
            future.cancel()
            raise

    def _submit(self, work: Coroutine[Any, Any, Result]) -> "Future[Result]":
        with self._lock:
            if self._is_closed:
                work.close()  # it will never be awaited
                raise EngineClosedError(_CLOSED)
            return asyncio.run_coroutine_threadsafe(work, self._loop)


@dataclass(frozen=True, slots=True)
class _Item:
    """A token, or the end: with the error that it came by, or without one."""

    token: GeneratedToken | None
    error: BaseException | None = None


async def _pump(tokens: AsyncIterator[GeneratedToken], put: Callable[[_Item], None]) -> None:
    error: BaseException | None = None
    try:
        async with contextlib.aclosing(tokens):  # type: ignore[type-var]
            async for token in tokens:
                put(_Item(token))
    except asyncio.CancelledError:
        error = EngineClosedError(_CLOSED)
        raise
    except Exception as failure:
        error = failure
    finally:
        put(_Item(None, error))


async def _end_tasks() -> None:
    """Cancel what still runs on this loop, and wait for it: nobody is left without an answer."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


async def _made(
    model_path: str | None, use_harmony: bool | None, lazy: bool, options: Mapping[str, Any]
) -> AsyncTokenGenerator:
    return AsyncTokenGenerator(model_path, use_harmony, lazy, **options)


def _named(*values: object) -> Iterator[tuple[str, object]]:
    return zip(("prompt_tokens", "messages", "prompt"), values, strict=True)


def _with_logprob(token: Token, text: str) -> dict[str, Any]:
    told: dict[str, Any] = {"token": token.id, "logprob": token.logprob, "text": text}
    return told | {"top": dict(token.top)} if token.top else told
