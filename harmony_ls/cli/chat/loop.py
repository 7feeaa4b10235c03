"""The conversation at a terminal: read a message, show its turn, and again.

Commands are in `commands`, and the views draw. The main thread runs this; the session and the model live on the event
loop beside it.
"""

import contextlib
import time
from collections.abc import AsyncIterator

from harmony_ls.cli.background import on_interrupt, raise_interrupt
from harmony_ls.cli.chat.approvals import Question, answers_of, decision_of, question_of
from harmony_ls.cli.chat.attachments import with_attachments
from harmony_ls.cli.chat.commands import run_command
from harmony_ls.cli.chat.conversation import Chat
from harmony_ls.cli.chat.input import silent_keys
from harmony_ls.cli.chat.tool_news import news_of_tools
from harmony_ls.cli.model_choice import as_model_failure
from harmony_ls.errors import UserError
from harmony_ls.events import Event, Notice
from harmony_ls.tools.tool import ApprovalRequest, Decision

__all__ = ["decide", "run", "stop"]

_TICK_SECONDS = 0.1
_HOW_TO_LEAVE = "To leave, press Ctrl-D or type /exit."
# How long a turn may take to end before another Ctrl-C ends the program.
_STOPPING_SECONDS = 2.0
_HOW_TO_END = "stopping… Ctrl-C ends the program, and what is not saved is lost."


def run(chat: Chat) -> None:
    """Talk until the person leaves. Raises KeyboardInterrupt where Ctrl-C could not end a turn."""
    _greet(chat)
    # Ctrl-C means something where something waits for it, and nothing in between.
    with on_interrupt(lambda: None):
        n_interrupts = 0
        while True:
            try:
                with on_interrupt(raise_interrupt):
                    message = chat.keys.read_message()
            except EOFError:
                chat.view.say("")
                return
            except KeyboardInterrupt:
                n_interrupts += 1
                chat.view.say(_HOW_TO_LEAVE if n_interrupts > 1 else "", "dim")
                continue
            except UserError as error:
                chat.fail(str(error))
                continue
            n_interrupts = 0
            try:
                if not _respond(chat, message):
                    return
            except UserError as error:
                chat.fail(str(error))


def _greet(chat: Chat) -> None:
    chat_model = chat.session.chat_model
    chat.view.say(f"{chat_model.model.name} · {chat_model.format.summary}", "dim")
    if chat_model.format.takes_tools:
        for name, why in chat.session.tools.why_absent.items():
            chat.view.say(f"{name} is not available: {why}", "yellow")
    chat.view.say("/help lists the commands, Ctrl-C stops an answer, Ctrl-D leaves.", "dim")


def _respond(chat: Chat, message: str) -> bool:
    """Do what was typed; false to leave."""
    if not message.strip():
        return True
    if message.startswith("//"):
        message = message[1:]
    elif message.startswith("/"):
        try:
            with on_interrupt(raise_interrupt):
                return run_command(chat, message)
        except KeyboardInterrupt:
            chat.view.say("")
            return True
    _answer(chat, message)
    return True


def _answer(chat: Chat, message: str) -> None:
    """Show one turn to its end, which Ctrl-C may bring about."""
    text = with_attachments(message, list(chat.attachments.values()))
    n_messages, earlier = len(chat.session.messages), chat.workspace.change_sets
    chat.stopped_at = None
    stream = chat.background.stream(lambda: _turn(chat, text))
    chat.approvals.deliver = stream.put
    with silent_keys(), on_interrupt(lambda: stop(chat)), as_model_failure():
        chat.view.begin()
        try:
            for item in stream.take(_TICK_SECONDS):
                if item is None:
                    if _does_not_end(chat):
                        chat.view.stop(_HOW_TO_END)
                    chat.view.tick()
                elif isinstance(item, Question):
                    decide(chat, item)
                else:
                    chat.view.show(item)
        finally:
            chat.view.end()
            chat.approvals.deliver = None
            if len(chat.session.messages) > n_messages:
                chat.attachments.clear()
                chat.is_saved = False
                made = (number for number in chat.workspace.change_sets if number not in earlier)
                chat.changes.append(tuple(made))


async def _turn(chat: Chat, text: str) -> AsyncIterator[Event | Question]:
    """The events of a turn, in a stream that questions may be put into."""
    if news := await news_of_tools(chat):
        yield Notice(news)
    if chat.stopped_at is not None:  # there was nothing yet that could be cancelled
        yield Notice("Stopped before anything was said.")
        return
    async with contextlib.aclosing(chat.session.turn(text)) as events:  # type: ignore[type-var]
        async for event in events:
            yield event


def stop(chat: Chat) -> None:
    """End the running turn; called by the signal. Raises KeyboardInterrupt where that was tried and it went on."""
    if chat.stopped_at is None:
        chat.stopped_at = time.monotonic()
        chat.view.stop()
        chat.background.call(chat.session.cancel)
    elif _does_not_end(chat):
        raise KeyboardInterrupt


def _does_not_end(chat: Chat) -> bool:
    """Whether the turn goes on long after it was stopped. An impatient key alone must not lose a conversation."""
    return chat.stopped_at is not None and time.monotonic() - chat.stopped_at > _STOPPING_SECONDS


def decide(chat: Chat, question: Question) -> None:
    """Ask the person, and hand the answer on. Ctrl-C means no, and ends the turn.

    A question of a turn that was ended meanwhile is not asked: nobody waits for its answer.
    """
    if chat.stopped_at is not None or not question.is_open:
        question.resolve(Decision.NO)
        return
    chat.view.pause(question.request)
    decision: Decision | None = None
    try:
        with on_interrupt(raise_interrupt):
            while decision is None:
                decision = Decision.NO if chat.stopped_at is not None else _answered(chat, question.request)
    except EOFError:
        decision = Decision.NO
    except KeyboardInterrupt:
        decision = Decision.NO
        stop(chat)
    except UserError as error:
        decision = Decision.NO
        chat.fail(str(error))
    question.resolve(decision)


def _answered(chat: Chat, request: ApprovalRequest) -> Decision | None:
    """Ask once; None where the answer means nothing, and the person is told which do."""
    decision = decision_of(chat.keys.ask(question_of(request)), request)
    name = request.call.name
    if decision is None:
        chat.view.say(answers_of(request), "dim")
    elif decision is Decision.NEVER:
        chat.view.say(f"{name} is off in this chat. /tools {name} ask turns it on again.", "dim")
    return decision
