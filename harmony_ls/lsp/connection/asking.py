"""Requests of the server to its client, which can be taken back. What an answer means is known to who asks."""

import asyncio
import uuid
from collections.abc import Iterable
from typing import Any

from lsprotocol import types

from harmony_ls.lsp.connection.connection import Connection

__all__ = ["Question", "chosen"]


class Question:
    """A request that was sent at once, so that it tells what was true in this very moment.

    ``answer`` is a future of the result. It raises JsonRpcException where the client answers with an error.
    """

    def __init__(self, connection: Connection, method: str, params: object) -> None:
        self._connection = connection
        self._id = str(uuid.uuid4())
        self.answer: asyncio.Future[Any] = connection.protocol.send_request_async(method, params, self._id)

    def withdraw(self) -> None:
        """Tell the client, by ``$/cancelRequest``, that no answer is needed any more. One that comes all the same is
        still taken by who waits for it."""
        if not self.answer.done():
            self._connection.protocol.notify(types.CANCEL_REQUEST, types.CancelParams(id=self._id))

    def abandon(self) -> None:
        """Withdraw the request and keep nothing of it, whether the client answers that or not."""
        self.withdraw()
        self.answer.cancel()
        self._connection.protocol.forget_request(self._id)


async def chosen(connection: Connection, kind: types.MessageType, message: str, titles: Iterable[str]) -> str | None:
    """Have the person choose an answer by ``window/showMessageRequest``; None where none is chosen.

    Cancelled, the question is withdrawn, and a late answer has no effect. Raises what a `Question` does.
    """
    actions = [types.MessageActionItem(title=title) for title in titles]
    params = types.ShowMessageRequestParams(type=kind, message=message, actions=actions)
    question = Question(connection, types.WINDOW_SHOW_MESSAGE_REQUEST, params)
    try:
        action: types.MessageActionItem | None = await asyncio.shield(question.answer)
    except asyncio.CancelledError:
        question.abandon()
        raise
    return None if action is None else action.title
