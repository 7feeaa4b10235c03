"""A conversation at a terminal with all that belongs to it, and what both its loop and its commands do with it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from harmony_ls.cli.background import Background
from harmony_ls.cli.chat.approvals import Approvals
from harmony_ls.cli.chat.input import TerminalInput, silent_keys
from harmony_ls.cli.chat.opening import ChatOptions
from harmony_ls.cli.chat.view import View
from harmony_ls.cli.chosen_options import ModelOptions
from harmony_ls.cli.model_choice import load_model
from harmony_ls.errors import ModelTooLargeError
from harmony_ls.session.chat_model import ChatModel
from harmony_ls.session.session import Session
from harmony_ls.settings import Settings
from harmony_ls.workspace.disk import DiskWorkspace

__all__ = ["Chat"]

Result = TypeVar("Result")


@dataclass(slots=True, eq=False)
class Chat:
    """A conversation and everything that it needs, for the loop that talks and for the commands.

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
