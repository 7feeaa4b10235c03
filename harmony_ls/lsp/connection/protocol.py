"""JSON-RPC as LSP wants it, over pygls's types: every request is answered exactly once, whatever comes in.

pygls gives the types, their conversion and the messages that a server sends; the dispatch is ours, because pygls's own
answers some faults with a traceback, others not at all, and lets a ``BaseException`` end or hang the process. This
module reads and writes no stream (`harmony_ls.lsp.run`) and knows no feature (`harmony_ls.lsp.server`).
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from enum import Enum, auto
from functools import partial
from typing import Any, Protocol

from lsprotocol import types
from pygls.exceptions import JsonRpcException
from pygls.protocol import LanguageServerProtocol

from harmony_ls.errors import UserError
from harmony_ls.lsp.connection import framing
from harmony_ls.lsp.connection.reading import (
    describe,
    id_and_method,
    read_code_action,
    readable_changes,
    readable_initialize,
    uri_in,
)
from harmony_ls.lsp.messages.messages import MESSAGE_TYPES

__all__ = ["Handler", "HarmonyProtocol", "LifeCycle", "Stage", "Writer"]

_logger = logging.getLogger(__name__)

MessageId = int | str
Handler = Callable[[Any], Awaitable[Any]]

_WITHOUT_PARAMS = frozenset({types.INITIALIZED, types.SHUTDOWN, types.EXIT})
"""Their parameters mean nothing, and clients send null, ``{}``, ``[]`` or nothing."""

_Error = types.ErrorCodes
_LspError = types.LSPErrorCodes


class Writer(Protocol):
    """Where messages go. ``write`` never blocks."""

    def write(self, data: bytes) -> None: ...


class LifeCycle(Protocol):
    """What the protocol tells its owner besides calling handlers."""

    def exit(self, *, clean: bool) -> None:
        """The client sent ``exit``; ``clean`` says that ``shutdown`` came before."""

    def lost(self, method: str, params: object) -> None:
        """A notification could not be read."""


class Stage(Enum):
    """How far the connection has come."""

    NEW = auto()
    INITIALIZING = auto()
    RUNNING = auto()
    SHUT_DOWN = auto()


class _InternalError(Exception):
    """What stands for a ``BaseException`` that a handler let out: a panic of a Rust library, or ``SystemExit``."""


class HarmonyProtocol(LanguageServerProtocol):
    """One connection's dispatch. `receive_all` takes messages in order and never raises."""

    def __init__(self, server: Any, converter: Any) -> None:
        super().__init__(server, converter)
        self.stage = Stage.NEW
        self.handlers: Mapping[str, Handler] = {}
        self.life_cycle: LifeCycle | None = None
        self._running: dict[MessageId, asyncio.Task[Any]] = {}
        self._initializing: asyncio.Task[Any] | None = None
        self.answered: MessageId | None = None  # the id of an "initialize" that was answered before we saw it
        self._background: set[asyncio.Task[Any]] = set()
        self._output: Writer | None = None

    def _register_builtin_features(self) -> None:
        """Register none of pygls's own: `HarmonyServer` has a handler for each method."""

    def connect(self, output: Writer) -> None:
        """Send messages to ``output`` from now on."""
        self._output = output

    def disconnect(self) -> None:
        """Send nothing more, cancel what runs, and give up on what the client has not answered."""
        self._output = None
        for task in (*self._running.values(), *self._background):
            task.cancel()
        for future in self._request_futures.values():
            future.cancel()

    def get_message_type(self, method: str) -> type[Any] | None:  # type: ignore[override]
        """Return the type of a message, our own methods included.

        Neither here nor below is pygls asked: it remembers the answers with the protocol that asked, so that a closed
        connection would stay in memory with its documents.
        """
        return MESSAGE_TYPES.get(method) or types.METHOD_TO_TYPES.get(method, (None,))[0]

    def get_result_type(self, method: str) -> type[Any] | None:  # type: ignore[override]
        """Return the type of the answer to a request of ours."""
        return types.METHOD_TO_TYPES.get(method, (None, None))[1]

    def unstructure(self, value: object) -> Any:
        """Return plain JSON for an LSP value."""
        return self._converter.unstructure(value)

    def spawn(self, awaitable: Awaitable[Any]) -> asyncio.Task[Any]:
        """Run something beside the requests. What it raises is logged."""
        task = asyncio.ensure_future(_contained(awaitable))
        self._background.add(task)
        task.add_done_callback(self._finish_background)
        return task

    def forget_request(self, message_id: MessageId) -> None:
        """Keep nothing of a request of ours. An answer that still comes is one to no request."""
        self._result_types.pop(message_id, None)
        if (future := self._request_futures.pop(message_id, None)) is not None:
            future.cancel()

    # Receiving

    async def receive_all(self, frames: Iterable[framing.Body | framing.Oversized]) -> None:
        """Handle messages in order: each handler has begun before the next message is looked at.

        Handlers rely on it: what they do before their first ``await`` sees the documents as the client saw them when
        it sent the message. Messages that a client sends without waiting for the answer to ``initialize`` wait here.
        """
        for frame in frames:
            self.receive(frame)
            await asyncio.sleep(0)
            if self._initializing is not None and not self._initializing.done():
                await asyncio.wait([self._initializing])

    def receive(self, frame: framing.Body | framing.Oversized) -> None:
        """Handle one message; never raises."""
        try:
            if isinstance(frame, framing.Oversized):
                self._refuse_oversized(frame)
            else:
                self._receive_body(frame.octets)
        except Exception:
            _logger.exception("a message could not be handled")

    def _receive_body(self, octets: bytes) -> None:
        try:
            message = framing.decode(octets)
        except (ValueError, RecursionError, MemoryError) as error:
            _logger.warning("a message of %d bytes is not JSON: %s", len(octets), type(error).__name__)
            self._send_error(None, _Error.ParseError, "the message is not valid JSON")
            return
        if not isinstance(message, dict):
            self._send_error(None, _Error.InvalidRequest, "a message must be an object; batches are not part of LSP")
            return
        message_id, method = message.get("id"), message.get("method")
        has_id = isinstance(message_id, int | str) and not isinstance(message_id, bool)
        if message.get("jsonrpc") != "2.0":
            self._send_error(message_id if has_id else None, _Error.InvalidRequest, 'jsonrpc must be "2.0"')
        elif isinstance(method, str) and has_id:
            assert isinstance(message_id, int | str)
            self._receive_request(message_id, method, message.get("params"))
        elif isinstance(method, str) and "id" not in message:
            self._receive_notification(method, message.get("params"))
        elif "method" not in message and has_id and ("result" in message or "error" in message):
            assert isinstance(message_id, int | str)
            self._receive_response(message_id, message)
        elif "method" not in message and message_id is None and "error" in message:
            _logger.warning("the client could not read a message: %.200s", message["error"])
        else:
            self._send_error(
                message_id if has_id else None, _Error.InvalidRequest, "the message is not a valid request"
            )

    def _refuse_oversized(self, frame: framing.Oversized) -> None:
        message_id, method = id_and_method(frame.head)
        text = f"a message of {frame.n_bytes} bytes is longer than {framing.MAX_MESSAGE_BYTES} and was passed over"
        _logger.warning("%s: %s", method or "unknown method", text)
        if message_id is not None:
            self._send_error(message_id, _Error.InvalidRequest, text)
        elif method and self.life_cycle:
            name = "notebookDocument" if method.startswith("notebookDocument/") else "textDocument"
            self.life_cycle.lost(method, {name: {"uri": uri_in(frame.head)}})

    def _receive_request(self, message_id: MessageId, method: str, params: object) -> None:
        if fault := self._fault_of_request(message_id, method):
            self._send_error(message_id, *fault)
            return
        try:
            structured = self._structure(method, params)
        except Exception as error:
            _logger.warning("%s: the parameters could not be read: %s", method, describe(error))
            self._send_error(message_id, _Error.InvalidParams, f"{method}: invalid parameters")
            return
        if method == types.INITIALIZE:
            self.stage = Stage.INITIALIZING
        elif method == types.SHUTDOWN:
            self.stage = Stage.SHUT_DOWN
            for task in self._running.values():
                task.cancel()
        task = asyncio.ensure_future(_contained(self.handlers[method](structured)))
        self._running[message_id] = task
        if method == types.INITIALIZE:
            self._initializing = task
        task.add_done_callback(partial(self._answer, message_id, method))

    def _fault_of_request(self, message_id: MessageId, method: str) -> tuple[int, str] | None:
        if self.stage is Stage.SHUT_DOWN:
            return _Error.InvalidRequest, "the server is shut down"
        if message_id in self._running:
            return _Error.InvalidRequest, "a request with this id is still running"
        if method == types.INITIALIZE:
            return None if self.stage is Stage.NEW else (_Error.InvalidRequest, "the server is initialized already")
        if self.stage is not Stage.RUNNING:
            return _Error.ServerNotInitialized, "the server is not initialized"
        if method not in self.handlers or method == types.INITIALIZED:
            return _Error.MethodNotFound, f"method not found: {method[:100]}"
        return None

    def _receive_notification(self, method: str, params: object) -> None:
        if method == types.EXIT:
            if self.life_cycle:
                self.life_cycle.exit(clean=self.stage is Stage.SHUT_DOWN)
            return
        if method == types.CANCEL_REQUEST:
            self._cancel(params)
            return
        handler = self.handlers.get(method)
        if self.stage is not Stage.RUNNING or handler is None:
            if not method.startswith("$/"):
                _logger.debug("%.100s is ignored", method)
            return
        try:
            structured = self._structure(method, params)
        except Exception as error:
            _logger.warning("%s: the parameters could not be read: %s", method, describe(error))
            if self.life_cycle:
                self.life_cycle.lost(method, params)
            return
        self.spawn(handler(structured))

    def _cancel(self, params: object) -> None:
        message_id = params.get("id") if isinstance(params, dict) else None
        task = self._running.get(message_id) if isinstance(message_id, int | str) else None
        if task is not None and task is not self._initializing:
            task.cancel()

    def _receive_response(self, message_id: MessageId, message: dict[str, Any]) -> None:
        future = self._request_futures.pop(message_id, None)
        result_type = self._result_types.pop(message_id, None)
        if future is None or future.done():
            _logger.info("an answer to no request: %.50r", message_id)
            return
        if (error := message.get("error")) is not None:
            code, text = (error.get("code"), error.get("message")) if isinstance(error, dict) else (None, error)
            future.set_exception(JsonRpcException(str(text), code if isinstance(code, int) else None))
            return
        try:
            result = self._converter.structure(message, result_type).result if result_type else message.get("result")
        except Exception as fault:
            _logger.warning("an answer of the client could not be read: %s", describe(fault))
            future.set_exception(JsonRpcException("the answer could not be read"))
        else:
            future.set_result(result)

    def _structure(self, method: str, params: object) -> Any:
        message_type = self.get_message_type(method)
        if method in _WITHOUT_PARAMS:
            return None
        if message_type is None:
            return params
        if params is not None and not isinstance(params, dict):
            raise TypeError("the parameters must be an object")
        message: dict[str, object] = {"jsonrpc": "2.0", "id": 0, "method": method}
        if params is not None:
            message["params"] = params
        if method == types.INITIALIZE and params is not None:
            message["params"] = readable_initialize(self._converter, params)
        elif method == types.TEXT_DOCUMENT_DID_CHANGE and params is not None:
            message["params"] = readable_changes(params)
        elif method == types.TEXT_DOCUMENT_CODE_ACTION and params is not None:
            return read_code_action(self._converter, params)
        return self._converter.structure(message, message_type).params

    # Answering

    def _answer(self, message_id: MessageId, method: str, task: asyncio.Task[Any]) -> None:
        del self._running[message_id]
        failed = task.cancelled() or task.exception() is not None
        greeted = method == types.INITIALIZE and message_id == self.answered
        if method == types.INITIALIZE and self.stage is Stage.INITIALIZING:
            self.stage = Stage.NEW if failed and not greeted else Stage.RUNNING
        if greeted:
            if failed and not task.cancelled():
                _logger.error("initialize failed after it was answered", exc_info=task.exception())
        elif task.cancelled():
            self._send_error(message_id, _LspError.RequestCancelled, "the request was cancelled")
        elif (error := task.exception()) is not None:
            self._send_exception(message_id, method, error)
        else:
            self._send_result(message_id, method, task.result())

    def _send_exception(self, message_id: MessageId, method: str, error: BaseException) -> None:
        match error:
            case JsonRpcException():
                self._send_error(message_id, error.code, error.message)
            case UserError():
                self._send_error(message_id, _LspError.RequestFailed, str(error))
            case _:
                # The text of an unforeseen exception may hold paths and code: it goes to the log alone.
                _logger.error("%s failed", method, exc_info=error)
                self._send_error(message_id, _Error.InternalError, f"{method} failed; the server's log says why")

    def _finish_background(self, task: asyncio.Task[Any]) -> None:
        self._background.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _logger.error("a background task failed", exc_info=error)

    def _send_result(self, message_id: MessageId, method: str, result: object) -> None:
        try:
            if isinstance(result, framing.Prepared):
                data = framing.encode_result(message_id, result)
            else:
                content = self._converter.unstructure(result)
                data = framing.encode({"jsonrpc": "2.0", "id": message_id, "result": content})
        except Exception:
            _logger.exception("%s: the result cannot be sent as JSON", method)
            self._send_error(message_id, _Error.InternalError, f"{method} failed; the server's log says why")
        else:
            self._write(data)

    def _send_error(self, message_id: MessageId | None, code: int, text: str) -> None:
        error = {"code": int(code), "message": text}
        self._write(framing.encode({"jsonrpc": "2.0", "id": message_id, "error": error}))

    def _send_data(self, data: Any) -> None:
        """Send a notification or request that pygls built. One that is no JSON is logged and not sent."""
        try:
            encoded = framing.encode(self._converter.unstructure(data))
        except Exception:
            _logger.exception("%s cannot be sent as JSON", type(data).__name__)
        else:
            self._write(encoded)

    def _write(self, data: bytes) -> None:
        if self._output is not None:
            self._output.write(data)


async def _contained(awaitable: Awaitable[Any]) -> Any:
    """Await a handler. A ``BaseException`` becomes an ordinary one: as it is, asyncio lets it end the process."""
    try:
        return await awaitable
    except (Exception, asyncio.CancelledError, GeneratorExit):
        raise
    except BaseException as error:
        raise _InternalError(f"{type(error).__name__} was raised in a handler") from error
