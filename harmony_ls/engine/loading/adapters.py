"""Adapters: the small matrices that `mlx_lm.lora` trains beside a model's own (LoRA, DoRA), or layers trained whole.

A folder with ``adapter_config.json`` and ``adapters.safetensors``. It is checked here before mlx-lm puts it into the
network, because mlx-lm takes an adapter that has only some of its matrices and lets the others do nothing. No code of
an adapter's folder is ever run. Runs on the MLX thread.
"""

import json
from pathlib import Path
from typing import Any

from harmony_ls.engine.models.model_folder import check_safetensors
from harmony_ls.engine.wording import brief
from harmony_ls.errors import ModelError

__all__ = ["apply_adapter", "check_adapter", "fuse_adapters", "has_adapters"]

_FILES = "adapter_config.json and adapters.safetensors, as mlx_lm.lora writes them"
_MATRICES = ("lora_a", "lora_b", "m")


def check_adapter(adapter_path: str) -> Path:
    """The folder of an adapter; raises ModelError if it is not there, lacks a file, or a file cannot be read."""
    try:
        folder = Path(adapter_path).expanduser()
        is_folder = folder.is_dir()
    except (OSError, ValueError, RuntimeError) as error:
        raise ModelError(
            f"{adapter_path[:200]!r} cannot be an adapter: {brief(error)} Name a folder with {_FILES}."
        ) from error
    if not is_folder:
        raise ModelError(f"There is no adapter folder {folder}. Name a folder with {_FILES}.")
    missing = [name for name in ("adapter_config.json", "adapters.safetensors") if not (folder / name).is_file()]
    if missing:
        raise ModelError(f"{folder} is no adapter: it has no {missing[0]}. Name a folder with {_FILES}.")
    try:
        config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(
            f"{folder / 'adapter_config.json'} cannot be read: {brief(error)} Copy the adapter again, or train it anew."
        ) from error
    if not isinstance(config, dict):
        raise ModelError(f"{folder / 'adapter_config.json'} holds no settings. Name a folder with {_FILES}.")
    if "peft_type" in config:
        raise ModelError(f"{folder} is an adapter of the PEFT library, not of mlx-lm. Name a folder with {_FILES}.")
    check_safetensors(folder / "adapters.safetensors")
    return folder


def apply_adapter(network: Any, folder: Path, name: str) -> None:
    """Put the adapter into the network, as mlx-lm does; raises ModelError if it was not made for this model."""
    from mlx.utils import tree_flatten
    from mlx_lm.utils import load_adapters

    own = {path for path, _ in tree_flatten(network.parameters())}
    try:
        load_adapters(network, str(folder))
        network.eval()
    except Exception as error:
        # Settings of nonsense fail anywhere in mlx-lm; shapes and names that do not fit come with a list.
        raise ModelError(
            f"The adapter {folder} does not fit {name}: {brief(error)} Choose the model that it was trained on."
        ) from error
    added = {path for path, _ in tree_flatten(network.parameters())} - own
    expected = {path for path in added if path.rpartition(".")[2] in _MATRICES}
    missing = sorted(expected - _tensor_names(folder / "adapters.safetensors"))
    if missing:
        raise ModelError(
            f"The adapter {folder} does not fit {name}: {len(missing)} of its {len(expected)} matrices are missing "
            f"({missing[0]} first). Choose the model that it was trained on, or copy the adapter again."
        )


def has_adapters(network: Any) -> bool:
    """Whether adapters stand beside matrices of the network, rather than being part of them."""
    return any(hasattr(module, "fuse") for _, module in network.named_modules())


def fuse_adapters(network: Any) -> None:
    """Add adapters to the matrices that they stand beside, so that they cost no time.

    Meant for float32: a sum that is quantised or rounded to 16 bits again would not be what was trained.
    """
    from mlx.utils import tree_unflatten

    modules = network.named_modules()
    fused = [(path, module.fuse(dequantize=True)) for path, module in modules if hasattr(module, "fuse")]
    if fused:
        network.update_modules(tree_unflatten(fused))


def _tensor_names(file: Path) -> set[str]:
    """The names of the tensors in a safetensors file that was checked."""
    with file.open("rb") as stream:
        n_header = int.from_bytes(stream.read(8), "little")
        return set(json.loads(stream.read(n_header))) - {"__metadata__"}
