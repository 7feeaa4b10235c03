"""Whether Python can be had here at this moment, asked at the beginning of every turn: Docker may come and go.

Only the engine's answers to two short questions count. Nothing is started, fetched or removed, and docker is not
imported.
"""

import asyncio
import threading
import time
from dataclasses import dataclass
from http.client import HTTPException
from urllib.parse import quote

from harmony_ls.errors import UserError
from harmony_ls.settings.models import ToolSettings
from harmony_ls.tools.python.engine import addresses, asked, check_is_engine, no_engine

__all__ = ["Availability", "forget_answers", "missing_image", "python_availability"]

OFFLINE = (
    "Without a network: `docker pull {0} && docker save {0} -o image.tar` on a machine that has one, then `docker load "
    "-i image.tar` here; or name an image with python3 that is here already in tools.pythonImage."
)
"""How to do without a registry, given an image."""

_ASKED_SECONDS = 2.0
_KEPT_SECONDS = 5.0
# An engine that hangs costs those who ask at most this part of their time.
_SLOWEST_PART = 0.05
_MOST_ANSWERS = 64


@dataclass(frozen=True, slots=True)
class Availability:
    """Whether the python tool can be had. ``reason`` says for a person why not; it is empty where it can.

    ``missing_image`` is the image that the engine lacks, where that is all that is missing: `fetch_image` mends it.
    """

    reason: str = ""
    missing_image: str = ""


async def python_availability(settings: ToolSettings) -> Availability:
    """Whether `python_tool` would give the tool now. An answer is kept for some seconds, so ask whenever you like."""
    return await asyncio.to_thread(_availability, settings)


def missing_image(image: str) -> str:
    """Why there is no python tool where the engine lacks the image, with the remedies."""
    return (
        f"The python tool needs the Docker image {image}, which is not there. `docker pull {image}` fetches it "
        "(python:3.12-slim is about 45 MB), and `harmony-ls chat --tools python` offers to; another can be named "
        f"by tools.pythonImage. {OFFLINE.format(image)}"
    )


def forget_answers() -> None:
    """Ask anew next time: an image was fetched."""
    with _lock:
        _answers.clear()


# The engines of this machine are the same for all who ask.
_answers: dict[tuple[tuple[str, ...], str], tuple[float, Availability]] = {}
_lock = threading.Lock()


def _availability(settings: ToolSettings) -> Availability:
    try:
        places = tuple(addresses(settings))
    except UserError as error:
        return Availability(str(error))
    key = (places, settings.python_image)
    with _lock:  # who comes meanwhile gets the same answer
        known = _answers.get(key)
        began = time.monotonic()
        if known is not None and began < known[0]:
            return known[1]
        answer = _looked_up(places, settings.python_image)
        now = time.monotonic()
        if len(_answers) >= _MOST_ANSWERS:
            _answers.clear()
        _answers[key] = (now + max(_KEPT_SECONDS, (now - began) / _SLOWEST_PART), answer)
        return answer


def _looked_up(places: tuple[str, ...], image: str) -> Availability:
    faults: list[tuple[str, Exception]] = []
    for address in places:
        try:
            check_is_engine(address, _ASKED_SECONDS)
            status, _ = asked(address, f"/images/{quote(image, safe='')}/json", _ASKED_SECONDS)
        except (OSError, HTTPException) as error:
            faults.append((address, error))
            continue
        if status == 404:
            return Availability(missing_image(image), image)
        return (
            Availability() if status == 200 else Availability(f"Docker cannot look for the image {image} ({status}).")
        )
    return Availability(no_engine(faults))
