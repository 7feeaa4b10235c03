"""The layers of a model's key-value cache, made and quantised as the options of its `ModelSpec` ask.

mlx-lm drops an option silently, or fails in the middle of a generation, where the model's caches are of another kind.
Here such an option is refused with its reason when the model is loaded. Runs on the MLX thread.
"""

from typing import Any

import mlx.core as mx
from mlx_lm.generate import maybe_quantize_kv_cache
from mlx_lm.models.cache import QuantizedKVCache, RotatingKVCache, can_trim_prompt_cache, make_prompt_cache

from harmony_ls.engine.models.cache_options import GROUP_SIZES, CacheOptions
from harmony_ls.engine.wording import brief
from harmony_ls.errors import ModelError

__all__ = ["can_be_trimmed", "check_cache_options", "is_quantised", "make_layers", "needs_checkpoints", "quantise"]


def make_layers(network: Any, options: CacheOptions) -> list[Any]:
    """Empty layers for one generation."""
    layers: list[Any] = make_prompt_cache(network, options.max_kv_size)
    return layers


def quantise(layers: list[Any], options: CacheOptions) -> None:
    """Replace, in place, the layers that have become long enough to be quantised. Called after every step."""
    maybe_quantize_kv_cache(layers, options.quantized_kv_start, options.kv_group_size, options.kv_bits)


def is_quantised(layers: list[Any]) -> bool:
    """Whether layers were quantised by `quantise`."""
    return any(isinstance(layer, QuantizedKVCache) for layer in layers)


def can_be_trimmed(layers: list[Any]) -> bool:
    """Whether layers that are trimmed are what fresh ones would be.

    mlx-lm says so of a chunked cache (Llama 4) even when it has let go of its first tokens, at which those that are
    left may have to look once more; and it trims less than asked where that is more than it still has.
    """
    return can_trim_prompt_cache(layers) and not any(getattr(layer, "start_position", 0) for layer in layers)


def needs_checkpoints(layers: list[Any]) -> bool:
    """Whether a cache of this kind cannot, or before long will not, be trimmed back to a prefix of what it holds."""
    return not can_be_trimmed(layers) or any(
        hasattr(layer, limit) for layer in layers for limit in ("max_size", "chunk_size")
    )


def check_cache_options(network: Any, options: CacheOptions, name: str) -> None:
    """Raise ModelError where the caches of the model ``name`` cannot be kept as ``options`` ask.

    To find that out for quantised caches, the network is run for three tokens.
    """
    if options.max_kv_size is not None and hasattr(network, "make_cache"):
        raise ModelError(f"{name} arranges its key-value caches itself and would ignore max_kv_size. Leave it unset.")
    if options.kv_bits is None:
        return
    layers = make_layers(network, options)
    if any(isinstance(layer, RotatingKVCache) for layer in layers):
        cause = "sliding windows" if options.max_kv_size is None else "max_kv_size"
        raise ModelError(f"mlx-lm cannot quantise the rotating key-value caches of {name} ({cause}). Unset kv_bits.")
    if not any(hasattr(layer, "to_quantized") for layer in layers):
        raise ModelError(f"mlx-lm cannot quantise the key-value caches of {name}. Unset kv_bits.")
    try:
        network(mx.array([[0, 0]]), cache=layers)
        mx.eval([layer.state for layer in layers])
        _check_group_size(layers, options, name)
        quantise(layers, CacheOptions(options.kv_bits, options.kv_group_size, quantized_kv_start=0))
        mx.eval(network(mx.array([[0]]), cache=layers))
    except (ValueError, RuntimeError, NotImplementedError, TypeError) as error:
        # The attention of an architecture is code of its own, and some of it reads no quantised caches.
        raise ModelError(f"{name} cannot read quantised key-value caches: {brief(error)} Unset kv_bits.") from error


def _check_group_size(layers: list[Any], options: CacheOptions, name: str) -> None:
    sizes = {
        array.shape[-1]
        for layer in layers
        if hasattr(layer, "to_quantized")
        for array in (layer.keys, layer.values)
        if array is not None
    }
    if all(size % options.kv_group_size == 0 for size in sizes):
        return
    fitting = [str(group) for group in GROUP_SIZES if all(size % group == 0 for size in sizes)]
    remedy = f"Set it to {' or '.join(fitting)}." if fitting else "No group size of mlx does: unset kv_bits."
    raise ModelError(
        f"kv_group_size {options.kv_group_size} does not divide the head dimension of {name} "
        f"({', '.join(map(str, sorted(sizes)))}). {remedy}"
    )
