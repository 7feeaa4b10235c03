"""Random weights for an architecture, written as a model folder that loads like any other.

Speed does not depend on what the weights are, so a shape that cannot be downloaded can still be measured. Benchmarks
use this; nothing that a person talks to does.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from harmony_ls.engine.engine import Engine

__all__ = ["write_random_weights"]

_EXPERTS = ("gate_proj", "up_proj", "down_proj")
_LARGEST_FILE_BYTES = 4 << 30


async def write_random_weights(engine: Engine, folder: Path, silent_tokens: Iterable[int], *, mxfp4: bool) -> None:
    """Write weights for the ``config.json`` of ``folder``, on the MLX thread.

    ``silent_tokens`` (end tokens, markers) get rows of zeros in the head, so that a greedy generation goes on until it
    is told to stop. ``mxfp4`` stores the experts of a mixture in that format, as GPT-OSS is published; everything else
    is bfloat16 then. Without it all is float32.
    """
    silent = list(silent_tokens)
    await engine._call(lambda: _write(folder, silent, mxfp4))


def _write(folder: Path, silent: list[int], mxfp4: bool) -> None:
    import mlx.core as mx
    import mlx.nn as nn
    from mlx.utils import tree_flatten
    from mlx_lm.utils import load_model

    mx.random.seed(0)
    network, _ = load_model(folder, lazy=True, strict=False)
    network.set_dtype(mx.bfloat16 if mxfp4 else mx.float32)
    if mxfp4:
        nn.quantize(
            network,
            group_size=32,
            bits=4,
            mode="mxfp4",
            class_predicate=lambda path, _: ".experts." in path and path.endswith(_EXPERTS),
        )
    files: dict[str, Any] = {}
    n_bytes = n_files = 0
    # One array after the other, so that only one exists in full precision at a time.
    for name, array in tree_flatten(network.parameters()):
        if name in ("lm_head.weight", "model.embed_tokens.weight"):
            array[mx.array(silent)] = 0
        mx.eval(array)
        files[name] = array
        n_bytes += array.nbytes
        if n_bytes > _LARGEST_FILE_BYTES:
            n_files += 1
            mx.save_safetensors(str(folder / f"model-{n_files:05d}.safetensors"), files, {"format": "mlx"})
            files, n_bytes = {}, 0
    if files:
        mx.save_safetensors(str(folder / f"model-{n_files + 1:05d}.safetensors"), files, {"format": "mlx"})
    del network, files
    mx.clear_cache()
