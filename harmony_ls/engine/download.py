"""Reports a Hugging Face download as progress. It downloads nothing itself."""

from collections.abc import Callable
from typing import Any

from harmony_ls.engine.model import LoadProgress

__all__ = ["progress_bar"]


def progress_bar(repository: str, on_progress: Callable[[LoadProgress], None]) -> type[Any]:
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
