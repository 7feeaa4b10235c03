"""Python in a container, for a model. `python_tool` is the way in; only this package knows Docker.

`python_availability` says cheaply whether there would be a tool, and `fetch_image` mends a missing image.
"""

from harmony_ls.tools.python.availability import Availability, python_availability
from harmony_ls.tools.python.image import fetch_image, image_to_fetch
from harmony_ls.tools.python.tool import python_tool

__all__ = ["Availability", "fetch_image", "image_to_fetch", "python_availability", "python_tool"]
