"""What is asked for when a model is loaded, and what is known of it then. Values only; they hold no weights."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from harmony_ls.engine.models.cache_options import CacheOptions
from harmony_ls.engine.tokenizer.tokenizer import Tokenizer

__all__ = ["Model", "ModelSpec", "Shard"]

Shard = Literal["none", "tensor", "pipeline"]

# Beyond this hardly a guess is right, and the check of all costs as much as the tokens would.
_MOST_DRAFT_TOKENS = 32


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """Which model, and how it is run. Two specs that differ in anything are two resident models.

    ``reference`` is a folder, a Hugging Face repository ("org/name"), or None for the model inside the package.
    ``trust_remote_code`` lets Python code of the model's folder run. ``adapter_path`` is a folder with an adapter that
    ``mlx_lm.lora`` trained for this model. ``draft`` is a reference to a smaller model of the same vocabulary that
    guesses ``n_draft_tokens`` tokens at a time (speculative decoding); what is written stays the same. ``shard`` is how
    several processes share the weights (`harmony_ls.engine.distributed.sharding`).

    Raises ValueError for an ``n_draft_tokens`` that is no number of guesses.
    """

    reference: str | None = None
    trust_remote_code: bool = False
    memory_budget_bytes: int | None = None
    cache_options: CacheOptions = field(default_factory=CacheOptions)
    adapter_path: str | None = None
    draft: str | None = None
    n_draft_tokens: int = 3
    shard: Shard = "none"

    def __post_init__(self) -> None:
        if not 1 <= self.n_draft_tokens <= _MOST_DRAFT_TOKENS:
            raise ValueError(f"n_draft_tokens is {self.n_draft_tokens}; it must be from 1 to {_MOST_DRAFT_TOKENS}.")


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """A resident model, seen from outside the MLX thread.

    ``context_length`` is in tokens. ``vocabulary_size`` is how many tokens the weights have; the tokenizer may know
    fewer of them. ``n_bytes`` is what the weights take in this process's memory, a draft model's included; the weights
    themselves stay with the MLX thread.
    """

    name: str
    spec: ModelSpec
    path: Path
    model_type: str
    context_length: int
    vocabulary_size: int
    n_parameters: int
    n_bytes: int
    precision: str
    tokenizer: Tokenizer
    config: dict[str, Any] = field(repr=False)

    @property
    def is_embedded(self) -> bool:
        """Whether this is the model that ships with the package."""
        return self.spec.reference is None

    def require_tokens(self, tokens: Sequence[int]) -> None:
        """Raise ValueError for an id that is no token of the model: MLX would read and write beyond the weights."""
        if tokens and (min(tokens) < 0 or max(tokens) >= self.vocabulary_size):
            unknown = next(token for token in tokens if not 0 <= token < self.vocabulary_size)
            raise ValueError(
                f"{unknown} is no token of {self.name}, which has the tokens 0 to {self.vocabulary_size - 1}."
            )
