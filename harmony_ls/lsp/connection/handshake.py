"""The answer to ``initialize``, made from plain JSON before pygls is imported, which takes most of a second.

An editor starts the server and waits for this answer before it shows anything. So the bytes that come in while the
rest of the program is still being imported are looked at here, and an ordinary ``initialize`` that comes first is
answered at once; what the message sets in motion happens when the server has read it too. It decides nothing that
depends on settings: those are read later.
"""

from collections.abc import Mapping
from typing import Any, Final

from harmony_ls import __version__
from harmony_ls.features.code_actions.actions import KINDS
from harmony_ls.lsp.connection import framing

__all__ = ["TRIGGER_CHARACTERS", "Greeter", "advertises_completion", "choose_encoding", "initialize_result"]

POSITION_ENCODINGS: Final = ("utf-8", "utf-16", "utf-32")
TRIGGER_CHARACTERS: Final = (".", "(")


def initialize_result(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the result of ``initialize``: what this server can do for this client."""
    client = _mapping(params, "capabilities")
    capabilities: dict[str, Any] = {
        "positionEncoding": choose_encoding(client),
        "textDocumentSync": {"openClose": True, "change": 2, "save": False},
        "inlineCompletionProvider": {},
        "workspace": {"workspaceFolders": {"supported": True, "changeNotifications": True}},
    }
    if client.get("notebookDocument") is not None:
        capabilities["notebookDocumentSync"] = {"notebookSelector": [{"notebook": "*"}]}
    if _mapping(_mapping(client, "textDocument"), "codeAction").get("codeActionLiteralSupport") is not None:
        capabilities["codeActionProvider"] = {
            "codeActionKinds": list(KINDS),
            "resolveProvider": True,
            "workDoneProgress": True,
        }
    if advertises_completion(params):
        capabilities["completionProvider"] = {"triggerCharacters": list(TRIGGER_CHARACTERS)}
    return {"capabilities": capabilities, "serverInfo": {"name": "harmony-ls", "version": __version__}}


def choose_encoding(client: Mapping[str, Any]) -> str:
    """Return the position encoding: the client's first choice of those that exist, and UTF-16 if it names none."""
    offered = _mapping(client, "general").get("positionEncodings")
    for encoding in offered if isinstance(offered, list) else ():
        if encoding in POSITION_ENCODINGS:
            return str(encoding)
    return "utf-16"


def advertises_completion(params: Mapping[str, Any]) -> bool:
    """Say whether ``completionProvider`` is advertised from the start.

    Only to clients that cannot be told later, and only where the completion list is likely to be wanted: by clients
    without inline completions, and by persons who say so in ``initializationOptions``.
    """
    document = _mapping(_mapping(params, "capabilities"), "textDocument")
    completion = document.get("completion")
    if not isinstance(completion, Mapping) or completion.get("dynamicRegistration"):
        return False
    if document.get("inlineCompletion") is None:
        return True
    options = _mapping(params, "initializationOptions")
    inline = _mapping(options, "inlineCompletion") or _mapping(_mapping(options, "harmony-ls"), "inlineCompletion")
    return bool(inline.get("completionFallback", options.get("inlineCompletion.completionFallback")) == "always")


class Greeter:
    """Looks at the first message of a connection, and answers it if it is an ordinary ``initialize``.

    ``answered`` is then the message's id, and ``encoding`` the position encoding that the client was told.
    """

    def __init__(self) -> None:
        self.answered: int | str | None = None
        self.encoding: str | None = None
        self._decoder: framing.FrameDecoder | None = framing.FrameDecoder()

    def greet(self, data: bytes) -> bytes | None:
        """Take the next bytes of the connection; return the answer when the first message is complete."""
        if self._decoder is None:
            return None
        frames = self._decoder.feed(data)
        if not frames:
            return None
        self._decoder = None
        message = _message(frames[0])
        if message is None or not _is_ordinary(message):
            return None
        result = initialize_result(message["params"])
        self.answered = message["id"]
        self.encoding = result["capabilities"]["positionEncoding"]
        return framing.encode({"jsonrpc": "2.0", "id": self.answered, "result": result})


def _message(frame: framing.Body | framing.Oversized) -> Any:
    if isinstance(frame, framing.Oversized):
        return None
    try:
        return framing.decode(frame.octets)
    except (ValueError, RecursionError, MemoryError):
        return None


def _is_ordinary(message: object) -> bool:
    """Say whether a message is an ``initialize`` that the server will accept for certain."""
    if not isinstance(message, dict) or message.get("jsonrpc") != "2.0" or message.get("method") != "initialize":
        return False
    params = message.get("params")
    if type(message.get("id")) not in (int, str) or not isinstance(params, dict):
        return False
    return isinstance(params.get("capabilities"), dict) and type(params.get("processId")) in (int, type(None))


def _mapping(owner: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = owner.get(name)
    return value if isinstance(value, Mapping) else {}
