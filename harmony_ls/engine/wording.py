"""The words in which the faults of models are told. It finds no fault itself."""

__all__ = ["NAMES", "brief", "gigabytes"]

NAMES = "Name a folder, or a repository such as mlx-community/Qwen2.5-Coder-1.5B-4bit."
"""What to do about a model that is not there."""

_LONGEST_CAUSE = 300


def brief(error: BaseException) -> str:
    """The cause in a sentence: libraries put whole lists of tensors into their messages."""
    text = " ".join(str(error).split()) or type(error).__name__
    text = text if len(text) <= _LONGEST_CAUSE else text[:_LONGEST_CAUSE].rsplit(" ", 1)[0] + " …"
    return text if text.endswith((".", "!", "?", "…")) else text + "."


def gigabytes(n_bytes: int) -> str:
    """A number of bytes as a person reads it."""
    return f"{n_bytes / 1e9:.1f} GB"
