"""``harmony-ls chat`` without a terminal to type at: stdin is one message, stdout gets the answer as plain text."""

from typing import TYPE_CHECKING

from harmony_ls.cli.background import Background, Stream, stopped_by_interrupt
from harmony_ls.cli.chat.approvals import Approvals, Question
from harmony_ls.cli.model_choice import as_model_failure
from harmony_ls.cli.text_input import LARGEST_MESSAGE_BYTES, STDIN, read_text
from harmony_ls.errors import UserError
from harmony_ls.events import Event, TurnFinished
from harmony_ls.messages import FinishReason

if TYPE_CHECKING:
    from harmony_ls.cli.chat.view import View
    from harmony_ls.session.session import Session

__all__ = ["answer_once", "read_stdin"]

_TICK_SECONDS = 0.5


def read_stdin() -> str:
    """All of stdin as text. Raises UserError for what is too large or not UTF-8, and where nothing came."""
    text = read_text(STDIN, LARGEST_MESSAGE_BYTES)
    if not text.strip():
        raise UserError("Nothing came on stdin. Write a message to it, or start the chat at a terminal.")
    return text.rstrip("\n")


def answer_once(background: Background, session: "Session", view: "View", approvals: Approvals, message: str) -> int:
    """Answer one message and return the exit code: 0, or 130 where Ctrl-C ended the answer.

    Raises KeyboardInterrupt at another Ctrl-C, while the answer is being ended.
    """
    stream: Stream[Event | Question] = background.stream(lambda: session.turn(message))
    approvals.deliver = stream.put
    reason = FinishReason.STOP
    view.begin()
    with stopped_by_interrupt(lambda: background.call(session.cancel)), as_model_failure():
        try:
            for event in stream.take(_TICK_SECONDS):
                if event is None or isinstance(event, Question):
                    view.tick()
                    continue
                view.show(event)
                if isinstance(event, TurnFinished):
                    reason = event.reason
        finally:
            view.end()
            approvals.deliver = None
    return 130 if reason is FinishReason.CANCELLED else 0
