"""Prompt caches in files: a long prompt is read once and for all, by whoever has the same model.

The files are those of ``mlx_lm.cache_prompt``, and mlx-lm reads ours. What we add to their metadata is the tokens, by
which a loaded cache is found again, and which model they are of. A cache of another model would be continued without
any complaint, and wrongly; so the keys and values of the first tokens are computed again and compared, which also
proves files that say nothing of their model. Of a file that does not name its tokens, all of them are compared in one
layer, as low as can be: then little more than that layer has to be computed.

Everything here runs on the MLX thread; writing or reading a file is one step. What is evicted is forgotten, not
written: only whoever asks for a file gets one.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx_lm.models import cache as mlx_lm_cache
from mlx_lm.models.cache import KVCache, QuantizedKVCache, RotatingKVCache

from harmony_ls.engine.caches.cache_layers import make_layers
from harmony_ls.engine.generation.decode import DecodeContext, Progress, generate
from harmony_ls.engine.generation.request import GenerationRequest, GenerationStats
from harmony_ls.engine.models.model import Model
from harmony_ls.engine.models.model_folder import check_safetensors
from harmony_ls.engine.wording import brief, gigabytes
from harmony_ls.engine.worker.worker import Priority
from harmony_ls.errors import ModelError, UserError

__all__ = ["load_prompt_cache", "save_prompt_cache"]

_SUFFIX = ".safetensors"
# Of each file of weights.
_N_SAMPLES = 64
_SAMPLE_BYTES = 1024
_COMPARED_TOKENS = 8
# How far keys and values may be from what is computed now, relative to their size. Rounding and other chunks of the
# prompt make about 0.01 in 16 bits, quantisation to 2 bits about 0.5, another model 1.4.
_TOLERANCE = 0.1
_QUANTISED_TOLERANCE = 0.7


def save_prompt_cache(
    context: DecodeContext, model: Model, file: Path, tokens: tuple[int, ...]
) -> Iterator[tuple[None] | None]:
    """Write the cache of ``tokens`` to ``file``, which is replaced as a whole or not at all.

    Yields None after each step of computing what no cache at rest holds, and once a value at the end. Raises UserError
    where the file cannot be written or the cache does not fit the engine's budget.
    """
    _require_whole(model)
    _require_suffix(file)
    model.require_tokens(tokens)
    request = GenerationRequest(tokens, max_tokens=1, priority=Priority.BACKGROUND)
    layers = context.prompt_cache.copy(tokens)
    if layers is None:
        for _ in generate(context, request, Progress(GenerationStats())):
            yield None
        layers = context.prompt_cache.copy(tokens)
    if layers is None:
        raise UserError(f"The prompt cache of {len(tokens)} tokens exceeds its memory. Raise engine.promptCacheMb.")
    for layer in layers:
        if hasattr(layer, "keys_and_values") and not layer.empty():
            # Beyond them there is room, and what was trimmed: text that nobody asked to write.
            layer.keys, layer.values = layer.keys_and_values()
    metadata = {
        "model": model.spec.reference or model.name,
        "tokenizer_config": json.dumps({"trust_remote_code": model.spec.trust_remote_code}),
        "tokens": json.dumps(tokens),
        **_identity(context, model),
    }
    _write(file, layers, metadata)
    yield (None,)


def load_prompt_cache(
    context: DecodeContext,
    model: Model,
    file: Path,
    tokens: Sequence[int] | None,
    owner: str,
    prompt: Sequence[int] = (),
) -> tuple[int, ...]:
    """Put the cache of ``file`` at rest, so that prompts that begin like it start from it; return its tokens.

    ``tokens`` are needed for a file that does not name its own, as those of ``mlx_lm.cache_prompt``, or a ``prompt``
    that begins with them. Raises UserError where the file is damaged, of another format, of another model or not of
    these tokens, or does not fit the engine's budget.
    """
    _require_whole(model)
    _require_suffix(file)
    layers, metadata = _read(file)
    _check_identity(context, model, metadata, file)
    if tokens is None and prompt and "tokens" not in metadata:
        tokens = _beginning(prompt, layers, file)
    held = _held_tokens(metadata, tokens, file)
    _check_layers(context, model, layers, held, metadata, file)
    if "tokens" not in metadata:
        _check_every_token(context, layers, held, file, must=bool(prompt))
    mx.eval([layer.state for layer in layers])
    if not context.prompt_cache.keep(held, layers, owner):
        n_bytes = sum(layer.nbytes for layer in layers)
        raise UserError(f"{file} takes {gigabytes(n_bytes)}, more than prompt caches may. Raise engine.promptCacheMb.")
    return held


def _require_whole(model: Model) -> None:
    if model.spec.shard != "none":
        raise UserError(f"The prompt caches of {model.name} are spread over several processes and stay out of files.")


def _require_suffix(file: Path) -> None:
    if file.suffix != _SUFFIX:
        raise UserError(f"{file} must end in {_SUFFIX}: mlx knows the format by that.")


def _identity(context: DecodeContext, model: Model) -> dict[str, str]:
    """What tells a model from others, in words and numbers that a person can compare."""
    config = json.dumps(model.config, sort_keys=True)
    return {
        "model_type": model.model_type,
        "n_layers": str(len(make_layers(context.network, context.cache_options))),
        "config_sha256": hashlib.sha256(config.encode()).hexdigest(),
        "weights_sample_sha256": _weights_sample(model),
    }


def _weights_sample(model: Model) -> str:
    """A hash of parts of the weights: models tuned from one another have the same configuration."""
    files = sorted(model.path.glob("model*.safetensors"))
    if model.spec.adapter_path is not None:
        files.append(Path(model.spec.adapter_path).expanduser() / "adapters.safetensors")
    digest = hashlib.sha256()
    for file in files:
        size = file.stat().st_size
        digest.update(size.to_bytes(8, "little"))
        with file.open("rb") as stream:
            for part in range(_N_SAMPLES):
                stream.seek(size * part // _N_SAMPLES)
                digest.update(stream.read(_SAMPLE_BYTES))
    return digest.hexdigest()


def _write(file: Path, layers: list[Any], metadata: dict[str, str]) -> None:
    try:
        with tempfile.TemporaryDirectory(dir=file.parent, prefix=".prompt-cache-") as folder:
            unfinished = Path(folder) / file.name
            mlx_lm_cache.save_prompt_cache(str(unfinished), layers, metadata)
            # MLX does not tell when the disk is full.
            check_safetensors(unfinished)
            # It holds all that was said.
            unfinished.chmod(0o600)
            os.replace(unfinished, file)
    except (OSError, RuntimeError, ValueError, ModelError) as error:
        raise UserError(
            f"The prompt cache cannot be written to {file}: {brief(error)} Check the folder, and the room on the disk."
        ) from error


def _read(file: Path) -> tuple[list[Any], dict[str, str]]:
    try:
        check_safetensors(file)
        layers, metadata = mlx_lm_cache.load_prompt_cache(str(file), return_metadata=True)
    except OSError as error:
        raise UserError(f"The prompt cache {file} cannot be read: {brief(error)} Check the name.") from error
    except ModelError as error:
        raise UserError(f"{file} is damaged or not a prompt cache: it is cut short. Save it again.") from error
    except Exception as error:
        # Whatever else a safetensors file holds, mlx-lm takes it for a cache and stumbles over it somewhere.
        raise UserError(
            f"{file} is not a prompt cache of this version of mlx-lm: {brief(error)} Save it again."
        ) from error
    return layers, metadata if isinstance(metadata, dict) else {}


def _check_identity(context: DecodeContext, model: Model, metadata: dict[str, str], file: Path) -> None:
    for key, value in _identity(context, model).items():
        if metadata.get(key, value) != value:
            raise UserError(
                f"{file} was made with {metadata.get('model', 'another model')}, which is not {model.name} as it is "
                f"here: {key} differs. Save it with this model."
            )


def _held_tokens(metadata: dict[str, str], tokens: Sequence[int] | None, file: Path) -> tuple[int, ...]:
    if "tokens" not in metadata:
        if not tokens:
            raise UserError(f"{file} does not say which tokens it holds. Give them, too.")
        return tuple(tokens)
    try:
        named = json.loads(metadata["tokens"])
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file} is damaged: its tokens cannot be read. Save it again.") from error
    if not isinstance(named, list) or not named or not all(type(token) is int and token >= 0 for token in named):
        raise UserError(f"{file} is damaged: its tokens are none. Save it again.")
    if tokens is not None and tuple(tokens) != tuple(named):
        raise UserError(f"{file} holds other tokens than those that were given. Leave them out, or name another file.")
    return tuple(named)


def _beginning(prompt: Sequence[int], layers: list[Any], file: Path) -> Sequence[int]:
    """So many tokens of the prompt as the layers hold."""
    n_held = max((getattr(layer, "offset", 0) for layer in layers), default=0)
    if n_held > len(prompt):
        raise UserError(
            f"{file} does not say which tokens it holds, and not those of this prompt: it holds {n_held}, and the "
            f"prompt has {len(prompt)}. Name another file."
        )
    return prompt[:n_held]


def _check_every_token(
    context: DecodeContext, layers: list[Any], tokens: tuple[int, ...], file: Path, *, must: bool
) -> None:
    """Compare the tokens one by one in the first layer that still has all of them.

    MLX computes nothing that is not read, so the layers above cost nothing. ``must``: there has to be such a layer.
    """
    whole = [index for index, layer in enumerate(layers) if _is_whole(layer)]
    if not whole:
        if must:
            raise UserError(f"{file} does not say which tokens it holds, and no longer has all. Save it here.")
        return
    layer = layers[whole[0]]
    layers_here = make_layers(context.network, context.cache_options)
    context.network(mx.array(list(tokens))[None], cache=layers_here)
    own = layers_here[whole[0]]
    tolerance = _QUANTISED_TOLERANCE if isinstance(layer, QuantizedKVCache) else _TOLERANCE
    for values, wanted in zip(_keys_and_values(layer), (own.keys, own.values), strict=True):
        right = wanted[:, :, : len(tokens)].astype(mx.float32)
        difference = values[:, :, : len(tokens)].astype(mx.float32) - right
        wrong, size = (mx.linalg.norm(each, axis=[1, 3]) for each in (difference, right))
        if mx.any(wrong > tolerance * size).item():
            raise UserError(f"{file} holds other tokens than those that were given. Name another file.")


def _is_whole(layer: Any) -> bool:
    """Whether a layer holds the keys and values of all its tokens, each in its place."""
    if isinstance(layer, RotatingKVCache):
        return bool(layer.offset <= layer.max_size)
    return isinstance(layer, KVCache | QuantizedKVCache)


def _keys_and_values(layer: Any) -> tuple[mx.array, mx.array]:
    """The keys and values of a layer, no longer quantised."""
    if not isinstance(layer, QuantizedKVCache):
        return layer.keys, layer.values
    keys, values = (
        mx.dequantize(packed, scales, biases, layer.group_size, layer.bits)
        for packed, scales, biases in (layer.keys, layer.values)
    )
    return keys, values


def _check_layers(
    context: DecodeContext,
    model: Model,
    layers: list[Any],
    tokens: tuple[int, ...],
    metadata: dict[str, str],
    file: Path,
) -> None:
    """Hold the layers against those that the model makes of the first tokens."""
    own_layers = make_layers(context.network, context.cache_options)
    n_known = context.network(mx.array([[0]]), cache=make_layers(context.network, context.cache_options)).shape[-1]
    if len(layers) != len(own_layers) or max(tokens) >= n_known:
        raise UserError(f"{file} is not of {model.name}: it has other layers or tokens. Save it with this model.")
    context.network(mx.array(list(tokens[:_COMPARED_TOKENS]))[None], cache=own_layers)
    n_compared = 0
    for layer, own in zip(layers, own_layers, strict=True):
        _check_kind(layer, own, context, model, file)
        if getattr(layer, "offset", len(tokens)) != len(tokens):
            raise UserError(f"{file} holds {layer.offset} tokens, and {len(tokens)} are named. Name all that it holds.")
        try:
            n_compared += _check_values(layer, own, model, file)
        except (AttributeError, IndexError, RuntimeError, TypeError, ValueError) as error:
            raise UserError(f"{file} is damaged: {brief(error)} Save it again.") from error
    if not n_compared and "config_sha256" not in metadata:
        raise UserError(f"Nothing in {file} proves that it is of {model.name}. Save it with this model.")


def _check_kind(layer: Any, own: Any, context: DecodeContext, model: Model, file: Path) -> None:
    """Whether a layer is what the model's options ask for; one that is not quantised yet may become it."""
    options = context.cache_options
    if isinstance(layer, QuantizedKVCache) and isinstance(own, KVCache):
        if (layer.bits, layer.group_size) != (options.kv_bits, options.kv_group_size):
            raise UserError(
                f"{file} is quantised. Load {model.name} with kv_bits={layer.bits} and "
                f"kv_group_size={layer.group_size} to use it."
            )
        return
    wanted, found = ((type(each).__name__, getattr(each, "max_size", None)) for each in (own, layer))
    if wanted != found:
        raise UserError(
            f"{file} is not of {model.name}, or was made with another max_kv_size: it holds a {_named(found)} where "
            f"the model has a {_named(wanted)}. Save it with this model."
        )


