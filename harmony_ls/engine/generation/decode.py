"""One generation as a sequence of small steps: prefill in chunks, then one token at a time.

The generator of this module is a job of the worker (`harmony_ls.engine.worker.worker`): each ``next`` is one step. It
borrows a key-value cache, computes what the cache lacks, and gives the cache back when it ends, however it ends. As
mlx-lm's ``generate_step`` does, it starts the computation of the next token before it hands out the present one.
"""

import contextlib
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import mlx.core as mx
import numpy as np

from harmony_ls.engine.caches.cache_layers import needs_checkpoints, quantise
from harmony_ls.engine.caches.prompt_cache import PromptCache
from harmony_ls.engine.generation.healing import SpelledVocabulary
from harmony_ls.engine.generation.request import FinishReason, GenerationRequest, GenerationStats, Token
from harmony_ls.engine.generation.sampling import Choice, Chooser
from harmony_ls.engine.models.cache_options import CacheOptions
from harmony_ls.engine.worker.worker import Priority

__all__ = ["Decode", "DecodeContext", "Progress", "evaluate_in_slices", "generate", "warm_up"]

# Up to this many new prompt tokens are computed together with the first decode step.
_MERGED_TOKENS = 16
_WARM_UP_TOKENS = 24
# Into so many parts a step is cut while somebody types. More of them cost more waiting for the device.
_SLICES = 8


@dataclass(slots=True)
class Progress:
    """The figures of a running generation. The worker writes them, everyone may read them."""

    stats: GenerationStats


@dataclass(frozen=True, slots=True)
class DecodeContext:
    """What a generation needs of its model and of the worker.

    ``is_typing`` tells whether completions were asked for in the last seconds; then everything else takes small steps.
    """

    network: Any
    n_bytes: int
    prompt_cache: PromptCache
    cache_options: CacheOptions
    vocabulary: SpelledVocabulary
    prefill_step_tokens: int
    is_typing: Callable[[], bool]
    on_gpu: bool


Decode = Callable[[DecodeContext, GenerationRequest, list[Any], list[int]], Generator[Token | None, None, None]]
"""Yields tokens, and None for a part of a step, given the layers of the cache and the tokens that they hold. When it is
closed that list is what the layers hold then."""


def generate(
    context: DecodeContext, request: GenerationRequest, progress: Progress, decode: Decode | None = None
) -> Generator[Token | None, None, None]:
    """Yield the tokens of ``request``; None after a prefill chunk. A stop token is yielded too, as the last one.

    ``decode`` does what follows the prefill in another way than one token after the other.
    """
    started = time.perf_counter()
    prompt = list(request.prompt)
    lease = context.prompt_cache.lend(prompt, request.cache_owner)
    held = prompt[: lease.n_tokens]
    # A cache that can be trimmed serves any prefix of itself.
    checkpoints = request.checkpoints if needs_checkpoints(lease.layers) else ()
    progress.stats = replace(
        progress.stats,
        prompt_tokens=len(prompt),
        reused_tokens=lease.n_tokens,
        computed_tokens=len(prompt) - lease.n_tokens,
    )
    try:
        if lease.n_tokens in checkpoints:
            # The cache was taken from there, not copied, if it was short enough to be trimmed.
            context.prompt_cache.checkpoint(held, lease.layers, request.cache_owner)
        prefill_end = _prefill_end(lease.n_tokens, len(prompt), checkpoints)
        for end in _chunk_ends(lease.n_tokens, prefill_end, checkpoints, context.prefill_step_tokens):
            n_chunk = end - len(held)
            context.network(mx.array(prompt[len(held) : end])[None], cache=lease.layers)
            quantise(lease.layers, context.cache_options)
            held = prompt[:end]
            if context.is_typing() and request.priority is not Priority.INLINE:
                for _ in evaluate_in_slices(lease.layers):
                    yield None
            mx.eval([layer.state for layer in lease.layers])
            if end in checkpoints or end == prefill_end:
                context.prompt_cache.checkpoint(held, lease.layers, request.cache_owner)
            if n_chunk == context.prefill_step_tokens:
                mx.clear_cache()
            yield None
        with contextlib.closing((decode or _decode)(context, request, lease.layers, held)) as tokens:
            for token in tokens:
                if token is None:
                    yield None
                    continue
                if progress.stats.generated_tokens == 0:
                    progress.stats = replace(progress.stats, first_token_ms=(time.perf_counter() - started) * 1000)
                progress.stats = replace(progress.stats, generated_tokens=progress.stats.generated_tokens + 1)
                if token.id in request.stop_tokens:
                    progress.stats = replace(progress.stats, finish_reason=FinishReason.STOP)
                elif progress.stats.generated_tokens == request.max_tokens:
                    progress.stats = replace(progress.stats, finish_reason=FinishReason.LENGTH)
                yield token
        if progress.stats.finish_reason is None:
            progress.stats = replace(progress.stats, finish_reason=FinishReason.STOP)
    except GeneratorExit:
        if progress.stats.finish_reason is None:  # else it was over, and only had no chance to say so
            progress.stats = replace(progress.stats, finish_reason=FinishReason.CANCELLED)
        raise
    except BaseException as error:
        # What the layers hold is unknown after a failure in the middle of a step: forget the cache (see finally).
        held = []
        if isinstance(error, RuntimeError | MemoryError):
            # So MLX tells that it failed, mostly for a lack of memory, which the caches at rest take up too.
            context.prompt_cache.clear()
        raise
    finally:
        context.prompt_cache.keep(held, lease.layers, request.cache_owner)


