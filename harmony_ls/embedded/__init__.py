"""The fill-in-the-middle model that ships with the package: its files and where they are. It loads nothing."""

from pathlib import Path

__all__ = ["folder"]


def folder() -> Path:
    """The folder with the embedded model's configuration, weights and tokenizer."""
    return Path(__file__).parent
