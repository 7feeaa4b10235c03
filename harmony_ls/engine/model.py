"""Finding, checking and loading a model folder. The faults a person can mend are told apart before MLX sees a byte.

Loading happens on the MLX thread. Nothing here generates.
"""

import importlib.util
import json
import logging
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]

from harmony_ls import embedded
from harmony_ls.engine.cache_options import CacheOptions
from harmony_ls.engine.tokenizer import Tokenizer
from harmony_ls.errors import ModelError, ModelTooLargeError

__all__ = ["LoadProgress", "Model", "ModelSpec", "describe_device", "load_model", "resolve_folder"]

log = logging.getLogger(__name__)

# Share of the machine's memory that the weights of all resident models may take unless the settings say otherwise.
_DEFAULT_MEMORY_SHARE = 0.75
# The limit of the safetensors library; a longer header is no header.
_LARGEST_HEADER_BYTES = 100_000_000
_LONGEST_CAUSE = 300
_NAMES = "Name a folder, or a repository such as mlx-community/Qwen2.5-Coder-1.5B-4bit."
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "tiktoken.model")


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """Which model: a folder, a Hugging Face repository ("org/name"), or None for the model inside the package."""

    reference: str | None = None
    trust_remote_code: bool = False
    memory_budget_bytes: int | None = None
    cache_options: CacheOptions = CacheOptions()


@dataclass(frozen=True, slots=True)
class LoadProgress:
    """How far a load is: what is being done, and the fraction that is done (None where it cannot be known)."""

    message: str
    fraction: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """A resident model, seen from outside the MLX thread.

    ``context_length`` is in tokens. ``n_bytes`` is what the weights take in memory; the weights themselves stay with
    the MLX thread.
    """

    name: str
    spec: ModelSpec
    path: Path
    model_type: str
    context_length: int
    n_parameters: int
    n_bytes: int
    precision: str
    tokenizer: Tokenizer
    config: dict[str, Any] = field(repr=False)

    @property
    def is_embedded(self) -> bool:
        """Whether this is the model that ships with the package."""
        return self.spec.reference is None


def describe_device() -> str:
    """What MLX computes on, in words. Runs on the MLX thread."""
    import mlx.core as mx

    device = mx.default_device()
    name = mx.device_info(device).get("device_name", "")
    return f"{device.type.name} {name}".strip()


def resolve_folder(spec: ModelSpec, on_progress: Callable[[LoadProgress], None]) -> Path:
    """The folder of the model's files; a repository is downloaded, or found in the local cache.

    Raises ModelError when there is no such folder or repository. Runs on any thread.
    """
    if spec.reference is None:
        return embedded.folder()
    try:
        path = Path(spec.reference).expanduser()
        is_folder, is_file = path.is_dir(), path.is_file()
    except (OSError, ValueError, RuntimeError) as error:
        raise ModelError(f"{spec.reference[:200]!r} cannot be a model folder: {_brief(error)} {_NAMES}") from error
    if is_folder:
        return path
    if is_file:
        raise ModelError(f"{path} is a file. Name the folder that holds config.json and the safetensors files.")
    if path.is_absolute() or spec.reference.startswith((".", "~")) or spec.reference.count("/") != 1:
        raise ModelError(f"There is no model folder {spec.reference}. {_NAMES}")
    return _download(spec.reference, on_progress)


def load_model(
    spec: ModelSpec, folder: Path, on_progress: Callable[[LoadProgress], None], n_resident_bytes: int = 0
) -> tuple[Model, Any]:
    """Load the model of ``folder``: what is known of it, and its network. Runs on the MLX thread.

    ``n_resident_bytes`` is what other models already take of the memory budget. Raises ModelError for everything that
    is wrong with the folder, ModelTooLargeError when it does not fit.
    """
    config = _read_config(folder)
    name = _name(spec, folder)
    on_progress(LoadProgress(f"Checking {name}"))
    _check_architecture(folder, config, spec)
    n_file_bytes = _check_weights(folder)
    whole_budget = spec.memory_budget_bytes or int(psutil.virtual_memory().total * _DEFAULT_MEMORY_SHARE)
    budget = whole_budget - n_resident_bytes
    if n_file_bytes > budget:
        taken = f", of which other models take {_gigabytes(n_resident_bytes)}" if n_resident_bytes else ""
        raise ModelTooLargeError(
            f"{name} needs {_gigabytes(n_file_bytes)} for its weights; the memory budget is "
            f"{_gigabytes(whole_budget)}{taken}. Choose a smaller or more strongly quantised model, or "
            "raise memoryBudgetGb."
        )
    on_progress(LoadProgress(f"Loading {name}"))
    network, precision = _load_network(spec, folder, name, budget)
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
        n_parameters=_count_parameters(network),
        n_bytes=sum(array.nbytes for array in parameters),
        precision=precision,
        tokenizer=tokenizer,
        config=config,
    )
    return model, network


def _name(spec: ModelSpec, folder: Path) -> str:
    if spec.reference is None:
        return "embedded"
    return folder.name if Path(spec.reference).expanduser().is_dir() else spec.reference


