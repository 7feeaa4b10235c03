"""Weights under which a network of a real architecture says one text by heart, at the cost of any other weights.

What attention and the feed-forward layers add is multiplied by zero, after all of it was computed, and the head answers
each token with the one that follows it. So a chat can be measured whose model calls tools, without a model that would
have to be downloaded. Benchmarks use this; nothing that a person talks to does.
"""

from collections.abc import Mapping
from pathlib import Path

from harmony_ls.engine.engine import Engine

__all__ = ["write_recited_weights"]

# So far above all others that the next token is certain, even at the highest temperature that the settings allow.
_LOGIT = 400.0
_ADDED_BY_LAYERS = ("o_proj", "down_proj")


async def write_recited_weights(engine: Engine, folder: Path, successors: Mapping[int, int]) -> None:
    """Write float32 weights for the ``config.json`` of ``folder``, on the MLX thread.

    ``successors`` says for each token which one follows it. The architecture must not tie its embeddings to its head.
    """
    await engine._call(lambda: _write(folder, dict(successors)))


def _write(folder: Path, successors: dict[int, int]) -> None:
    import mlx.core as mx
    from mlx.utils import tree_flatten
    from mlx_lm.utils import load_model

    mx.random.seed(0)
    network, _ = load_model(folder, lazy=True, strict=False)
    network.set_dtype(mx.float32)
    arrays = dict(tree_flatten(network.parameters()))
    for name, array in arrays.items():
        if any(f".{part}." in name for part in _ADDED_BY_LAYERS):
            arrays[name] = mx.zeros_like(array)
    # Each token has a direction of its own; the norm before the head leaves it as it is, and the head looks for it.
    embeddings = mx.random.normal(arrays["model.embed_tokens.weight"].shape)
    head = mx.zeros_like(arrays["lm_head.weight"])
    for token, following in successors.items():
        head[following] = head[following] + embeddings[token] * (_LOGIT / embeddings.shape[1])
    arrays |= {"model.embed_tokens.weight": embeddings, "lm_head.weight": head}
    mx.eval(arrays)
    mx.save_safetensors(str(folder / "model.safetensors"), arrays, {"format": "mlx"})
    del network, arrays
    mx.clear_cache()
