"""The chat as a program: opens everything in its order, chooses between terminal and pipe, and closes everything."""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from rich.console import Console

from harmony_ls.cli.background import Background
from harmony_ls.cli.chat import loop
from harmony_ls.cli.chat.approvals import Approvals
from harmony_ls.cli.chat.commands import completions, show_loaded
from harmony_ls.cli.chat.conversation import Chat
from harmony_ls.cli.chat.history import InputHistory, history_file
from harmony_ls.cli.chat.input import TerminalInput, silent_keys
from harmony_ls.cli.chat.leaving import ends_on_signals, quietly_without_terminal
from harmony_ls.cli.chat.opening import ChatOptions, make_tools, make_workspace, offer_image
from harmony_ls.cli.chat.pipe import answer_once, read_stdin
from harmony_ls.cli.chat.plain_view import PlainView
from harmony_ls.cli.chat.view import TerminalView, View
from harmony_ls.cli.model_choice import (
    close_engine,
    load_model,
    make_engine,
    own_warnings,
    read_settings,
    stderr_console,
    wants_style,
)
from harmony_ls.cli.plain_text import clean
from harmony_ls.events import Notice
from harmony_ls.session.files import load_conversation
from harmony_ls.session.session import Session

if TYPE_CHECKING:
    from harmony_ls.engine.engine import Engine
    from harmony_ls.settings import Settings

__all__ = ["run", "warning_teller"]


def run(asked: ChatOptions) -> int:
    """Hold the conversation and return the exit code. Raises UserError where it cannot begin."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    errors = stderr_console()
    resolved = read_settings(asked.folder, asked.given)
    settings = resolved.settings
    if resolved.problems:
        errors.print(clean(resolved.message), style="yellow")
    is_piped = not sys.stdin.isatty()
    message = read_stdin() if is_piped else ""
    exit_code = 1
    approvals = Approvals()
    warned = own_warnings(warning_teller(approvals, errors))
    with Background() as background, warned, ends_on_signals(), quietly_without_terminal():
        engine = make_engine(settings)
        try:
            with quietly_without_terminal():
                exit_code = _converse(background, engine, errors, settings, asked, approvals, message)
        except KeyboardInterrupt:
            exit_code = 130  # first: another Ctrl-C may come while this is told
            errors.print("Stopped.")
        except SystemExit as leaving:
            exit_code = leaving.code if isinstance(leaving.code, int) else exit_code
        except BrokenPipeError:
            exit_code = 0  # nobody reads any more; where a step does not end, the process ends with this below
            raise
        finally:
            close_engine(background, engine, exit_code)
    return exit_code


def warning_teller(approvals: Approvals, console: Console) -> Callable[[str], None]:
    """How a warning is told, from whatever thread: while a turn is drawn, nobody else may write to the terminal."""

    def tell(text: str) -> None:
        if (deliver := approvals.deliver) is None:
            console.print(clean(text), style="yellow")
        else:
            deliver(Notice(text))

    return tell


def _converse(
    background: Background,
    engine: "Engine",
    errors: Console,
    settings: "Settings",
    asked: ChatOptions,
    approvals: Approvals,
    message: str,
) -> int:
    with silent_keys():
        chat_model = load_model(background, engine, errors, settings, asked.model)
    workspace = make_workspace(settings, asked)
    approve = approvals.refuse if message else approvals.ask
    if not message:
        offer_image(background, errors, settings, asked)
    tools = background.run(make_tools(settings, asked, workspace, approve))
    if message and asked.tools is not None:  # at a terminal the chat says it
        for name, reason in tools.why_absent.items():
            errors.print(clean(f"There is no {name} here: {reason}"), style="yellow")
    if chat_model.notice:
        errors.print(clean(chat_model.notice), style="yellow")
    session = Session(
        chat_model,
        settings.chat,
        tools=tools,
        instructions=asked.instructions,
        template_arguments=asked.model.template_arguments,
    )
    try:
        if asked.conversation is not None:
            load_conversation(asked.conversation, session)
        view = _view(errors, asked, is_piped=bool(message))
        if message:
            return answer_once(background, session, view, approvals, message)
        history = InputHistory(history_file())
        if history.fault:
            view.say(history.fault, "yellow")
        keys = TerminalInput(
            history, lambda line: completions(line, session.tools.names), is_styled=isinstance(view, TerminalView)
        )
        chat = Chat(session, view, keys, background, approvals, settings, asked, workspace, model_options=asked.model)
        if asked.conversation is not None:
            show_loaded(chat, asked.conversation)
        loop.run(chat)
        return 0
    finally:
        background.run(session.tools.close())


def _view(errors: Console, asked: ChatOptions, *, is_piped: bool) -> View:
    if not is_piped and wants_style(sys.stdout.isatty()):
        return TerminalView(Console(highlight=False, markup=False, emoji=False), hides_reasoning=asked.hides_reasoning)
    answers = Console(color_system=None, highlight=False, markup=False, emoji=False)
    if is_piped:
        return PlainView(answers, errors, hides_reasoning=True, is_terse=True)
    aside = answers if sys.stdout.isatty() else errors
    return PlainView(answers, aside, hides_reasoning=asked.hides_reasoning)
