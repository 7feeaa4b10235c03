"""How far a model is on its way from the disk, or from the network, into memory. It reports and loads nothing."""

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["LoadProgress", "OnLoadProgress"]


@dataclass(frozen=True, slots=True)
class LoadProgress:
    """How far a load is: what is being done, and the fraction that is done (None where it cannot be known)."""

    message: str
    fraction: float | None = None


OnLoadProgress = Callable[[LoadProgress], None]
"""Who hears of it. A download stops when this raises."""
