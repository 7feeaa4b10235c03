"""Choosing the next token from a network's logits, with the random state of one generation.

mlx-lm's own functions in mlx-lm's order: its logits processors (logit bias, penalties) change the logits, the
log-probabilities are taken of what they leave, and its samplers choose among those. What is not mlx-lm's is the
randomness: MLX has one random state per thread, and generations that run one through another must not share it.

Nothing here runs a network, and nothing waits for the device before `Choice.read`.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import numpy as np
from mlx_lm.sample_utils import apply_min_p, apply_top_k, apply_top_p, apply_xtc, make_logits_processors

from harmony_ls.engine.generation.request import Sampling, Token

__all__ = ["Choice", "Chooser"]


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """A token that was chosen, perhaps not yet computed.

    ``token`` and ``logprob`` hold one value each; ``top_ids`` and ``top_logprobs`` the likeliest tokens in no order,
    None if none were asked for.
    """

    token: mx.array
    logprob: mx.array
    top_ids: mx.array | None = None
    top_logprobs: mx.array | None = None

    def start(self) -> None:
        """Have the device compute it, without waiting."""
        mx.async_eval(*(array for array in self._arrays() if array is not None))  # type: ignore[no-untyped-call]

    def read(self) -> Token:
        """Wait for it and bring it over from MLX."""
        token: Any = self.token.item()
        logprob: Any = self.logprob.item()
        if self.top_ids is None or self.top_logprobs is None:
            return Token(token, logprob)
        ids: Any = self.top_ids.tolist()
        logprobs: Any = self.top_logprobs.tolist()
        pairs = sorted(zip(ids, logprobs, strict=True), key=lambda pair: (-pair[1], pair[0]))
        return Token(token, logprob, tuple(pairs))

    def _arrays(self) -> tuple[mx.array | None, ...]:
        return self.token, self.logprob, self.top_ids, self.top_logprobs


class Chooser:
    """Chooses the tokens of one generation. ``fed`` is what the network was given before the first call of ``feed``."""

    def __init__(self, sampling: Sampling, fed: Sequence[int], n_top: int) -> None:
        self._sampling = sampling
        self._n_top = n_top
        self._processors = make_logits_processors(
            logit_bias=dict(sampling.logit_bias) or None,
            # A factor of 1 changes nothing but costs a step's time.
            repetition_penalty=sampling.repetition_penalty if sampling.repetition_penalty != 1 else None,
            repetition_context_size=sampling.repetition_context_size,
            presence_penalty=sampling.presence_penalty,
            presence_context_size=sampling.presence_context_size,
            frequency_penalty=sampling.frequency_penalty,
            frequency_context_size=sampling.frequency_context_size,
        )
        self._n_context = _context_size(sampling)
        history = fed if self._n_context is None else fed[max(0, len(fed) - self._n_context) :]
        self._history = mx.array(list(history), dtype=mx.uint32)
        self._largest_token = max((*(token for token, _ in sampling.logit_bias), *sampling.xtc_special_tokens, -1))
        # Every thread starts from the same random state, so a generation without a seed needs a fresh one.
        seed = int.from_bytes(os.urandom(8), "little") if sampling.seed is None else sampling.seed
        # OpenAI's seeds are signed, MLX's are not.
        self._random_key = mx.random.key(seed % (1 << 64))

    def feed(self, tokens: mx.array) -> None:
        """Take note of tokens that the network is given. They need not be computed yet."""
        if self._n_context == 0:
            return
        history = mx.concatenate([self._history, tokens.astype(mx.uint32)])
        self._history = history if self._n_context is None else history[-self._n_context :]

    def choose(self, logits: mx.array) -> Choice:
        """The next token, given the logits of the last position (1 x vocabulary).

        Raises ValueError if the sampling names a token that the network does not know.
        """
        logprobs = _normalised(self._processed(logits))
        chosen = self._sampled(logprobs, self._sampling.xtc_special_tokens)
        return self._choice(logprobs, chosen)

    def choose_among(self, logits: mx.array, allowed: np.ndarray) -> Choice:
        """The next token among ``allowed``; log-probabilities are relative to these."""
        tokens = mx.array(allowed)
        logprobs = _normalised(self._processed(logits)[:, tokens])
        special = np.flatnonzero(np.isin(allowed, self._sampling.xtc_special_tokens)).tolist()
        choice = self._choice(logprobs, self._sampled(logprobs, special))
        top_ids = None if choice.top_ids is None else tokens[choice.top_ids]
        return Choice(tokens[choice.token], choice.logprob, top_ids, choice.top_logprobs)

    def _processed(self, logits: mx.array) -> mx.array:
        if self._largest_token >= logits.shape[-1]:
            # MLX would read and write beyond the end of the array.
            raise ValueError(
                f"logit_bias or xtc_special_tokens name token {self._largest_token}; the model has the tokens 0 to "
                f"{logits.shape[-1] - 1}."
            )
        for process in self._processors:
            logits = process(self._history, logits)
        return logits

    def _sampled(self, logprobs: mx.array, xtc_special_tokens: Sequence[int]) -> mx.array:
        """The index of the chosen one, an array of one value."""
        sampling = self._sampling
        if sampling.temperature == 0:
            return mx.argmax(logprobs, axis=-1)
        n_tokens = logprobs.shape[-1]
        if 0 < sampling.top_p < 1:
            logprobs = apply_top_p(logprobs, sampling.top_p)
        if sampling.min_p > 0 and sampling.min_tokens_to_keep < n_tokens:
            logprobs = apply_min_p(logprobs, sampling.min_p, sampling.min_tokens_to_keep)
        if sampling.xtc_probability > 0:
            # mlx-lm's function draws from the state that all generations share: it is told to apply XTC for certain,
            # and whether that counts is drawn here.
            without = apply_xtc(logprobs, 1.0, sampling.xtc_threshold, list(xtc_special_tokens))
            is_applied = mx.random.uniform(key=self._next_key()) <= sampling.xtc_probability
            logprobs = mx.where(is_applied, without, logprobs)
        if 0 < sampling.top_k < n_tokens:
            logprobs = apply_top_k(logprobs, sampling.top_k)
        return mx.random.categorical(logprobs / sampling.temperature, key=self._next_key())

    def _next_key(self) -> mx.array:
        self._random_key, key = mx.random.split(self._random_key)
        return key

    def _choice(self, logprobs: mx.array, chosen: mx.array) -> Choice:
        logprob = mx.take_along_axis(logprobs, chosen[:, None], axis=-1)
        n_top = min(self._n_top, logprobs.shape[-1])
        if not n_top:
            return Choice(chosen, logprob)
        top_ids = mx.argpartition(-logprobs[0], kth=n_top - 1)[:n_top]
        return Choice(chosen, logprob, top_ids, logprobs[0, top_ids])


def _context_size(sampling: Sampling) -> int | None:
    """How many of the last tokens the penalties look at: 0 without penalties, None for all."""
    penalties = (
        (sampling.repetition_penalty not in (0, 1), sampling.repetition_context_size),
        (sampling.presence_penalty != 0, sampling.presence_context_size),
        (sampling.frequency_penalty != 0, sampling.frequency_context_size),
    )
    sizes = [size for is_used, size in penalties if is_used]
    return None if 0 in sizes else max(sizes, default=0)


def _normalised(logits: mx.array) -> mx.array:
    return logits - mx.logsumexp(logits, axis=-1, keepdims=True)
