"""The Docker image of the python tool, fetched where it is missing and the person at the editor agrees.

The question holds up no turn: the tool is there from the next one on. How an image is fetched is
`harmony_ls.tools.python`'s matter.
"""

from typing import Final

from lsprotocol import types
from pygls.exceptions import JsonRpcException

from harmony_ls.edits.diff import visible
from harmony_ls.errors import UserError
from harmony_ls.lsp.connection.asking import chosen
from harmony_ls.lsp.progress import WorkProgress
from harmony_ls.lsp.services import Services
from harmony_ls.settings.models import ToolSettings
from harmony_ls.settings.sources import DEFAULT

__all__ = ["FETCH", "NOT_NOW", "ImageOffers"]

FETCH: Final = "Fetch the image"
NOT_NOW: Final = "Not now"


class ImageOffers:
    """What was offered on one connection. An image is offered once, and again only after fetching it has failed.

    Whoever has said nothing of the tool in their settings is not asked: that they have Docker does not mean that they
    want to hear of it when they say hello. Why there is no tool, and what to do, is told in the chat.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._offered: set[str] = set()

    def offer(self, settings: ToolSettings, image: str) -> None:
        """Ask the person whether the image shall be fetched, and fetch it, while everything else goes on."""
        origins = self._services.configuration.resolved.origins
        if all(origins.get(key, DEFAULT) == DEFAULT for key in ("tools.python", "tools.pythonImage")):
            return
        if image not in self._offered:
            self._offered.add(image)
            self._services.protocol.spawn(self._offer(settings, image))

    async def _offer(self, settings: ToolSettings, image: str) -> None:
        message = (
            f"The python tool runs in the Docker image {visible(image)}, which is not there. Shall it be fetched from "
            "its registry?"
        )
        try:
            title = await chosen(self._services, types.MessageType.Info, message, (FETCH, NOT_NOW))
        except JsonRpcException:
            return  # an editor that asks nothing; why there is no tool, and what to do, was told in the chat
        if title != FETCH:
            return
        try:
            await self._fetch(settings, image)
        except UserError as error:
            self._offered.discard(image)
            self._tell(types.MessageType.Warning, visible(str(error)))
        else:
            there = f"The Docker image {visible(image)} is there. Python can be used from the next message on."
            self._tell(types.MessageType.Info, there)

    async def _fetch(self, settings: ToolSettings, image: str) -> None:
        from harmony_ls.tools.python import fetch_image

        with WorkProgress(self._services, f"Fetching {visible(image)}") as progress:

            def show(done: int, total: int) -> None:
                fraction = done / total if total else None
                progress.say(f"{done / 1e6:.1f} of {total / 1e6:.1f} MB", fraction)

            await fetch_image(settings, show)

    def _tell(self, kind: types.MessageType, message: str) -> None:
        self._services.window_show_message(types.ShowMessageParams(type=kind, message=message))
