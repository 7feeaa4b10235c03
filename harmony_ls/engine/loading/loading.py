"""Loads a checked model folder: the network and the tokenizer, and what is told of them. Runs on the MLX thread.

Nothing here finds a folder or generates.
"""

import json
import logging
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]

from harmony_ls.engine.distributed.process_group import Command, join_group, lost_is_told, send
from harmony_ls.engine.distributed.sharding import check_shard_spec, loading_together, shard_network
from harmony_ls.engine.loading.adapters import apply_adapter, check_adapter, fuse_adapters, has_adapters
from harmony_ls.engine.loading.load_progress import LoadProgress, OnLoadProgress
from harmony_ls.engine.models.model import Model, ModelSpec
from harmony_ls.engine.models.model_folder import check_architecture, check_weights, has_tokenizer, read_config
from harmony_ls.engine.tokenizer.tokenizer import Tokenizer
from harmony_ls.engine.wording import brief, gigabytes
from harmony_ls.errors import ModelError, ModelTooLargeError

__all__ = ["describe_device", "join_as_leader", "load_model", "load_part"]

log = logging.getLogger(__name__)

# Share of the machine's memory that the weights of all resident models may take unless the settings say otherwise.
_DEFAULT_MEMORY_SHARE = 0.75


def describe_device() -> str:
    """What MLX computes on, in words."""
    import mlx.core as mx

    device = mx.default_device()
    name = mx.device_info(device).get("device_name", "")
    return f"{device.type.name} {name}".strip()


def load_model(
    spec: ModelSpec,
    folder: Path,
    on_progress: OnLoadProgress,
    n_resident_bytes: int = 0,
    draft_folder: Path | None = None,
) -> tuple[Model, Any]:
    """Load the model of ``folder``: what is known of it, and its network, with its draft model if the spec names one.

    ``n_resident_bytes`` is what other models already take of the memory budget. Raises ModelError for everything that
    is wrong with a folder, ModelTooLargeError when it does not fit.
    """
    if spec.shard == "none":
        model, network = load_part(spec, folder, on_progress, n_resident_bytes=n_resident_bytes)
    else:
        model, network = _load_leading(spec, folder, on_progress, n_resident_bytes)
    if draft_folder is None:
        return model, network
    from harmony_ls.engine.generation.speculative import join_draft, release

    draft_spec = ModelSpec(spec.draft, spec.trust_remote_code, spec.memory_budget_bytes)
    n_taken = n_resident_bytes + model.n_bytes
    try:
        draft, draft_network = load_part(draft_spec, draft_folder, on_progress, n_resident_bytes=n_taken)
        joined = join_draft(model, network, draft, draft_network)
    except BaseException:
        release(network)
        raise
    return replace(model, n_bytes=model.n_bytes + draft.n_bytes), joined


def join_as_leader(on_progress: OnLoadProgress) -> Any:
    """The group of the processes that share a model, of which this one is the first. It waits for the others.

    Raises ModelError where they do not come, or this one follows.
    """
    on_progress(LoadProgress("Waiting for the other processes"))
    group = join_group()
    if group.rank() != 0:
        raise ModelError("This process follows rank 0 and loads nothing by itself. Send the request to rank 0.")
    return group


def _load_leading(
    spec: ModelSpec, folder: Path, on_progress: OnLoadProgress, n_resident_bytes: int
) -> tuple[Model, Any]:
    """Load a sharded model here and, at the same time, on the ranks that follow this one."""
    import mlx.core as mx

    from harmony_ls.engine.distributed.mirror import LeadingNetwork

    group = join_as_leader(on_progress)
    with lost_is_told():
        mx.eval(send(group, Command.LOAD))
    with loading_together(group, spec.shard) as loads:
        loads(folder)
        model, network = load_part(spec, folder, on_progress, group, n_resident_bytes)
    return model, LeadingNetwork(network, group)


def load_part(
    spec: ModelSpec, folder: Path, on_progress: OnLoadProgress, group: Any = None, n_resident_bytes: int = 0
) -> tuple[Model, Any]:
    """Load what this process computes of a model: this rank's part of it where there is a ``group``, else all.

    Raises what `load_model` raises.
    """
    config = read_config(folder)
    name = _name(spec, folder)
    on_progress(LoadProgress(f"Checking {name}"))
    check_architecture(folder, config, spec.trust_remote_code)
    adapter = None if spec.adapter_path is None else check_adapter(spec.adapter_path)
    n_file_bytes = check_weights(folder)
    if adapter is not None:
        n_file_bytes += (adapter / "adapters.safetensors").stat().st_size
    if group is not None:
        check_shard_spec(spec, group.size(), config, name)
        n_file_bytes //= group.size()
    whole_budget = spec.memory_budget_bytes or int(psutil.virtual_memory().total * _DEFAULT_MEMORY_SHARE)
    budget = whole_budget - n_resident_bytes
    if n_file_bytes > budget:
        taken = f", of which other models take {gigabytes(n_resident_bytes)}" if n_resident_bytes else ""
        raise ModelTooLargeError(
            f"{name} needs {gigabytes(n_file_bytes)} for its weights; the memory budget is "
            f"{gigabytes(whole_budget)}{taken}. Choose a smaller or more strongly quantised model, or "
            "raise memoryBudgetGb."
        )
    on_progress(LoadProgress(f"Loading {name}"))
    network, precision, n_parameters = _load_network(spec, folder, adapter, group, name, budget)
    on_progress(LoadProgress(f"Reading the vocabulary of {name}"))
    tokenizer = _load_tokenizer(spec, folder, config, name)

    from mlx.utils import tree_flatten

    parameters = [array for _, array in tree_flatten(network.parameters())]
    model = Model(
        name=name,
        spec=spec,
        path=folder,
        model_type=str(config["model_type"]),
        context_length=_context_length(config),
        vocabulary_size=_vocabulary_size(network, config, tokenizer),
        n_parameters=n_parameters,
        n_bytes=sum(array.nbytes for array in parameters),
        precision=precision,
        tokenizer=tokenizer,
        config=config,
    )
    return model, network


