"""What the client of the bench does for the server's tools: it applies edits to the documents that it has open, and
answers the questions that are asked before. It writes no file."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from harmony_ls.cli.typist import CAPABILITIES
from harmony_ls.lsp.client import LspClient
from harmony_ls.lsp.documents.text import Position

__all__ = ["EDITING_CAPABILITIES", "EditingHand"]

EDITING_CAPABILITIES: Final[dict[str, Any]] = {
    **CAPABILITIES,
    "workspace": {
        **CAPABILITIES["workspace"],
        "applyEdit": True,
        "workspaceEdit": {"documentChanges": True, "failureHandling": "textOnlyTransactional"},
    },
    "textDocument": {
        **CAPABILITIES["textDocument"],
        "codeAction": {
            "codeActionLiteralSupport": {"codeActionKind": {"valueSet": ["", "quickfix", "refactor", "source"]}},
            "dataSupport": True,
            "disabledSupport": True,
            "resolveSupport": {"properties": ["edit"]},
        },
    },
    "experimental": {**CAPABILITIES["experimental"], "harmonyChat": True},
}
"""An editor's capabilities: edits of open documents, code actions that are resolved when they are chosen, a chat."""


@dataclass(slots=True, eq=False)
class EditingHand:
    """Answers the server's requests in place of an editor and of the person at it.

    ``choose`` answers a question: it gets the titles of the answers that are offered, and returns one, or None.
    """

    client: LspClient
    choose: Callable[[Sequence[str]], str | None] = lambda titles: titles[0]
    n_edits: int = 0

    def __post_init__(self) -> None:
        self.client.replies["workspace/applyEdit"] = self._apply
        self.client.replies["window/showMessageRequest"] = self._answer

    def _apply(self, params: Any) -> dict[str, Any]:
        """Make the changes, from the last to the first, so that each is at a place of the text before the edit."""
        for change in params["edit"]["documentChanges"]:
            uri = change["textDocument"]["uri"]
            for edit in sorted(change["edits"], key=lambda edit: _position(edit, "start"), reverse=True):
                self.client.change(uri, _position(edit, "start"), _position(edit, "end"), edit["newText"])
        self.n_edits += 1
        return {"applied": True}

    def _answer(self, params: Any) -> dict[str, str] | None:
        title = self.choose([action["title"] for action in params.get("actions") or ()])
        return None if title is None else {"title": title}


def _position(edit: Any, end: str) -> Position:
    return Position(edit["range"][end]["line"], edit["range"][end]["character"])
