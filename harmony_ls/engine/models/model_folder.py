"""Checks a model folder before MLX sees a byte of it: the faults a person can mend are told apart here.

Nothing is loaded and nothing is downloaded; everything runs on any thread.
"""

import importlib.util
import json
import struct
from pathlib import Path
from typing import Any

from harmony_ls.engine.wording import brief
from harmony_ls.errors import ModelError

__all__ = [
    "check_architecture",
    "check_safetensors",
    "check_weights",
    "has_tokenizer",
    "incompleteness",
    "read_config",
]

# The limit of the safetensors library; a longer header is no header.
_LARGEST_HEADER_BYTES = 100_000_000
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "tiktoken.model")


def read_config(folder: Path) -> dict[str, Any]:
    """The content of ``config.json``; raises ModelError if it is none of a model."""
    file = folder / "config.json"
    if not file.exists():
        raise ModelError(
            f"{folder} is not a model: it has no config.json. Name the folder that holds config.json and the "
            "safetensors files."
        )
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{file} cannot be read: {brief(error)} Download the model again.") from error
    if not isinstance(config, dict) or "model_type" not in config:
        raise ModelError(
            f"{file} names no model_type, so this is not a model that mlx-lm can load. "
            "Name another folder, or download the model again."
        )
    return config


def check_architecture(folder: Path, config: dict[str, Any], trust_remote_code: bool) -> None:
    """Raise ModelError for an architecture that mlx-lm does not know, and for a program that is not trusted."""
    if (model_file := config.get("model_file")) is not None:
        if not trust_remote_code:
            raise ModelError(
                f"{folder} brings its own program ({model_file}) to build the model. It runs only with "
                "trustRemoteCode set in your user settings; set it if you trust this folder."
            )
        return
    from mlx_lm.utils import MODEL_REMAPPING

    model_type = str(config["model_type"])
    module = MODEL_REMAPPING.get(model_type, model_type)
    if not module.isidentifier() or importlib.util.find_spec(f"mlx_lm.models.{module}") is None:
        raise ModelError(
            f"{folder} is of the architecture {model_type}, which the installed mlx-lm does not know. "
            "Update mlx-lm, or choose another model."
        )


def check_weights(folder: Path) -> int:
    """The bytes of the weights; raises ModelError if a file is missing or cut short."""
    files = sorted(folder.glob("model*.safetensors"))
    index = folder / "model.safetensors.index.json"
    if index.exists():
        try:
            weight_map = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
            expected = {str(file) for file in weight_map.values()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ModelError(f"{index} cannot be read: {brief(error)} Download the model again.") from error
        missing = sorted(name for name in expected if not (folder / name).exists())
        if missing:
            raise ModelError(
                f"{folder} is incomplete: {len(missing)} of {len(expected)} weight files are missing "
                f"({missing[0]} first). Download the model again."
            )
    if not files:
        kinds = {file.suffix for file in folder.iterdir() if file.suffix in {".bin", ".pt", ".gguf", ".pth"}}
        hint = f" It holds {', '.join(sorted(kinds))} files; convert it with mlx_lm.convert." if kinds else ""
        raise ModelError(f"{folder} has no weights (model*.safetensors).{hint or ' Download the model again.'}")
    return sum(check_safetensors(file) for file in files)


def check_safetensors(file: Path) -> int:
    """The size of one weight file, after its header was held against its length (safetensors format, 8-byte length)."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        head = stream.read(8)
        n_header = struct.unpack("<Q", head)[0] if len(head) == 8 else size
        if n_header + 8 > size or n_header > _LARGEST_HEADER_BYTES:
            raise ModelError(f"{file} is cut short or not a safetensors file. Download the model again.")
        try:
            header = json.loads(stream.read(n_header))
            end = max((entry["data_offsets"][1] for key, entry in header.items() if key != "__metadata__"), default=0)
        except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError) as error:
            raise ModelError(f"{file} is damaged: its header cannot be read. Download the model again.") from error
    if 8 + n_header + end > size:
        raise ModelError(f"{file} is cut short by {8 + n_header + end - size} bytes. Download the model again.")
    return size


def has_tokenizer(folder: Path) -> bool:
    """Whether one of the files is there that tokenizers come in."""
    return any((folder / file).exists() for file in _TOKENIZER_FILES)


def incompleteness(folder: Path) -> str | None:
    """What a half-downloaded folder lacks: the local cache of the hub tells such a folder as a whole one."""
    try:
        read_config(folder)
        check_weights(folder)
    except ModelError as error:
        return str(error)
    return None if has_tokenizer(folder) else "it has no tokenizer"