def _named(kind: tuple[str, int | None]) -> str:
    name, size = kind
    return name if size is None else f"{name} of {size} tokens"


def _check_values(layer: Any, own: Any, model: Model, file: Path) -> bool:
    """Compare the first tokens' keys and values; False where a layer no longer holds them or holds no such thing."""
    if not isinstance(layer, KVCache | QuantizedKVCache | RotatingKVCache):
        return False
    n_compared = min(own.offset, layer.offset)
    n_present = layer.offset
    if isinstance(layer, RotatingKVCache) and layer.offset > layer.max_size:
        # The window has moved on; only what it always keeps is still there, and in its place.
        n_compared, n_present = min(n_compared, layer.keep), layer.max_size
    tolerance = _TOLERANCE
    if isinstance(layer, QuantizedKVCache):
        tolerance = _QUANTISED_TOLERANCE
    for values, wanted in zip(_keys_and_values(layer), (own.keys, own.values), strict=True):
        if values.shape[:2] != wanted.shape[:2] or values.shape[3] != wanted.shape[3]:
            raise UserError(f"{file} is not of {model.name}: its heads are others. Save it with this model.")
        if values.dtype != wanted.dtype:
            found, own_type = (str(array.dtype).removeprefix("mlx.core.") for array in (values, wanted))
            raise UserError(f"{file} holds {found}, and {model.name} runs in {own_type} here. Save it here.")
        if values.shape[2] < n_present:
            raise UserError(f"{file} is damaged: it lacks some of its tokens. Save it again.")
        if not n_compared:
            continue
        right = wanted[:, :, :n_compared].astype(mx.float32)
        difference = values[:, :, :n_compared].astype(mx.float32) - right
        distance: Any = (mx.linalg.norm(difference.flatten()) / mx.linalg.norm(right.flatten())).item()
        if not distance <= tolerance:
            raise UserError(f"{file} is not of {model.name}: its values are others. Save it with this model.")
    return bool(n_compared)
