"""How a model's key-value caches are kept: whole or quantised, of which size.

The values are frozen and part of a `ModelSpec`, so the same model with other options is another resident model. Nothing
here computes: `harmony_ls.engine.caches.cache_layers` applies the options.
"""

from dataclasses import dataclass

__all__ = ["GROUP_SIZES", "CacheOptions"]

GROUP_SIZES = (32, 64, 128)
"""How many values may share a scale in mlx's affine quantisation."""

_BITS = (2, 3, 4, 6, 8)
# A rotating cache never drops the first tokens (mlx-lm's ``keep``), so it must have room for more than these.
_KEPT_TOKENS = 4


@dataclass(frozen=True, slots=True)
class CacheOptions:
    """mlx-lm's options for key-value caches, under its own names.

    ``kv_bits`` quantises keys and values once a cache holds ``quantized_kv_start`` tokens; every ``kv_group_size``
    values share a scale. ``max_kv_size`` keeps the first four and the last tokens alone, so many in all (a rotating
    cache). Raises ValueError for values that mlx cannot use.
    """

    kv_bits: int | None = None
    kv_group_size: int = 64
    quantized_kv_start: int = 5000
    max_kv_size: int | None = None

    def __post_init__(self) -> None:
        if self.kv_bits is not None and self.kv_bits not in _BITS:
            raise ValueError(f"kv_bits is {self.kv_bits}; it must be one of {', '.join(map(str, _BITS))}.")
        if self.kv_group_size not in GROUP_SIZES:
            sizes = ", ".join(map(str, GROUP_SIZES))
            raise ValueError(f"kv_group_size is {self.kv_group_size}; it must be one of {sizes}.")
        if self.quantized_kv_start < 0:
            raise ValueError(f"quantized_kv_start is {self.quantized_kv_start}; it must be 0 or more tokens.")
        if self.max_kv_size is not None and self.max_kv_size <= _KEPT_TOKENS:
            raise ValueError(f"max_kv_size is {self.max_kv_size}; it must be more than {_KEPT_TOKENS} tokens.")
