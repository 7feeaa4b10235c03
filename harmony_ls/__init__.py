"""harmony-ls: a coding assistant that lives in the editor and runs on your own machine.

The Python API is imported when it is asked for, so that the command line starts without it:

    from harmony_ls import TokenGenerator
"""

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harmony_ls.token_generator import AsyncTokenGenerator, TokenGenerator

__all__ = ["AsyncTokenGenerator", "TokenGenerator", "__version__"]

__version__ = version("harmony-ls")


def __getattr__(name: str) -> Any:
    if name in ("AsyncTokenGenerator", "TokenGenerator"):
        from harmony_ls import token_generator

        return getattr(token_generator, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
