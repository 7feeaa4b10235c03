"""What is asked of the engine and what it answers: plain frozen values, no arrays."""

import math
from dataclasses import dataclass, field

from harmony_ls.engine.worker.worker import Priority
from harmony_ls.messages import FinishReason

__all__ = ["FinishReason", "GenerationRequest", "GenerationStats", "Sampling", "Token"]

# OpenAI's limits of its chat completions; mlx-lm itself sets none for these.
_LARGEST_PENALTY = 2.0
_LARGEST_BIAS = 100.0
_MOST_TOP_LOGPROBS = 20
_LARGEST_XTC_THRESHOLD = 0.5


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is chosen, in mlx-lm's words and with its meanings.

    ``temperature`` 0 is greedy, and then only what changes the logits counts: ``logit_bias``, pairs of a token and what
    is added to its logit, and the penalties. These look at the last tokens, prompt included, as many as their context
    size says (0: all): ``repetition_penalty`` divides the logits of tokens that are there (1 and 0: none),
    ``presence_penalty`` is subtracted once for each such token, ``frequency_penalty`` each time that it is there.

    The rest leaves tokens out, in this order: ``top_p`` (1 and 0: none), ``min_p`` (0: none; ``min_tokens_to_keep``
    are kept), XTC, which with ``xtc_probability`` leaves out all but the least likely of the tokens above
    ``xtc_threshold`` and never one of ``xtc_special_tokens``, and ``top_k`` (0: none).

    The same ``seed`` gives the same tokens, whatever else is running. Without one every generation draws a fresh one.

    Raises ValueError for values outside the ranges of mlx-lm and, where that has none, of OpenAI's API.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    seed: int | None = None
    min_tokens_to_keep: int = 1
    xtc_probability: float = 0.0
    xtc_threshold: float = 0.1
    xtc_special_tokens: tuple[int, ...] = ()
    repetition_penalty: float = 1.0
    repetition_context_size: int = 20
    presence_penalty: float = 0.0
    presence_context_size: int = 20
    frequency_penalty: float = 0.0
    frequency_context_size: int = 20
    logit_bias: tuple[tuple[int, float], ...] = ()

    def __post_init__(self) -> None:
        for name in ("temperature", "repetition_penalty"):
            _require_range(name, getattr(self, name), 0, math.inf)
        for name in ("top_p", "min_p", "xtc_probability"):
            _require_range(name, getattr(self, name), 0, 1)
        _require_range("xtc_threshold", self.xtc_threshold, 0, _LARGEST_XTC_THRESHOLD)
        for name in ("presence_penalty", "frequency_penalty"):
            _require_range(name, getattr(self, name), -_LARGEST_PENALTY, _LARGEST_PENALTY)
        for name in ("top_k", "repetition_context_size", "presence_context_size", "frequency_context_size"):
            _require_integer(name, getattr(self, name), 0)
        _require_integer("min_tokens_to_keep", self.min_tokens_to_keep, 1)
        for token in self.xtc_special_tokens:
            _require_integer("a token of xtc_special_tokens", token, 0)
        for token, bias in self.logit_bias:
            _require_integer("a token of logit_bias", token, 0)
            _require_range(f"the logit_bias of token {token}", bias, -_LARGEST_BIAS, _LARGEST_BIAS)
        if len({token for token, _ in self.logit_bias}) < len(self.logit_bias):
            raise ValueError("logit_bias names a token twice.")
        if self.seed is not None:
            _require_integer("seed", self.seed, -(1 << 63), (1 << 64) - 1)

    @property
    def named_tokens(self) -> tuple[int, ...]:
        """The tokens whose logits are looked at by their ids."""
        return (*self.xtc_special_tokens, *(token for token, _ in self.logit_bias))


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One pass of the model over ``prompt``.

    ``max_tokens`` is the most that is written, where the context has room for it. ``stop_tokens`` end the generation.
    ``cache_owner`` names whose prompt cache this continues (a document, a chat).
    ``checkpoints`` are prompt positions (counts of tokens) that later prompts are likely to share; they matter for
    caches that cannot be trimmed. ``owed`` is text that the first tokens must spell (token healing).
    ``top_logprobs`` is how many of the likeliest tokens come with each token, 0 to 20.
    """

    prompt: tuple[int, ...]
    max_tokens: int
    stop_tokens: frozenset[int] = frozenset()
    sampling: Sampling = field(default_factory=Sampling)
    priority: Priority = Priority.INTERACTIVE
    cache_owner: str = ""
    checkpoints: tuple[int, ...] = ()
    owed: bytes = b""
    top_logprobs: int = 0

    def __post_init__(self) -> None:
        if not self.prompt:
            raise ValueError("The prompt is empty: a model needs at least one token to go on from.")
        _require_integer("max_tokens", self.max_tokens, 1)
        _require_integer("top_logprobs", self.top_logprobs, 0, _MOST_TOP_LOGPROBS)


@dataclass(frozen=True, slots=True)
class Token:
    """One generated token and its natural log-probability (among the allowed ones while text is owed).

    As in mlx-lm, log-probabilities are the model's after the logit bias and the penalties, and before temperature and
    the choice among the likeliest. ``top`` are the likeliest tokens with theirs, the likeliest first; the token itself
    is among them only if it is one of them.
    """

    id: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class GenerationStats:
    """The figures of one generation.

    ``computed_tokens`` of the ``prompt_tokens`` were prefilled, ``reused_tokens`` came from a prompt cache.
    ``first_token_ms`` counts from the generation's first step on the worker. ``finish_reason`` is None while it runs
    and after a failure. ``n_draft_accepted`` of the ``generated_tokens`` were guessed by the draft model.
    """

    prompt_tokens: int = 0
    reused_tokens: int = 0
    computed_tokens: int = 0
    generated_tokens: int = 0
    first_token_ms: float | None = None
    finish_reason: FinishReason | None = None
    n_draft_accepted: int = 0


def _require_range(name: str, value: float, least: float, most: float) -> None:
    """Raise ValueError unless ``value`` is a finite number in the range."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not is_number or not least <= value <= most:
        limits = f"from {least:g} to {most:g}" if most < math.inf else f"of at least {least:g}"
        raise ValueError(f"{name} is {value!r}; it must be a number {limits}.")


def _require_integer(name: str, value: int, least: int, most: int | None = None) -> None:
    """Raise ValueError unless ``value`` is an integer in the range."""
    is_integer = isinstance(value, int) and not isinstance(value, bool)
    if not is_integer or value < least or (most is not None and value > most):
        limits = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise ValueError(f"{name} is {value!r}; it must be an integer {limits}.")
