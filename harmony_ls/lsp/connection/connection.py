"""One client as the rest of the server sees it: what it can do, what it is sent, which documents it has open."""

import asyncio
from typing import Any

from lsprotocol import types
from pygls.capabilities import get_capability
from pygls.lsp.server import LanguageServer

from harmony_ls import __version__
from harmony_ls.lsp.connection.protocol import HarmonyProtocol
from harmony_ls.lsp.documents.documents import Documents
from harmony_ls.lsp.messages.messages import harmony_converter

__all__ = ["Connection"]


class Connection(LanguageServer):
    """A client and its documents. It answers nothing: `harmony_ls.lsp.server` does.

    ``is_initialized``: the client may be sent messages. ``cancellable`` are, by token, the tasks that a person may give
    up.
    """

    protocol: HarmonyProtocol

    def __init__(self) -> None:
        super().__init__(
            "harmony-ls",
            __version__,
            protocol_cls=HarmonyProtocol,
            converter_factory=harmony_converter,
        )
        self.documents = Documents()
        self.is_initialized = False
        self.client_info: types.ClientInfo | None = None
        self.cancellable: dict[int | str, asyncio.Task[object]] = {}
        self._capabilities = types.ClientCapabilities()

    def client_can(self, capability: str) -> Any:
        """Return a client capability by its path, such as ``window.work_done_progress``; None where there is none."""
        return get_capability(self._capabilities, capability)

    @property
    def client_has_inline_completion(self) -> bool:
        """Whether the client declares ``textDocument/inlineCompletion``."""
        return self.client_can("text_document.inline_completion") is not None

    @property
    def client_wants_outcomes(self) -> bool:
        """Whether the client asks to be told how each inline completion ended (``experimental.harmonyOutcomes``)."""
        return self._declares("harmonyOutcomes")

    @property
    def client_opens_chat(self) -> bool:
        """Whether the client has a chat that code actions can open (``experimental.harmonyChat``)."""
        return self._declares("harmonyChat")

    def _declares(self, capability: str) -> bool:
        """Whether the client declares a capability that only harmony-ls knows."""
        experimental = self._capabilities.experimental
        return isinstance(experimental, dict) and experimental.get(capability) is True