def _name(spec: ModelSpec, folder: Path) -> str:
    if spec.reference is None:
        name = "embedded"
    else:
        name = folder.name if Path(spec.reference).expanduser().is_dir() else spec.reference
    return name if spec.adapter_path is None else f"{name} with {Path(spec.adapter_path).name}"


def _vocabulary_size(network: Any, config: dict[str, Any], tokenizer: Tokenizer) -> int:
    """How many tokens there are weights for: what the configuration says of it, where an embedding is of that size."""
    from mlx.nn import Embedding, QuantizedEmbedding

    embeddings = [module for module in network.modules() if isinstance(module, Embedding | QuantizedEmbedding)]
    sizes = {int(module.weight.shape[0]) for module in embeddings}
    text_config = config.get("text_config")
    stated = config.get("vocab_size") or (text_config.get("vocab_size") if isinstance(text_config, dict) else None)
    if isinstance(stated, int) and (stated in sizes or not sizes):
        return stated
    return max(sizes, default=tokenizer.vocabulary_size)


def _load_network(
    spec: ModelSpec, folder: Path, adapter: Path | None, group: Any, name: str, budget: int
) -> tuple[Any, str, int]:
    """The network, how precise its weights are, and how many the whole model has."""
    import mlx.core as mx
    from mlx_lm.utils import load_model as mlx_lm_load_model

    try:
        # What is described here and not evaluated is not read: of a sharded model only this rank's part is.
        network, _ = mlx_lm_load_model(folder, lazy=group is not None, trust_remote_code=spec.trust_remote_code)
    except Exception as error:
        # A configuration or a weight that does not fit fails anywhere in the code of the architecture.
        raise ModelError(
            f"mlx-lm cannot load {name}: {brief(error)} Download the model again, or choose another."
        ) from error
    network.eval()
    if adapter is not None:
        apply_adapter(network, adapter, name)
    n_parameters = _count_parameters(network)
    precision = "as stored"
    if mx.default_device() != mx.Device(mx.gpu):
        precision = _to_float32(network, 4 * n_parameters // (1 if group is None else group.size()), budget)
    if group is not None:
        if has_adapters(network):
            raise ModelError(
                f"{name} cannot be sharded with an adapter beside its {precision} weights. Fuse it with mlx_lm.fuse."
            )
        shard_network(network, group, spec.shard, name)
    mx.eval(network.parameters())
    mx.clear_cache()
    return network, precision, n_parameters


def _to_float32(network: Any, n_bytes: int, budget: int) -> str:
    """On a CPU float32 is fastest: 16-bit and quantised kernels prefill 7 to 12 times slower, and some do not exist."""
    import mlx.core as mx
    from mlx_lm.utils import dequantize_model

    if n_bytes > budget:
        log.warning("float32 weights would take %s, over the budget: kept as stored, slower", gigabytes(n_bytes))
        return "as stored (float32 does not fit)"
    dequantize_model(network)
    network.set_dtype(mx.float32)
    fuse_adapters(network)
    return "float32"


def _count_parameters(network: Any) -> int:
    from mlx_lm.utils import get_total_parameters

    return int(get_total_parameters(network))


def _load_tokenizer(spec: ModelSpec, folder: Path, config: dict[str, Any], name: str) -> Tokenizer:
    from mlx_lm.utils import load_tokenizer
    from transformers.utils import logging as transformers_logging

    # Its warnings go where ours go, and not to stderr by a handler of its own.
    transformers_logging.disable_default_handler()
    transformers_logging.enable_propagation()
    if not has_tokenizer(folder):
        raise ModelError(f"{folder} has no tokenizer (tokenizer.json). Download the model again.")
    # Unset, transformers would ask on stdin, where the editor speaks.
    trust = {"trust_remote_code": spec.trust_remote_code}
    try:
        wrapper = load_tokenizer(folder, tokenizer_config_extra=trust, eos_token_ids=_end_tokens(folder, config))
        return Tokenizer(wrapper)
    except Exception as error:
        # Tokenizers are built by code of many hands, so any exception may come.
        raise ModelError(
            f"The tokenizer of {name} cannot be loaded: {brief(error)} Download the model again, or choose another."
        ) from error


def _end_tokens(folder: Path, config: dict[str, Any]) -> Any:
    """The end tokens of generation_config.json where it has some, else of config.json (mlx-lm's order)."""
    try:
        generation = json.loads((folder / "generation_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        generation = {}
    return generation.get("eos_token_id") or config.get("eos_token_id")


def _context_length(config: dict[str, Any]) -> int:
    """The longest prompt plus answer in tokens, as the configuration promises it."""
    for holder in (config, config.get("text_config") or {}):
        for key in ("max_position_embeddings", "n_positions", "max_sequence_length", "seq_length"):
            value = holder.get(key) if isinstance(holder, dict) else None
            if isinstance(value, int) and value > 0:
                return value
    return sys.maxsize
