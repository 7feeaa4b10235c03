"""The commands of the chat, all of which begin with a slash: what they are called, and what they do to the chat."""

import difflib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from glob import escape, glob
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from rich.table import Table
from rich.text import Text

from harmony_ls.cli.background import on_interrupt
from harmony_ls.cli.chat.attachments import attachment, paths_of
from harmony_ls.cli.chat.conversation import Chat
from harmony_ls.cli.chat.rendering import shortened
from harmony_ls.cli.plain_text import clean
from harmony_ls.errors import UserError, WorkspaceError
from harmony_ls.messages import ReasoningEffort, Role
from harmony_ls.session.files import load_conversation, save_conversation
from harmony_ls.settings import user_file
from harmony_ls.settings.models import ToolPermission
from harmony_ls.workspace.port import Applied

if TYPE_CHECKING:
    from harmony_ls.tools.toolbox import ToolBox

__all__ = ["COMMANDS", "Command", "completions", "run_command"]

_PERMISSIONS: tuple[str, ...] = get_args(ToolPermission)
_EFFORTS = tuple(str(effort) for effort in ReasoningEffort)

_NOTES = (
    "A line that ends in a backslash goes on in the next one, and so does a block between ``` lines. Two slashes begin "
    "a message that starts with a slash.",
    "Where a tool asks: y allows this once, a allows it always in this chat, n refuses, and v switches the tool off in "
    "this chat. /tools changes that.",
    "Ctrl-C stops an answer, Ctrl-D leaves. Only /save keeps a conversation: what is not saved is gone when you leave.",
)


@dataclass(frozen=True, slots=True)
class Command:
    """A command: its name with the slash, its arguments as they are shown, what it does, and the function for it.

    The function gets the chat and the text after the name; it raises UserError for what cannot be done.
    """

    name: str
    arguments: str
    meaning: str
    run: Callable[[Chat, str], None]


def run_command(chat: Chat, line: str) -> bool:
    """Run the command that ``line`` begins with; false where it was the one to leave. Raises UserError."""
    name, _, argument = line.strip().partition(" ")
    wanted = "/exit" if name.lower() == "/quit" else name.lower()
    command = next((each for each in COMMANDS if each.name == wanted), None)
    if command is None:
        names = [each.name for each in COMMANDS] + ["/quit"]
        meant = difflib.get_close_matches(name.lower(), names, n=1)
        hint = f"Did you mean {meant[0]}?" if meant else "/help lists the commands."
        raise UserError(f"There is no command {name}. {hint} A message that begins with a slash needs two of them.")
    if argument.strip() and not command.arguments:
        raise UserError(
            f"{command.name} takes nothing after it, so nothing was done. A message that begins with a slash needs two "
            "of them."
        )
    if command.name == "/exit":
        return False
    command.run(chat, argument.strip())
    return True


def completions(line: str, tool_names: Sequence[str]) -> list[str]:
    """What the last word of ``line`` may become; nothing outside of commands."""
    if not line.startswith("/") or line.startswith("//"):
        return []
    *before, word = line.split(" ")
    if not before:
        return [f"{each.name} " for each in COMMANDS if each.name.startswith(word)]
    match before[0]:
        case "/file" | "/save" | "/load":
            return _paths(word)
        case "/effort":
            choices: Sequence[str] = _EFFORTS
        case "/tools":
            choices = tool_names if len(before) == 1 else _PERMISSIONS
        case _:
            return []
    return [choice for choice in choices if choice.startswith(word)]


def _help(chat: Chat, _argument: str) -> None:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for command in COMMANDS:
        table.add_row(Text(f"{command.name} {command.arguments}".strip(), "bold"), Text(command.meaning))
    chat.view.aside.print(table)
    for text in _NOTES:
        chat.view.say(text, "dim")


def _model(chat: Chat, argument: str) -> None:
    if argument:
        chat.use_model(argument)
    chat_model = chat.session.chat_model
    chat.view.say(f"{chat_model.model.name} · {chat_model.format.summary}")


def _effort(chat: Chat, argument: str) -> None:
    session = chat.session
    if argument:
        if argument.lower() not in _EFFORTS:
            raise UserError(f"The effort is one of {', '.join(_EFFORTS)}, not {argument}.")
        effort = ReasoningEffort(argument.lower())
        chat.on_loop(lambda: setattr(session, "effort", effort))
    chat.view.say(f"The reasoning effort is {session.effort}.")
    if not session.chat_model.format.takes_effort:
        chat.view.say(f"{session.chat_model.model.name} cannot be told; its answers stay the same.", "yellow")


