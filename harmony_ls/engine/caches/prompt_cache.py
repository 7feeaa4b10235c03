"""Key-value caches that outlive one generation, found again by their longest common prefix.

A cache is either trimmable (full attention): it is cut back to the common prefix and continued. Or it is not (sliding
windows such as GPT-OSS's past their window, chunks such as Llama 4's past the first, recurrent states): then it can
only be continued from the exact prefix that it holds, so generations leave checkpoints at positions that the next
prompt will share.

Everything here runs on the MLX thread. The module decides what is kept; it computes nothing.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import numpy as np
from mlx_lm.models.cache import trim_prompt_cache

from harmony_ls.engine.caches.cache_layers import can_be_trimmed, is_quantised, make_layers, needs_checkpoints
from harmony_ls.engine.models.cache_options import CacheOptions

__all__ = ["Lease", "PromptCache"]

# A cache is taken over, not copied, when the new prompt leaves no more of its tokens than this. Its own owner takes it
# over where more is shared than left, too; who jumps to another place finds the old one's cache when coming back.
_WORTHLESS_REST_TOKENS = 64
# The turns of a chat, or the lines of a document, that can still be gone back to.
_UNTRIMMABLE_PER_OWNER = 16


@dataclass(slots=True, eq=False)
class _Entry:
    tokens: np.ndarray
    layers: list[Any]
    owner: str
    n_bytes: int


@dataclass(slots=True)
class Lease:
    """A cache on loan to one generation: ``layers`` hold the first ``n_tokens`` tokens of its prompt."""

    layers: list[Any]
    n_tokens: int


class PromptCache:
    """The caches of one model, under a byte budget; the least recently used go first.

    ``prefill_step_tokens`` is how long the chunks are in which prompts are computed.
    """

    def __init__(self, network: Any, budget_bytes: int, options: CacheOptions, prefill_step_tokens: int) -> None:
        self._network = network
        self._budget_bytes = budget_bytes
        self._options = options
        # A prompt is whole up to the end of the chunk in which it reaches that length.
        self._quantised_from = -(-options.quantized_kv_start // prefill_step_tokens) * prefill_step_tokens
        self._entries: list[_Entry] = []

    @property
    def n_bytes(self) -> int:
        """Bytes held by the caches at rest."""
        return sum(entry.n_bytes for entry in self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def lend(self, prompt: Sequence[int], owner: str) -> Lease:
        """The cache that shares the most with ``prompt``, cut back to what is shared; a new one if nothing is.

        At least the last token of the prompt is left to compute, since its logits are needed.
        """
        wanted = np.asarray(prompt, dtype=np.int64)
        best: _Entry | None = None
        best_shared = 0
        for entry in self._entries:
            shared = min(_common_prefix(entry.tokens, wanted), len(wanted) - 1)
            if shared < len(entry.tokens) and not self._can_be_cut(entry, shared):
                continue
            better = shared > best_shared or (shared == best_shared and shared > 0 and entry.owner == owner)
            if better:
                best, best_shared = entry, shared
        if best is None:
            return Lease(make_layers(self._network, self._options), 0)
        return Lease(self._take(best, best_shared, owner), best_shared)

    def copy(self, tokens: Sequence[int]) -> list[Any] | None:
        """A copy of a cache that holds exactly ``tokens``, made of one that does or can be trimmed to it, else None."""
        wanted = np.asarray(tokens, dtype=np.int64)
        for entry in self._entries:
            rest = len(entry.tokens) - len(wanted)
            if rest < 0 or _common_prefix(entry.tokens, wanted) < len(wanted):
                continue
            if rest == 0 or self._can_be_cut(entry, len(wanted)):
                layers = copy.deepcopy(entry.layers)
                trim_prompt_cache(layers, rest)
                return layers
        return None

    def keep(self, tokens: Sequence[int], layers: list[Any], owner: str) -> bool:
        """Put a cache that holds exactly ``tokens`` at rest. It must not be used by the caller afterwards.

        False if nothing is kept, because nothing is held or because it takes more than the budget.
        """
        n_bytes = sum(layer.nbytes for layer in layers)
        if not tokens or n_bytes > self._budget_bytes:
            return False
        held = np.asarray(tokens, dtype=np.int64)
        self._entries = [entry for entry in self._entries if not self._is_superseded(entry, held, layers)]
        self._entries.append(_Entry(held, layers, owner, n_bytes))
        self._limit(owner)
        self._evict()
        return True

    def checkpoint(self, tokens: Sequence[int], layers: list[Any], owner: str) -> None:
        """Keep a copy of a running cache that cannot be trimmed back to this point later; no-op for one that can."""
        if needs_checkpoints(layers):
            self.keep(tokens, copy.deepcopy(layers), owner)

    def clear(self) -> None:
        """Drop everything."""
        self._entries.clear()
        mx.clear_cache()

    def _can_be_cut(self, entry: _Entry, n_tokens: int) -> bool:
        """Whether a cache cut back to so many tokens is what a fresh one would be.

        One that was quantised is not, where a fresh one would still be whole: what follows would be other tokens.
        """
        if not can_be_trimmed(entry.layers):
            return False
        return n_tokens >= self._quantised_from or not is_quantised(entry.layers)

    def _take(self, entry: _Entry, shared: int, owner: str) -> list[Any]:
        rest = len(entry.tokens) - shared
        if not can_be_trimmed(entry.layers):
            # An exact prefix: the checkpoint stays for the next prompt. MLX copies buffers only when one side writes.
            self._touch(entry)
            return copy.deepcopy(entry.layers)
        if rest <= (max(shared, _WORTHLESS_REST_TOKENS) if entry.owner == owner else _WORTHLESS_REST_TOKENS):
            self._entries.remove(entry)
            layers = entry.layers
        else:
            self._touch(entry)
            layers = copy.deepcopy(entry.layers)
        trim_prompt_cache(layers, rest)
        return layers

    def _is_superseded(self, entry: _Entry, held: np.ndarray, layers: list[Any]) -> bool:
        """Whether the new cache makes this entry pointless: it holds the same tokens, or can be trimmed to them."""
        if len(entry.tokens) > len(held):
            return False
        if _common_prefix(entry.tokens, held) < len(entry.tokens):
            return False
        return len(entry.tokens) == len(held) or can_be_trimmed(layers)

    def _limit(self, owner: str) -> None:
        """Drop the oldest caches of an owner that cannot be trimmed: one is left behind by every key."""
        owned = [entry for entry in self._entries if entry.owner == owner and needs_checkpoints(entry.layers)]
        for entry in owned[:-_UNTRIMMABLE_PER_OWNER]:
            self._entries.remove(entry)

    def _touch(self, entry: _Entry) -> None:
        self._entries.remove(entry)
        self._entries.append(entry)

    def _evict(self) -> None:
        evicted = False
        while self._entries and self.n_bytes > self._budget_bytes:
            self._entries.pop(0)
            evicted = True
        if evicted:
            mx.clear_cache()


def _common_prefix(left: np.ndarray, right: np.ndarray) -> int:
    length = min(len(left), len(right))
    differences = np.flatnonzero(left[:length] != right[:length])
    return int(differences[0]) if len(differences) else length