def _download(repository: str, on_progress: Callable[[LoadProgress], None]) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    from harmony_ls.engine.download import progress_bar

    patterns = ["*.json", "model*.safetensors", "*.py", "tokenizer.model", "*.tiktoken", "*.txt", "*.jinja"]
    try:
        folder = Path(snapshot_download(repository, allow_patterns=patterns, local_files_only=True))
        if (fault := _incompleteness(folder)) is None:
            return folder
        log.info("The download of %s goes on where it stopped: %s", repository, fault)
    except LocalEntryNotFoundError:
        log.info("%s is not in the local cache", repository)
    except HFValidationError as error:
        raise ModelError(f"{repository} is neither a folder nor the name of a repository. {_NAMES}") from error
    on_progress(LoadProgress(f"Downloading {repository}", 0.0))
    try:
        folder = Path(
            snapshot_download(repository, allow_patterns=patterns, tqdm_class=progress_bar(repository, on_progress))
        )
        # Without a network the half that is there comes back as if it were the whole.
        if (fault := _incompleteness(folder)) is not None:
            raise FileNotFoundError(fault)
        return folder
    except Exception as error:
        # The errors of the hub's client and of the HTTP client beneath it share no class.
        raise ModelError(
            f"{repository} could not be downloaded: {_brief(error)} "
            "Check the name and the network, or name a local folder."
        ) from error


def _incompleteness(folder: Path) -> str | None:
    """What a half-downloaded folder lacks: the local cache of the hub tells such a folder as a whole one."""
    try:
        _read_config(folder)
        _check_weights(folder)
    except ModelError as error:
        return str(error)
    return None if any((folder / file).exists() for file in _TOKENIZER_FILES) else "it has no tokenizer"


def _read_config(folder: Path) -> dict[str, Any]:
    file = folder / "config.json"
    if not file.exists():
        raise ModelError(
            f"{folder} is not a model: it has no config.json. Name the folder that holds config.json and the "
            "safetensors files."
        )
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{file} cannot be read: {_brief(error)} Download the model again.") from error
    if not isinstance(config, dict) or "model_type" not in config:
        raise ModelError(
            f"{file} names no model_type, so this is not a model that mlx-lm can load. "
            "Name another folder, or download the model again."
        )
    return config


def _check_architecture(folder: Path, config: dict[str, Any], spec: ModelSpec) -> None:
    if (model_file := config.get("model_file")) is not None:
        if not spec.trust_remote_code:
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


def _check_weights(folder: Path) -> int:
    """The bytes of the weights; raises ModelError if a file is missing or cut short."""
    files = sorted(folder.glob("model*.safetensors"))
    index = folder / "model.safetensors.index.json"
    if index.exists():
        try:
            weight_map = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
            expected = {str(file) for file in weight_map.values()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ModelError(f"{index} cannot be read: {_brief(error)} Download the model again.") from error
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
    return sum(_check_safetensors(file) for file in files)


def _check_safetensors(file: Path) -> int:
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


def _load_network(spec: ModelSpec, folder: Path, name: str, budget: int) -> tuple[Any, str]:
    import mlx.core as mx
    from mlx_lm.utils import load_model as mlx_lm_load_model

    try:
        network, _ = mlx_lm_load_model(folder, trust_remote_code=spec.trust_remote_code)
    except Exception as error:
        # A configuration or a weight that does not fit fails anywhere in the code of the architecture.
        raise ModelError(
            f"mlx-lm cannot load {name}: {_brief(error)} Download the model again, or choose another."
        ) from error
    network.eval()
    if mx.default_device() == mx.Device(mx.gpu):
        return network, "as stored"
    return _to_float32(network, budget)


def _to_float32(network: Any, budget: int) -> tuple[Any, str]:
    """On a CPU float32 is fastest: 16-bit and quantised kernels prefill 7 to 12 times slower, and some do not exist."""
    import mlx.core as mx
    from mlx_lm.utils import dequantize_model

    n_bytes = 4 * _count_parameters(network)
    if n_bytes > budget:
        log.warning("float32 weights would take %s, over the budget: kept as stored, slower", _gigabytes(n_bytes))
        return network, "as stored (float32 does not fit)"
    dequantize_model(network)
    network.set_dtype(mx.float32)
    mx.eval(network.parameters())
    mx.clear_cache()
    return network, "float32"


def _count_parameters(network: Any) -> int:
    from mlx_lm.utils import get_total_parameters

    return int(get_total_parameters(network))


def _load_tokenizer(spec: ModelSpec, folder: Path, config: dict[str, Any], name: str) -> Tokenizer:
    from mlx_lm.utils import load_tokenizer
    from transformers.utils import logging as transformers_logging

    # Its warnings go where ours go, and not to stderr by a handler of its own.
    transformers_logging.disable_default_handler()
    transformers_logging.enable_propagation()
    if not any((folder / file).exists() for file in _TOKENIZER_FILES):
        raise ModelError(f"{folder} has no tokenizer (tokenizer.json). Download the model again.")
    # Unset, transformers would ask on stdin, where the editor speaks.
    trust = {"trust_remote_code": spec.trust_remote_code}
    try:
        wrapper = load_tokenizer(folder, tokenizer_config_extra=trust, eos_token_ids=_end_tokens(folder, config))
        return Tokenizer(wrapper)
    except Exception as error:
        # Tokenizers are built by code of many hands, so any exception may come.
        raise ModelError(
            f"The tokenizer of {name} cannot be loaded: {_brief(error)} Download the model again, or choose another."
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


def _brief(error: BaseException) -> str:
    """The cause in a sentence: libraries put whole lists of tensors into their messages."""
    text = " ".join(str(error).split()) or type(error).__name__
    text = text if len(text) <= _LONGEST_CAUSE else text[:_LONGEST_CAUSE].rsplit(" ", 1)[0] + " …"
    return text if text.endswith((".", "!", "?", "…")) else text + "."


def _gigabytes(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.1f} GB"
