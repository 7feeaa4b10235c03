"""The image that Python runs in: whether it is there, and fetching it once, when a person has agreed to that.

Nothing is ever fetched unasked.
"""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from harmony_ls.errors import UserError
from harmony_ls.settings.models import ToolSettings
from harmony_ls.tools.python.engine import connect, engine_faults

if TYPE_CHECKING:
    from docker import DockerClient

__all__ = ["check_image", "fetch_image", "image_to_fetch"]

_OFFLINE = (
    "Without a network: `docker pull {0} && docker save {0} -o image.tar` on a machine that has one, then `docker load "
    "-i image.tar` here; or name an image with python3 that is here already in tools.pythonImage."
)


def check_image(client: "DockerClient", image: str) -> None:
    """Raise UserError with the remedies where the engine does not have the image. It blocks."""
    from docker.errors import ImageNotFound

    try:
        client.images.get(image)
    except ImageNotFound:
        raise UserError(
            f"The python tool needs the Docker image {image}, which is not there. `docker pull {image}` fetches it "
            "(python:3.12-slim is about 45 MB), and `harmony-ls chat --tools python` offers to; another can be named "
            f"by tools.pythonImage. {_OFFLINE.format(image)}"
        ) from None


async def image_to_fetch(settings: ToolSettings) -> str | None:
    """The name of the image, where an engine answers that does not have it; None otherwise."""
    return await asyncio.to_thread(_image_to_fetch, settings)


def _image_to_fetch(settings: ToolSettings) -> str | None:
    from docker.errors import ImageNotFound

    try:
        client = connect(settings)
    except UserError:
        return None
    try:
        client.images.get(settings.python_image)
    except ImageNotFound:
        return settings.python_image
    except engine_faults():
        return None
    finally:
        client.close()
    return None


async def fetch_image(settings: ToolSettings, progress: Callable[[int, int], None]) -> None:
    """Fetch the image of the settings from its registry.

    ``progress`` is told how many bytes have come and how many are known of, on the event loop. Raises UserError where
    that fails; what has come is kept by the engine, so that a second attempt goes on from there. Cancelling it has the
    engine stop as soon as it says the next thing.
    """
    loop = asyncio.get_running_loop()
    is_given_up = threading.Event()

    def report(done: int, total: int) -> None:
        with suppress(RuntimeError):  # nobody is there any more to hear it
            loop.call_soon_threadsafe(progress, done, total)

    try:
        await asyncio.to_thread(_fetch, settings, report, is_given_up)
    finally:
        is_given_up.set()


def _fetch(settings: ToolSettings, progress: Callable[[int, int], object], is_given_up: threading.Event) -> None:
    client = connect(settings)
    image = settings.python_image
    name = image if "@" in image or ":" in image.rpartition("/")[2] else f"{image}:latest"
    layers: dict[str, tuple[int, int]] = {}
    try:
        for line in client.api.pull(name, stream=True, decode=True):
            if is_given_up.is_set():
                return
            if "error" in line:
                raise UserError(f"The image {image} could not be fetched: {line['error']}. {_OFFLINE.format(image)}")
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
        why = str(getattr(error, "explanation", None) or error)
        raise UserError(f"The image {image} could not be fetched: {why}. {_OFFLINE.format(image)}") from error
    finally:
        client.close()
