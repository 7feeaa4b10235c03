"""Speculative decoding: a small draft model guesses the next tokens, and the model itself checks them in one step.

What is written is exactly what the model would write alone: it chooses every token itself, from its own logits, with
the same random numbers and penalties; a guess only saves a step where it was that token. The draft model guesses with
the same random numbers too, so that it is right about as often when tokens are drawn as when the likeliest are taken.

Both networks appear as one (`SpeculativeNetwork`) whose cache layers are those of the model, then those of the draft
model, so prompt caches and prefill work as for any other network. Guesses that were wrong are trimmed from both, hence
models with caches that cannot be trimmed (sliding windows, recurrent states) are refused: their output would silently
be another one.
"""

import copy
import sys
from collections.abc import Generator, Iterator
from dataclasses import replace
from functools import partial
from itertools import zip_longest
from typing import Any

import mlx.core as mx
from mlx_lm.models.cache import make_prompt_cache, trim_prompt_cache

from harmony_ls.engine.caches.cache_layers import is_quantised, needs_checkpoints, quantise
from harmony_ls.engine.distributed.mirror import LeadingNetwork, led
from harmony_ls.engine.generation import decode
from harmony_ls.engine.generation.decode import DecodeContext, Progress
from harmony_ls.engine.generation.request import GenerationRequest, Token
from harmony_ls.engine.generation.sampling import Choice, Chooser
from harmony_ls.engine.models.cache_options import CacheOptions
from harmony_ls.engine.models.model import Model
from harmony_ls.engine.tokenizer.tokenizer import Tokenizer
from harmony_ls.engine.worker.worker import Priority
from harmony_ls.errors import ModelError

__all__ = ["SpeculativeNetwork", "generate", "join_draft", "release"]


class SpeculativeNetwork:
    """A network and its draft network, which guesses ``n_draft_tokens`` tokens at a time."""

    def __init__(self, target: Any, draft: Any, n_draft_tokens: int) -> None:
        self.target = target
        self.n_draft_tokens = n_draft_tokens
        self._draft = draft
        self._n_target_logits = _count_logits(target)
        self._n_draft_logits = _count_logits(draft)
        self.n_target_layers = len(make_prompt_cache(target))

    def make_cache(self) -> list[Any]:
        """The empty cache layers of both, the model's own first."""
        return [*make_prompt_cache(self.target), *make_prompt_cache(self._draft)]

    def __call__(self, tokens: mx.array, cache: list[Any]) -> mx.array:
        """Feed ``tokens`` (1 x n) to both; the logits of the model itself."""
        self.draft(tokens, cache[self.n_target_layers :])
        logits: mx.array = self.target(tokens, cache=cache[: self.n_target_layers])
        return logits

    def draft(self, tokens: mx.array, cache: list[Any]) -> mx.array:
        """The draft network's logits, as wide as the model's: a padded vocabulary has not the same size everywhere."""
        n_missing = self._n_target_logits - self._n_draft_logits
        if n_missing > 0:
            # MLX would read beyond the end of the embedding.
            tokens = mx.minimum(tokens, self._n_draft_logits - 1)
        logits: mx.array = self._draft(tokens, cache=cache)
        if n_missing > 0:
            return mx.concatenate([logits, mx.full((*logits.shape[:-1], n_missing), -mx.inf, logits.dtype)], axis=-1)
        return logits[..., : self._n_target_logits]


def _count_logits(network: Any) -> int:
    """How many tokens a network knows; nothing is computed for that."""
    return int(network(mx.array([[0]]), cache=make_prompt_cache(network)).shape[-1])


def join_draft(model: Model, network: Any, draft: Model, draft_network: Any) -> SpeculativeNetwork:
    """The network of ``model`` with that of its draft model; raises ModelError where it cannot be one."""
    if model.spec.cache_options.max_kv_size is not None:
        raise ModelError(
            f"{model.name} cannot have a draft model together with max_kv_size: wrong guesses cannot be trimmed from a "
            "rotating cache. Unset one of them."
        )
    for holder, part in ((model, network), (draft, draft_network)):
        layers = make_prompt_cache(part)
        if needs_checkpoints(layers):
            kinds = ", ".join(sorted({type(layer).__name__ for layer in layers if needs_checkpoints([layer])}))
            raise ModelError(
                f"{model.name} cannot be run with the draft model {draft.name}: wrong guesses cannot be trimmed from "
                f"the caches of {holder.name} ({kinds}), and what is written would silently be something else. Leave "
                "the draft model out, or choose models with full attention."
            )
    if not _have_same_vocabulary(model.tokenizer, draft.tokenizer):
        raise ModelError(
            f"{draft.name} cannot be the draft model of {model.name}: their vocabularies differ. Choose a small model "
            "of the same family, or leave the draft model out."
        )
    return SpeculativeNetwork(network, draft_network, model.spec.n_draft_tokens)


def _have_same_vocabulary(left: Tokenizer, right: Tokenizer) -> bool:
    """Whether every token spells the same bytes in both, and every marker is the same marker."""
    if left.byte_table != right.byte_table:
        return False
    return all(left.marker_text(token) == right.marker_text(token) for token in range(left.vocabulary_size))


def generate(context: DecodeContext, request: GenerationRequest, progress: Progress) -> Iterator[Token | None]:
    """As `decode.generate`, with guesses where the context's network has a draft network, and on all ranks it has."""
    guesses = isinstance(context.network, SpeculativeNetwork)
    steps = decode.generate(context, request, progress, partial(_decode, progress=progress) if guesses else None)
    leading = _leading(context.network)
    return steps if leading is None else led(leading, steps)


def release(network: Any) -> None:
    """Have the other ranks free their parts of a network that is sharded."""
    if (leading := _leading(network)) is not None:
        leading.release()


