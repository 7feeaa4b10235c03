"""harmony-ls: a coding assistant that lives in the editor and runs on your own machine."""

from importlib.metadata import version

__all__ = ["__version__"]

__version__ = version("harmony-ls")