def _tools(chat: Chat, argument: str) -> None:
    tools = chat.session.tools
    if argument:
        name, _, permission = argument.partition(" ")
        permission = permission.strip().lower()
        if name not in tools.permissions:
            raise UserError(f"There is no tool {name}. {_known_tools(tools)}")
        if permission not in _PERMISSIONS:
            raise UserError(f"Say what {name} may do: /tools {name} {' | '.join(_PERMISSIONS)}")
        chat.on_loop(lambda: tools.set_permission(name, permission))  # type: ignore[arg-type]
    for name, allowed in tools.permissions.items():
        chat.view.say(f"{name}: {allowed}")
    for name, why in tools.why_absent.items():
        chat.view.say(f"{name}: not available, {why}")
    if not tools.permissions and not tools.why_absent:
        chat.view.say("There are no tools in this conversation.")
    elif not chat.session.chat_model.format.takes_tools:
        chat.view.say(f"{chat.session.chat_model.model.name} cannot be told of tools.", "yellow")


def _save(chat: Chat, argument: str) -> None:
    path = _one_path(argument, "/save")
    # A folder is refused when it is written. These functions of os.path raise nothing, however odd the path is.
    is_there = os.path.exists(path) and not os.path.isdir(path)
    if is_there and not chat.confirm(f"{clean(str(path))} exists. Replace it?"):
        chat.view.say("Nothing was saved.")
        return
    chat.on_loop(lambda: save_conversation(path, chat.session))
    chat.is_saved = True
    chat.view.say(f"Saved to {path}.")


def _load(chat: Chat, argument: str) -> None:
    path = _one_path(argument, "/load")
    if os.path.exists(path) and not _may_be_left(chat, "Leave it for the other?"):
        chat.view.say("Nothing was loaded.")
        return
    chat.on_loop(lambda: load_conversation(path, chat.session))
    chat.begin_anew()
    show_loaded(chat, path)


def show_loaded(chat: Chat, path: Path) -> None:
    """Say what was loaded, and where the conversation stands."""
    messages = [message for message in chat.session.messages if message.role in (Role.USER, Role.ASSISTANT)]
    n_turns = sum(message.role is Role.USER for message in messages)
    chat.view.say(f"Loaded {n_turns} {'turn' if n_turns == 1 else 'turns'} from {path}.")
    last = next((index for index in reversed(range(len(messages))) if messages[index].role is Role.USER), None)
    if last is not None:
        chat.view.say(shortened(f"> {messages[last].content}"), "dim")
        chat.view.say(shortened("\n".join(each.content for each in messages[last + 1 :] if each.content)), "dim")


def _undo(chat: Chat, _argument: str) -> None:
    said = [message.content for message in chat.session.messages if message.role is Role.USER]
    if not said:
        chat.view.say("There is nothing to take back.")
        return
    mine = _change_sets_to_take_back(chat)
    with on_interrupt(lambda: None):  # from here to the end it is short, and nothing may remain half done
        for number in reversed(mine):
            try:
                applied = chat.background.run(chat.workspace.undo())
            except WorkspaceError as error:
                raise UserError(
                    f"{error} So what was said was not taken back either. To take back only that, say /undo again and "
                    "answer n."
                ) from error
            chat.changes[-1] = tuple(each for each in chat.changes[-1] if each != number)
            _show_applied(chat, applied)
        chat.on_loop(chat.session.undo)
        if chat.changes:
            chat.changes.pop()
        chat.is_saved = False
        chat.view.say(shortened(f"Taken back: {said[-1]}"))


def _change_sets_to_take_back(chat: Chat) -> tuple[int, ...]:
    """The change sets of the last turn, where the person wants them to be taken back and they can be."""
    made = chat.changes[-1] if chat.changes else ()
    kept = chat.workspace.change_sets
    mine = tuple(number for number in made if number in kept)
    if not made:
        return ()
    if not mine or kept[-len(mine) :] != mine:
        chat.view.say("Files stay as they are: later changes of them were kept.", "yellow")
        return ()
    times = "once" if len(made) == 1 else f"{len(made)} times"
    limit = f" The last {len(mine)} of these can be taken back." if len(mine) < len(made) else ""
    return mine if chat.confirm(f"This turn changed files {times}.{limit} Take that back too?") else ()


