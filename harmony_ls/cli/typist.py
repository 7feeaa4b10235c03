"""Types into the real server the way an editor does: one change and one request a key, and what came of it.

`demo` shows it and `bench` measures it. Each answer comes with the server's own account of it
(``harmony/inlineCompletion/outcome``).
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from harmony_ls.lsp.client import EDITOR_CAPABILITIES, LspClient, ServerGoneError

__all__ = ["CAPABILITIES", "Answer", "press"]

CAPABILITIES: Final[Mapping[str, Any]] = {**EDITOR_CAPABILITIES, "experimental": {"harmonyOutcomes": True}}
"""An editor's capabilities, and the wish to be told the outcome of each completion."""

_OUTCOME: Final = "harmony/inlineCompletion/outcome"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one key: the text on offer (empty if none), the outcome with its detail, and what it cost.

    ``client_ms`` is from the change to the answer as the client sees it; the times of ``stats`` are the server's.
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
            shown = items[0]["insertText"] if items else ""
            return Answer(shown, params["outcome"], params["detail"], client_ms, params["stats"])
    raise ServerGoneError("the server did not say how the completion ended")
