"""What is asked of the engine and what it answers: plain frozen values, no arrays."""

from dataclasses import dataclass

from harmony_ls.engine.worker import Priority
from harmony_ls.messages import FinishReason

__all__ = ["FinishReason", "GenerationRequest", "GenerationStats", "Sampling", "Token"]


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is chosen. Temperature 0 is greedy. Without a seed every generation draws a fresh one."""

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One pass of the model over ``prompt``.

    ``stop_tokens`` end the generation. ``cache_owner`` names whose prompt cache this continues (a document, a chat).
    ``checkpoints`` are prompt positions (counts of tokens) that later prompts are likely to share; they matter for
    caches that cannot be trimmed. ``owed`` is text that the first tokens must spell (token healing).
    """

    prompt: tuple[int, ...]
    max_tokens: int
    stop_tokens: frozenset[int] = frozenset()
    sampling: Sampling = Sampling()
    priority: Priority = Priority.INTERACTIVE
    cache_owner: str = ""
    checkpoints: tuple[int, ...] = ()
    owed: bytes = b""

    def __post_init__(self) -> None:
        if not self.prompt:
            raise ValueError("The prompt is empty: a model needs at least one token to go on from.")
        if self.max_tokens < 1:
            raise ValueError(f"max_tokens is {self.max_tokens}; it must be at least 1.")


@dataclass(frozen=True, slots=True)
class Token:
    """One generated token and its natural log-probability (among the allowed ones while text is owed)."""

    id: int
    logprob: float


@dataclass(frozen=True, slots=True)
class GenerationStats:
    """The figures of one generation.

    ``computed_tokens`` of the ``prompt_tokens`` were prefilled, ``reused_tokens`` came from a prompt cache.
    ``first_token_ms`` counts from the generation's first step on the worker. ``finish_reason`` is None while it runs.
    """

    prompt_tokens: int = 0
    reused_tokens: int = 0
    computed_tokens: int = 0
    generated_tokens: int = 0
    first_token_ms: float | None = None
    finish_reason: FinishReason | None = None
