"""The conversation at a terminal: read a message, show its turn, and again.

Commands are in `commands`, and the views draw. The main thread runs this; the session and the model live on the event
loop beside it.
"""

import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from harmony_ls.cli.background import Background, on_interrupt, raise_interrupt
from harmony_ls.cli.chat.approvals import Approvals, Question, answers_of, decision_of, question_of
from harmony_ls.cli.chat.attachments import with_attachments
from harmony_ls.cli.chat.commands import run_command
from harmony_ls.cli.chat.input import TerminalInput, silent_keys
from harmony_ls.cli.chat.opening import ChatOptions
from harmony_ls.cli.chat.view import View
from harmony_ls.cli.chosen_options import ModelOptions
from harmony_ls.cli.model_choice import as_model_failure, load_model
from harmony_ls.errors import ModelTooLargeError, UserError
from harmony_ls.events import Event, Notice
from harmony_ls.session.chat_model import ChatModel
from harmony_ls.session.session import Session
from harmony_ls.settings import Settings
from harmony_ls.tools.tool import ApprovalRequest, Decision
from harmony_ls.workspace.disk import DiskWorkspace

__all__ = ["Chat"]

Result = TypeVar("Result")

_TICK_SECONDS = 0.1
_HOW_TO_LEAVE = "To leave, press Ctrl-D or type /exit."
# How long a turn may take to end before another Ctrl-C ends the program.
_STOPPING_SECONDS = 2.0
_HOW_TO_END = "stopping… Ctrl-C ends the program, and what is not saved is lost."


