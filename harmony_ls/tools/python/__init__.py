"""Python in a container, for a model. `python_tool` is the way in; only this package knows Docker."""

from harmony_ls.tools.python.image import fetch_image, image_to_fetch
from harmony_ls.tools.python.tool import python_tool

__all__ = ["fetch_image", "image_to_fetch", "python_tool"]
