"""The image that Python runs in: whether it is there, and fetching it once, when a person has agreed to that.

Nothing is ever fetched unasked. Who asks, and how, is the business of the front ends.
"""

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from harmony_ls.errors import UserError
from harmony_ls.settings.models import ToolSettings
from harmony_ls.tools.python.availability import OFFLINE, forget_answers, missing_image, python_availability
from harmony_ls.tools.python.engine import address_of, connect, connection_to, engine_faults

if TYPE_CHECKING:
    from http.client import HTTPConnection

    from docker import DockerClient

__all__ = ["check_image", "fetch_image", "image_to_fetch"]

# An engine says something several times a second while bytes come, and nothing while a registry does not answer.
_SILENT_SECONDS = 300.0
_LONGEST_LINE = 1 << 20


def check_image(client: "DockerClient", image: str) -> None:
    """Raise UserError with the remedies where the engine does not have the image. It blocks."""
    from docker.errors import ImageNotFound

    try:
        client.images.get(image)
    except ImageNotFound:
        raise UserError(missing_image(image)) from None


async def image_to_fetch(settings: ToolSettings) -> str | None:
    """The name of the image, where an engine answers that does not have it; None otherwise."""
    return (await python_availability(settings)).missing_image or None


async def fetch_image(settings: ToolSettings, progress: Callable[[int, int], None]) -> None:
    """Fetch the image of the settings from its registry. Call it from any event loop, as a task to be cancelled.

    ``progress`` is told how many bytes have come and how many are known of, on the event loop; both may grow. Raises
    UserError where that fails; what has come is kept by the engine, so that a second attempt goes on from there.
    Cancelled, it hangs up at once, and the engine stops with the next thing that it hears of the registry.
    """
    loop = asyncio.get_running_loop()

    def report(done: int, total: int) -> None:
        with suppress(RuntimeError):  # nobody is there any more to hear it
            loop.call_soon_threadsafe(progress, done, total)

    fetching = _Fetching(settings, report)
    work = asyncio.ensure_future(asyncio.to_thread(fetching.run))
    try:
        await asyncio.shield(work)
    except asyncio.CancelledError:
        fetching.hang_up()
        await asyncio.wait([work])
        work.exception()  # taken note of, else asyncio complains about it later
        raise
    finally:
        forget_answers()


class _Fetching:
    """One attempt. `run` blocks; `hang_up` ends it from another thread."""

    def __init__(self, settings: ToolSettings, progress: Callable[[int, int], object]) -> None:
        self._settings = settings
        self._progress = progress
        self._lock = threading.Lock()
        self._connection: HTTPConnection | None = None
        self._is_given_up = False

    def run(self) -> None:
        """Fetch to the end. Raises UserError."""
        image = self._settings.python_image
        client = connect(self._settings)
        try:
            layers: dict[str, tuple[int, int]] = {}
            for line in self._lines(client):
                if "error" in line:
                    raise UserError(_failed(image, str(line["error"])))
                detail, layer = line.get("progressDetail") or {}, str(line.get("id", ""))
                if line.get("status") == "Downloading" and detail.get("total"):
                    layers[layer] = (detail["current"], detail["total"])
                elif line.get("status") in ("Download complete", "Pull complete") and layer in layers:
                    layers[layer] = (layers[layer][1], layers[layer][1])
                else:
                    continue
                self._progress(sum(done for done, _ in layers.values()), sum(total for _, total in layers.values()))
            if not self._is_given_up:
                check_image(client, image)
        except TimeoutError as error:
            why = f"the engine has said nothing for {_SILENT_SECONDS:g} seconds"
            raise UserError(_failed(image, why)) from error
        except engine_faults() as error:
            raise UserError(_failed(image, str(getattr(error, "explanation", None) or error))) from error
        finally:
            client.close()

    def hang_up(self) -> None:
        """Let `run` end at once, wherever it is."""
        with self._lock:
            self._is_given_up = True
            # What the thread waits for on the connection ends with this; to close it is the thread's own business.
            if self._connection is not None and self._connection.sock is not None:
                with suppress(OSError):
                    self._connection.sock.shutdown(socket.SHUT_RDWR)

    def _lines(self, client: "DockerClient") -> Iterator[dict[str, Any]]:
        """What the engine says while it fetches. The client of the SDK gives nobody its connection to hang up."""
        connection = connection_to(address_of(client), _SILENT_SECONDS)
        try:
            with self._lock:
                if self._is_given_up:
                    return
                self._connection = connection
            image = self._settings.python_image
            query = {"fromImage": image if "@" in image or ":" in image.rpartition("/")[2] else f"{image}:latest"}
            connection.request("POST", f"/images/create?{urlencode(query)}", headers=_credentials(client, image))
            response = connection.getresponse()
            while line := response.readline(_LONGEST_LINE):
                said = _parsed(line)
                if response.status != 200:
                    raise UserError(_failed(image, str(said.get("message") or f"Docker answers {response.status}")))
                yield said
        finally:
            with self._lock:
                self._connection = None
            connection.close()


def _credentials(client: "DockerClient", image: str) -> dict[str, str]:
    """What the person has given `docker login` for the registry, as the engine takes it."""
    from docker.auth import get_config_header, resolve_repository_name

    registry, _ = resolve_repository_name(image)
    header = get_config_header(client.api, registry)
    return {"X-Registry-Auth": header.decode("ascii") if isinstance(header, bytes) else header} if header else {}


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        said = json.loads(line)
    except ValueError:
        said = None
    return said if isinstance(said, dict) else {}


def _failed(image: str, why: str) -> str:
    return f"The image {image} could not be fetched: {' '.join(why.split())}. {OFFLINE.format(image)}"