@dataclass(slots=True, eq=False)
class Chat:
    """A conversation and everything that it needs. ``run`` is all of it; the rest is for commands.

    ``attachments`` are the files that go with the next message. ``is_saved``: nothing was said since it was saved.
    ``model_options`` are those of the present model. ``changes`` are the workspace's numbers of the change sets of each
    turn since the beginning or the last load, without those that were taken back. ``stopped_at`` is when Ctrl-C stopped
    the turn that is shown, by the monotonic clock; None where it did not.
    """

    session: Session
    view: View
    keys: TerminalInput
    background: Background
    approvals: Approvals
    settings: Settings
    options: ChatOptions
    workspace: DiskWorkspace
    attachments: dict[Path, str] = field(default_factory=dict)
    is_saved: bool = True
    model_options: ModelOptions = field(default_factory=ModelOptions)
    changes: list[tuple[int, ...]] = field(default_factory=list)
    stopped_at: float | None = None

    def run(self) -> None:
        """Talk until the person leaves. Raises KeyboardInterrupt where Ctrl-C could not end a turn."""
        self._greet()
        # Ctrl-C means something where something waits for it, and nothing in between.
        with on_interrupt(lambda: None):
            n_interrupts = 0
            while True:
                try:
                    with on_interrupt(raise_interrupt):
                        message = self.keys.read_message()
                except EOFError:
                    self.view.say("")
                    return
                except KeyboardInterrupt:
                    n_interrupts += 1
                    self.view.say(_HOW_TO_LEAVE if n_interrupts > 1 else "", "dim")
                    continue
                except UserError as error:
                    self.fail(str(error))
                    continue
                n_interrupts = 0
                try:
                    if not self._respond(message):
                        return
                except UserError as error:
                    self.fail(str(error))

    def on_loop(self, function: Callable[[], Result]) -> Result:
        """What ``function`` gives, called on the event loop, where the session lives."""

        async def call() -> Result:
            return function()

        return self.background.run(call())

    def begin_anew(self) -> None:
        """Take note that the session holds another conversation."""
        self.is_saved = True
        self.changes.clear()

    def confirm(self, question: str) -> bool:
        """Whether the person says yes; no without a word."""
        try:
            return self.keys.ask(f"{question} [y/N]: ").lower() in ("y", "yes")
        except EOFError:
            return False

    def fail(self, message: str) -> None:
        """Say what went wrong."""
        self.view.say(message, "red")

    def use_model(self, reference: str) -> None:
        """Go on with another model. Where it cannot be loaded the one that was there stays. Raises UserError."""
        engine, old, old_options = self.session.chat_model.engine, self.session.chat_model, self.model_options
        options = old_options.for_another_model()
        try:
            new = self._load(reference, options)
        except ModelTooLargeError:
            # It may fit once the old one is gone.
            self.background.run(engine.unload(old.model))
            try:
                new = self._load(reference, options)
            except BaseException:
                self.view.say(f"Going back to {old.model.name}.")
                back = self._load(str(old.model.spec.reference), old_options)
                self.on_loop(lambda: self.session.use(back))
                raise
        self.on_loop(lambda: self.session.use(new))
        self.model_options = options
        if new.model is not old.model:
            self.background.run(engine.unload(old.model))

    def _load(self, reference: str, options: ModelOptions) -> ChatModel:
        engine = self.session.chat_model.engine
        with silent_keys():
            return load_model(self.background, engine, self.view.aside, self.settings, options, reference)

    def _greet(self) -> None:
        chat_model = self.session.chat_model
        self.view.say(f"{chat_model.model.name} · {chat_model.format.summary}", "dim")
        for name, why in self.session.tools.why_absent.items():
            self.view.say(f"{name} is not available: {why}", "yellow")
        self.view.say("/help lists the commands, Ctrl-C stops an answer, Ctrl-D leaves.", "dim")

    def _respond(self, message: str) -> bool:
        """Do what was typed; false to leave."""
        if not message.strip():
            return True
        if message.startswith("//"):
            message = message[1:]
        elif message.startswith("/"):
            try:
                with on_interrupt(raise_interrupt):
                    return run_command(self, message)
            except KeyboardInterrupt:
                self.view.say("")
                return True
        self._answer(message)
        return True

    def _answer(self, message: str) -> None:
        """Show one turn to its end, which Ctrl-C may bring about."""
        text = with_attachments(message, list(self.attachments.values()))
        n_messages, earlier = len(self.session.messages), self.workspace.change_sets
        self.stopped_at = None
        stream = self.background.stream(lambda: self._turn(text))
        self.approvals.deliver = stream.put
        with silent_keys(), on_interrupt(self._stop), as_model_failure():
            self.view.begin()
            try:
                for item in stream.take(_TICK_SECONDS):
                    if item is None:
                        if self._does_not_end():
                            self.view.stop(_HOW_TO_END)
                        self.view.tick()
                    elif isinstance(item, Question):
                        self._decide(item)
                    else:
                        self.view.show(item)
            finally:
                self.view.end()
                self.approvals.deliver = None
                if len(self.session.messages) > n_messages:
                    self.attachments.clear()
                    self.is_saved = False
                    made = (number for number in self.workspace.change_sets if number not in earlier)
                    self.changes.append(tuple(made))

    async def _turn(self, text: str) -> AsyncIterator[Event | Question]:
        """The events of a turn, in a stream that questions may be put into."""
        if self.stopped_at is not None:  # there was nothing yet that could be cancelled
            yield Notice("Stopped before anything was said.")
            return
        async with contextlib.aclosing(self.session.turn(text)) as events:  # type: ignore[type-var]
            async for event in events:
                yield event

    def _stop(self) -> None:
        """End the running turn; called by the signal. Raises KeyboardInterrupt where that was tried and it went on."""
        if self.stopped_at is None:
            self.stopped_at = time.monotonic()
            self.view.stop()
            self.background.call(self.session.cancel)
        elif self._does_not_end():
            raise KeyboardInterrupt

    def _does_not_end(self) -> bool:
        """Whether the turn goes on long after it was stopped. An impatient key alone must not lose a conversation."""
        return self.stopped_at is not None and time.monotonic() - self.stopped_at > _STOPPING_SECONDS

    def _decide(self, question: Question) -> None:
        """Ask the person, and hand the answer on. Ctrl-C means no, and ends the turn.

        A question of a turn that was ended meanwhile is not asked: nobody waits for its answer.
        """
        if self.stopped_at is not None or not question.is_open:
            question.resolve(Decision.NO)
            return
        self.view.pause(question.request)
        decision: Decision | None = None
        try:
            with on_interrupt(raise_interrupt):
                while decision is None:
                    decision = Decision.NO if self.stopped_at is not None else self._answered(question.request)
        except EOFError:
            decision = Decision.NO
        except KeyboardInterrupt:
            decision = Decision.NO
            self._stop()
        except UserError as error:
            decision = Decision.NO
            self.fail(str(error))
        question.resolve(decision)

    def _answered(self, request: ApprovalRequest) -> Decision | None:
        """Ask once; None where the answer means nothing, and the person is told which do."""
        decision = decision_of(self.keys.ask(question_of(request)), request)
        name = request.call.name
        if decision is None:
            self.view.say(answers_of(request), "dim")
        elif decision is Decision.NEVER:
            self.view.say(f"{name} is off in this chat. /tools {name} ask turns it on again.", "dim")
        return decision