def warm_up(context: DecodeContext) -> None:
    """Run the network once: the first run reads the weights into place and compiles what is compiled.

    Whoever presses the first key need not wait for that, and a network that cannot run is known when it is loaded.
    """
    request = GenerationRequest((0,) * _WARM_UP_TOKENS, max_tokens=2)
    for _ in generate(context, request, Progress(GenerationStats())):
        pass
    context.prompt_cache.clear()


def _decode(
    context: DecodeContext, request: GenerationRequest, layers: list[Any], held: list[int]
) -> Generator[Token | None, None, None]:
    """Yield tokens, and None for a part of a step; ``held`` is kept equal to what the cache holds."""
    step = _Stepper(context, request, layers, held)
    step_input = list(request.prompt[len(held) :])
    owed = request.owed
    n_tokens = 0
    # Token healing: while text is owed, each token is known before the next step can be limited to what fits.
    while owed and n_tokens < request.max_tokens:
        allowed = context.vocabulary.spelling(owed)
        if not len(allowed):
            return
        choice = step.limited(mx.array(step_input), allowed)
        held.extend(step_input)
        token = choice.read()
        owed = owed[len(context.vocabulary.spelled(token.id)) :]
        step_input = [token.id]
        n_tokens += 1
        yield token
    ahead: Choice | None = None
    while n_tokens < request.max_tokens:
        if ahead is None:
            ahead = step.free(mx.array(step_input))
            held.extend(step_input)
            if context.is_typing() and request.priority is not Priority.INLINE:
                for _ in evaluate_in_slices(layers):
                    yield None
        choice, ahead = ahead, None
        n_tokens += 1
        if n_tokens < request.max_tokens and _may_run_ahead(context, request):
            ahead = step.free(choice.token)
            ahead.start()
        token = choice.read()
        step_input = [token.id]
        if ahead is not None:
            held.append(token.id)
        yield token
        if token.id in request.stop_tokens:
            return
        if n_tokens % 256 == 0:
            mx.clear_cache()


def _may_run_ahead(context: DecodeContext, request: GenerationRequest) -> bool:
    """Whether to start the next step before this one's token is known, as is fastest for one generation alone.

    What has been started cannot be taken back, and a completion that comes in meanwhile has to wait for it. So nothing
    runs ahead while somebody types; nor do completions on a CPU, where they gain little and are superseded often.
    """
    if request.priority is Priority.INLINE:
        return context.on_gpu
    return not context.is_typing()


def evaluate_in_slices(layers: list[Any]) -> Iterator[None]:
    """Evaluate a step that was only described so far in a few slices, from the first layers to the last.

    The keys and values of each layer lie on the way to the logits: evaluating them evaluates the network up to there.
    Between two slices a completion can overtake, which it otherwise could only do once a token.
    """
    size = max(1, len(layers) // _SLICES)
    for start in range(0, len(layers), size):
        mx.eval([layer.state for layer in layers[start : start + size]])
        yield


class _Stepper:
    """Runs the network for one token and has the next one chosen. ``held`` is what the layers hold at its beginning."""

    def __init__(
        self, context: DecodeContext, request: GenerationRequest, layers: list[Any], held: Sequence[int]
    ) -> None:
        self._network = context.network
        self._cache_options = context.cache_options
        self._layers = layers
        self._chooser = Chooser(request.sampling, held, request.top_logprobs)

    def free(self, tokens: mx.array) -> Choice:
        """The next token after ``tokens``."""
        return self._chooser.choose(self._logits(tokens))

    def limited(self, tokens: mx.array, allowed: np.ndarray) -> Choice:
        """The next token among ``allowed``."""
        return self._chooser.choose_among(self._logits(tokens), allowed)

    def _logits(self, tokens: mx.array) -> mx.array:
        self._chooser.feed(tokens)
        logits: mx.array = self._network(tokens[None], cache=self._layers)[:, -1, :]
        quantise(self._layers, self._cache_options)
        return logits


def _prefill_end(start: int, n_prompt: int, checkpoints: Sequence[int]) -> int:
    """How much of the prompt is prefilled before the first decode step, which computes the rest of it.

    While someone types only a few tokens are new, and one pass over all of them is half the time of two passes. A
    prompt with checkpoints is prefilled to its last token but one, so that the checkpoint of its end is exact.
    """
    if n_prompt - start <= _MERGED_TOKENS and not checkpoints:
        return start
    return n_prompt - 1


def _chunk_ends(start: int, end: int, checkpoints: Sequence[int], size: int) -> Iterator[int]:
    """Where prefill chunks end: after ``size`` tokens or at a checkpoint, whichever comes first."""
    stops = sorted({position for position in checkpoints if start < position < end} | {end})
    for stop in stops:
        while start < stop:
            start = min(start + size, stop)
            yield start