def _leading(network: Any) -> LeadingNetwork | None:
    """The network that other ranks follow, where there is one."""
    part = network.target if isinstance(network, SpeculativeNetwork) else network
    return part if isinstance(part, LeadingNetwork) else None


def _decode(
    context: DecodeContext, request: GenerationRequest, layers: list[Any], held: list[int], *, progress: Progress
) -> Generator[Token | None, None, None]:
    """Yield tokens, and None for a part of a step. At the end ``held`` is what the layers of both networks hold."""
    network: SpeculativeNetwork = context.network
    target = _Side(network.target, layers, slice(0, network.n_target_layers), len(held))
    draft = _Side(network.draft, layers, slice(network.n_target_layers, None), len(held))
    chooser = Chooser(request.sampling, held, request.top_logprobs)
    sequence = list(request.prompt)
    n_end = len(sequence) + request.max_tokens
    owed = request.owed
    try:
        while len(sequence) < n_end:
            pending = mx.array(sequence[target.n_held :])
            chooser.feed(pending)
            # While text is owed the next step can be limited to what fits only when this one's token is known.
            n_guesses = 0 if owed else min(network.n_draft_tokens, n_end - len(sequence) - 1)
            if not is_quantised(target.layers):
                n_guesses = min(n_guesses, _n_before_quantised(context.cache_options, len(sequence)))
            guesses: list[mx.array] = []
            guesser, guess = copy.copy(chooser), mx.array(sequence[draft.n_held :])
            for _ in range(n_guesses):
                choice = guesser.choose(draft.run(guess)[:, -1, :])
                choice.start()
                guess = choice.token
                guesser.feed(guess)
                guesses.append(guess)
                yield None
            logits = target.run(mx.concatenate([pending, *guesses]))[:, -n_guesses - 1 :, :]
            if context.is_typing() and request.priority is not Priority.INLINE:
                for _ in decode.evaluate_in_slices(target.layers):
                    yield None
            if owed:
                allowed = context.vocabulary.spelling(owed)
                if not len(allowed):
                    return
                choices, choosers = [chooser.choose_among(logits[:, -1, :], allowed)], [chooser]
            else:
                choices, choosers = _choose(chooser, logits, guesses)
            guessed = [_integer(guess) for guess in guesses]
            tokens = _agreed(choices, guessed, request.stop_tokens)
            chooser = choosers[len(tokens) - 1]
            sequence.extend(token.id for token in tokens)
            target.trim_to(len(sequence) - 1)
            draft.trim_to(len(sequence) - 1)
            quantise(layers, context.cache_options)
            for index, token in enumerate(tokens):
                owed = owed[len(context.vocabulary.spelled(token.id)) :]
                if index < len(guessed) and token.id == guessed[index]:
                    n_accepted = progress.stats.n_draft_accepted + 1
                    progress.stats = replace(progress.stats, n_draft_accepted=n_accepted)
                yield token
                if token.id in request.stop_tokens:
                    return
    finally:
        # Closed in the middle of a step, both hold guesses that nobody has checked.
        n_both = min(len(sequence), target.n_held, draft.n_held)
        target.trim_to(n_both)
        draft.trim_to(n_both)
        held[:] = sequence[:n_both]


class _Side:
    """One of the two networks with its part of the cache layers, which hold ``n_held`` tokens."""

    def __init__(self, network: Any, layers: list[Any], part: slice, n_held: int) -> None:
        self.n_held = n_held
        self._network = network
        self._all_layers = layers
        self._part = part

    @property
    def layers(self) -> list[Any]:
        """This network's layers; one that is quantised takes the place of another."""
        return self._all_layers[self._part]

    def run(self, tokens: mx.array) -> mx.array:
        """The logits at each of ``tokens`` (1 x n x vocabulary), which the layers then hold."""
        logits: mx.array = self._network(tokens[None], cache=self.layers)
        self.n_held += tokens.size
        return logits

    def trim_to(self, n_tokens: int) -> None:
        """Let the layers hold no more than the first ``n_tokens``."""
        if self.n_held > n_tokens:
            trim_prompt_cache(self.layers, self.n_held - n_tokens)
            self.n_held = n_tokens


def _n_before_quantised(options: CacheOptions, n_tokens: int) -> int:
    """How many guesses may follow so many tokens in one step, where the caches are whole.

    Alone, the model has its caches quantised between two steps of one token each; no step with guesses may pass that
    place, and nothing is quantised that may have to be trimmed.
    """
    return sys.maxsize if options.kv_bits is None else max(0, options.quantized_kv_start - n_tokens)


def _choose(chooser: Chooser, logits: mx.array, guesses: list[mx.array]) -> tuple[list[Choice], list[Chooser]]:
    """The model's own choice at each position, and the state of the chooser after each."""
    choices: list[Choice] = []
    choosers: list[Chooser] = []
    for position, guess in enumerate([None, *guesses]):
        chooser = copy.copy(chooser)
        if guess is not None:
            chooser.feed(guess)
        choices.append(chooser.choose(logits[:, position, :]))
        choosers.append(chooser)
    for choice in choices:
        choice.start()
    return choices, choosers


def _agreed(choices: list[Choice], guessed: list[int], stop_tokens: frozenset[int]) -> list[Token]:
    """The tokens up to the first that was not guessed, or that ends the generation; both included."""
    tokens: list[Token] = []
    for choice, guess in zip_longest(choices, guessed):
        token = choice.read()
        tokens.append(token)
        if token.id != guess or token.id in stop_tokens:
            break
    return tokens


def _integer(value: mx.array) -> int:
    """Wait for an array of one integer and bring it over from MLX."""
    item: Any = value.item()
    return int(item)
