"""Slash commands: short names for what is often asked, each a Markdown file with the prompt that it stands for."""

import re
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Final

from harmony_ls.errors import UserError

__all__ = ["SLASH_COMMANDS", "SlashCommand", "expanded", "slash_command_of"]

_COMMAND = re.compile(r"/([a-zA-Z]+)(?:\s+(.*))?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class SlashCommand:
    """A command: ``needs`` says what must be attached for it to mean anything, code or the changes of a repository."""

    name: str
    meaning: str
    needs: str = "code"


SLASH_COMMANDS: Final = (
    SlashCommand("explain", "Say what the attached code does and why."),
    SlashCommand("fix", "Find what is wrong with the attached code, or mend the attached diagnostics."),
    SlashCommand("test", "Write tests of the attached code."),
    SlashCommand("doc", "Document the attached code."),
    SlashCommand("commit", "Write the message of a commit.", needs="diff"),
)


def slash_command_of(message: str) -> SlashCommand | None:
    """The command that a message begins with; None where it is an ordinary one.

    Two slashes begin an ordinary message that starts with one, and so does a path. Raises UserError for a command that
    there is not.
    """
    match = _COMMAND.fullmatch(message.strip())
    if match is None:
        return None
    command = next((each for each in SLASH_COMMANDS if each.name == match[1].lower()), None)
    if command is None:
        names = ", ".join(f"/{each.name}" for each in SLASH_COMMANDS)
        raise UserError(
            f"There is no command /{match[1]}. The commands are {names}; two slashes begin a message that starts with "
            "one."
        )
    return command


def expanded(message: str, attached_kinds: frozenset[str]) -> str:
    """What the model is told for a message: the prompt of its command with what was said after it.

    ``attached_kinds`` are the kinds of what goes along (``selection``, ``file``, ``symbol``, ``diagnostics``,
    ``diff``). Raises UserError for a command that there is not, or that lacks its subject.
    """
    command = slash_command_of(message)
    if command is None:
        start = len(message) - len(message.lstrip())
        return message[:start] + message[start + 1 :] if message.startswith("//", start) else message
    if command.needs == "code" and not attached_kinds & {"selection", "file", "symbol", "diagnostics"}:
        raise UserError(f"/{command.name} needs code: attach a selection, a symbol or a file.")
    if command.needs == "diff" and "diff" not in attached_kinds:
        raise UserError(f"/{command.name} needs the changes: attach the diff.")
    match = _COMMAND.fullmatch(message.strip())
    assert match is not None, "there is a command"
    return f"{_prompt(command.name)}\n\n{match[2].strip()}" if match[2] else _prompt(command.name)


@cache
def _prompt(name: str) -> str:
    file = resources.files("harmony_ls.features.chat") / "commands" / f"{name}.md"
    return file.read_text(encoding="utf-8").strip()
