"""The image that Python runs in: whether it is there, and fetching it once, when a person has agreed to that.

Nothing is ever fetched unasked.
"""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from harmony_ls.errors import UserError
from harmony_ls.settings.models import ToolSettings
from harmony_ls.tools.python.engine import connect, engine_faults

if TYPE_CHECKING:
    from docker import DockerClient

__all__ = ["check_image", "fetch_image"]


def check_image(client: "DockerClient", image: str) -> None:
    """Raise UserError with the remedy where the engine does not have the image. It blocks."""
    from docker.errors import ImageNotFound

    try:
        client.images.get(image)
    except ImageNotFound:
        raise UserError(
            f"The python tool needs the Docker image {image}, which is not there. `docker pull {image}` fetches it "
            "(python:3.12-slim is about 45 MB); another can be named by tools.pythonImage."
        ) from None


async def fetch_image(settings: ToolSettings, progress: Callable[[int, int], None]) -> None:
    """Fetch the image of the settings from its registry.

    ``progress`` is told how many bytes have come and how many are known of, on the event loop. Raises UserError where
    that fails; what has come is kept by the engine, so that a second attempt goes on from there.
    """
    loop = asyncio.get_running_loop()
    await asyncio.to_thread(_fetch, settings, lambda done, all_: loop.call_soon_threadsafe(progress, done, all_))


def _fetch(settings: ToolSettings, progress: Callable[[int, int], object]) -> None:
    client = connect(settings)
    image = settings.python_image
    name = image if "@" in image or ":" in image.rpartition("/")[2] else f"{image}:latest"
    layers: dict[str, tuple[int, int]] = {}
    try:
        for line in client.api.pull(name, stream=True, decode=True):
            if "error" in line:
                raise UserError(f"The image {image} could not be fetched: {line['error']}")
            detail, layer = line.get("progressDetail") or {}, line.get("id", "")
            if line.get("status") == "Downloading" and detail.get("total"):
                layers[layer] = (detail["current"], detail["total"])
            elif line.get("status") in ("Download complete", "Pull complete") and layer in layers:
                layers[layer] = (layers[layer][1], layers[layer][1])
            else:
                continue
            progress(sum(done for done, _ in layers.values()), sum(total for _, total in layers.values()))
        check_image(client, image)
    except engine_faults() as error:
        raise UserError(f"The image {image} could not be fetched: {error}") from error
    finally:
        client.close()
