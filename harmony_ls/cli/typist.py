"""Types into the real server the way an editor does: one change and one request a key, and what came of it.

`demo` shows it and `bench` measures it. Each answer comes with the server's own account of it
(``harmony/inlineCompletion/outcome``). It chooses nothing to type and sums nothing up.
"""

import asyncio
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from harmony_ls.errors import UserError
from harmony_ls.lsp.client import EDITOR_CAPABILITIES, LspClient, ServerGoneError

__all__ = ["CAPABILITIES", "Answer", "model_ready", "next_key", "press"]

CAPABILITIES: Final[Mapping[str, Any]] = {**EDITOR_CAPABILITIES, "experimental": {"harmonyOutcomes": True}}
"""An editor's capabilities, and the wish to be told the outcome of each completion."""

_OUTCOME: Final = "harmony/inlineCompletion/outcome"
_STATUS: Final = "harmony/status"
# The load of a large model, or its download.
_LONGEST_LOAD_SECONDS: Final = 3600.0
_KEY: Final = re.compile(r"(?:\r\n|\r|\n)[ \t]*|[^\r\n]")


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one key: the text on offer (empty if none), the outcome with its detail, and what it cost.

    ``client_ms`` is from before the change is sent to the answer as the client sees it; the times of ``stats`` are the
    server's.
    """

    shown: str
    outcome: str
    detail: str
    client_ms: float
    stats: Mapping[str, Any]


async def press(client: LspClient, uri: str, offset: int, inserted: str) -> Answer:
    """Insert a text at an offset in code points, ask for a completion after it, and wait for the answer."""
    client.notifications.clear()
    started = time.perf_counter()
    client.insert(uri, offset, inserted)
    items = await client.inline_completion(uri, client.text(uri).position_at(offset + len(inserted)))
    client_ms = (time.perf_counter() - started) * 1000
    for method, params in client.notifications:
        if method == _OUTCOME and params["uri"] == uri:
            shown = _with_line_ends_of(client, uri, items[0]["insertText"]) if items else ""
            return Answer(shown, params["outcome"], params["detail"], client_ms, params["stats"])
    raise ServerGoneError("the server did not say how the completion ended")


def next_key(typed: str, position: int) -> str:
    """What the next key inserts on the way to ``typed``: one character, or Enter with the next line's indentation.

    Editors bring the indentation. Empty when all is typed.
    """
    match = _KEY.match(typed, position)
    return match.group() if match else ""


def _with_line_ends_of(client: LspClient, uri: str, text: str) -> str:
    """The text as an editor would insert it: it comes with plain line ends and gets those of the document."""
    return text.replace("\n", "\r\n") if "\n" in text and "\r\n" in str(client.text(uri)) else text


async def model_ready(client: LspClient, progress: Callable[[str], None] = lambda _message: None) -> Mapping[str, Any]:
    """Wait until the server has its model; return the status that says so. Something must have asked for the model.

    ``progress`` gets each message on the way. Raises UserError when the model cannot be loaded.
    """

    def settled(method: str, params: Any) -> bool:
        if method != _STATUS:
            return False
        if params.get("message"):
            progress(params["message"])
        return params["state"] in ("ready", "busy", "error")

    try:
        status: Mapping[str, Any] = await asyncio.wait_for(client.notified(settled), _LONGEST_LOAD_SECONDS)
    except TimeoutError:
        raise UserError(f"The model was not loaded after {_LONGEST_LOAD_SECONDS:.0f} seconds.") from None
    if status["state"] == "error":
        raise UserError(str(status.get("message") or "The model cannot be loaded."))
    return status