def _show_applied(chat: Chat, applied: Applied) -> None:
    for verb, paths in (("created", applied.created), ("modified", applied.modified), ("deleted", applied.deleted)):
        for path in paths:
            chat.view.say(f"{verb} {path}")
    for note in applied.notes:
        chat.view.say(note, "yellow")


def _clear(chat: Chat, _argument: str) -> None:
    if not _may_be_left(chat, "Begin a new one all the same?"):
        chat.view.say("Nothing was cleared.")
        return
    chat.on_loop(chat.session.clear)
    chat.begin_anew()
    chat.view.say("The conversation is empty. Files stay as they are.")


def _may_be_left(chat: Chat, question: str) -> bool:
    """Whether nothing would be lost with the conversation, or the person agrees to that."""
    if chat.is_saved or not chat.session.messages:
        return True
    return chat.confirm(f"This conversation is not saved. {question}")


def _file(chat: Chat, argument: str) -> None:
    paths = paths_of(argument)
    if not paths and not chat.attachments:
        raise UserError("Name the files: /file PATH...")
    read = {path: attachment(path) for path in paths}  # all or none
    chat.attachments |= read
    names = ", ".join(str(path) for path in chat.attachments)
    chat.view.say(f"With the next message: {names}")


def _status(chat: Chat, _argument: str) -> None:
    session = chat.session
    chat_model = session.chat_model
    model = chat_model.model
    used, length = session.context_use()
    n_turns = sum(message.role is Role.USER for message in session.messages)
    tools = ", ".join(f"{name} ({allowed})" for name, allowed in session.tools.permissions.items())
    rows = [
        ("model", f"{model.name} ({model.model_type}, {model.n_parameters:,} parameters, {model.precision})"),
        ("format", chat_model.format.summary),
        ("device", chat_model.engine.device),
        ("memory", f"{model.n_bytes / 1e9:.2f} GB of weights"),
        ("effort", str(session.effort) if chat_model.format.takes_effort else "the model cannot be told"),
        ("context", f"{used:,} of {length:,} tokens"),
        ("turns", f"{n_turns:,}{'' if chat.is_saved else ', not saved'}"),
        ("tools", tools or "none"),
        ("folder", str(chat.options.folder)),
        ("settings", str(user_file())),
        ("next message", ", ".join(map(str, chat.attachments))),
    ]
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for name, value in rows:
        if value:
            table.add_row(Text(name, "bold"), Text(clean(value), overflow="fold"))
    chat.view.aside.print(table)


def _leave(_chat: Chat, _argument: str) -> None:
    """Never called: `run_command` ends the chat itself."""


def _known_tools(tools: "ToolBox") -> str:
    names = ", ".join(tools.permissions)
    return f"The tools are: {names}." if names else "There are no tools in this conversation."


def _one_path(argument: str, command: str) -> Path:
    paths = paths_of(argument)
    if len(paths) != 1:
        raise UserError(f"Name one file: {command} FILE. Put quotes around a name with blanks.")
    return paths[0]


def _paths(word: str) -> list[str]:
    """The files and folders that a word begins the path of."""
    start = Path(os.path.expanduser(word))
    found = glob(f"{escape(str(start) if word else '')}{'/' if word.endswith('/') else ''}*")
    return [f"{path}/" if Path(path).is_dir() else path for path in sorted(found)]


COMMANDS = (
    Command("/help", "", "list the commands", _help),
    Command("/model", "[NAME]", "tell the model, or go on with another", _model),
    Command("/effort", "[low|medium|high]", "tell or set how much the model thinks", _effort),
    Command("/tools", "[NAME ask|allow|off]", "tell or set what the model may do", _tools),
    Command("/file", "PATH...", "send files along with the next message", _file),
    Command("/save", "FILE", "write the conversation to a file", _save),
    Command("/load", "FILE", "go on with a conversation that was saved", _load),
    Command("/undo", "", "take the last turn back, and its changes of files if you like", _undo),
    Command("/clear", "", "begin a new conversation", _clear),
    Command("/status", "", "tell the model, the context, the tools and where your settings are", _status),
    Command("/exit", "", "leave; so does Ctrl-D", _leave),
)
