"""Finds a model's folder: a local one, the package's own, or that of a repository on the Hugging Face Hub.

Nothing is loaded here. Everything runs on any thread.
"""

import logging
from pathlib import Path
from typing import Any

from harmony_ls import embedded
from harmony_ls.engine.loading.load_progress import LoadProgress, OnLoadProgress
from harmony_ls.engine.models.model_folder import incompleteness
from harmony_ls.engine.wording import NAMES, brief
from harmony_ls.errors import ModelError

__all__ = ["find_model"]

log = logging.getLogger(__name__)

_PATTERNS = ["*.json", "model*.safetensors", "*.py", "tokenizer.model", "*.tiktoken", "*.txt", "*.jinja"]


def find_model(reference: str | None, on_progress: OnLoadProgress) -> Path:
    """The folder of the model's files; a repository is downloaded, or found in the local cache.

    ``reference`` is that of `ModelSpec`. Raises ModelError when there is no such folder or repository.
    """
    if reference is None:
        return embedded.folder()
    try:
        path = Path(reference).expanduser()
        is_folder, is_file = path.is_dir(), path.is_file()
    except (OSError, ValueError, RuntimeError) as error:
        raise ModelError(f"{reference[:200]!r} cannot be a model folder: {brief(error)} {NAMES}") from error
    if is_folder:
        return path
    if is_file:
        raise ModelError(f"{path} is a file. Name the folder that holds config.json and the safetensors files.")
    if path.is_absolute() or reference.startswith((".", "~")) or reference.count("/") != 1:
        raise ModelError(f"There is no model folder {reference}. {NAMES}")
    return _download(reference, on_progress)


def _download(repository: str, on_progress: OnLoadProgress) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(repository, allow_patterns=_PATTERNS, local_files_only=True))
        if (fault := incompleteness(folder)) is None:
            return folder
        log.info("The download of %s goes on where it stopped: %s", repository, fault)
    except LocalEntryNotFoundError:
        log.info("%s is not in the local cache", repository)
    except HFValidationError as error:
        raise ModelError(f"{repository} is neither a folder nor the name of a repository. {NAMES}") from error
    on_progress(LoadProgress(f"Downloading {repository}", 0.0))
    try:
        reporter = _progress_bar(repository, on_progress)
        folder = Path(snapshot_download(repository, allow_patterns=_PATTERNS, tqdm_class=reporter))
        # Without a network the half that is there comes back as if it were the whole.
        if (fault := incompleteness(folder)) is not None:
            raise FileNotFoundError(fault)
        return folder
    except Exception as error:
        # The errors of the hub's client and of the HTTP client beneath it share no class.
        raise ModelError(
            f"{repository} could not be downloaded: {brief(error)} "
            "Check the name and the network, or name a local folder."
        ) from error


def _progress_bar(repository: str, on_progress: OnLoadProgress) -> type[Any]:
    """A class that huggingface_hub uses in place of its progress bars; it draws nothing and reports fractions."""
    from tqdm.auto import tqdm  # type: ignore[import-untyped]

    class Reporter(tqdm):  # type: ignore[misc]
        """Counts the bytes of the bar it stands in for."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            kwargs.pop("name", None)
            self._counts_bytes = kwargs.get("unit") == "B"
            kwargs["disable"] = True
            super().__init__(*args, **kwargs)
            self._done = float(kwargs.get("initial") or 0)

        def update(self, n: float | None = 1) -> bool | None:
            self._done += n or 0
            if self._counts_bytes and self.total:
                fraction = min(self._done / self.total, 1.0)
                on_progress(LoadProgress(f"Downloading {repository}", fraction))
            return None

    return Reporter
