"""What a tool is, what it answers, and how it asks before it acts. No tool is in here."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, runtime_checkable

from harmony_ls.edits.changes import FileChange
from harmony_ls.messages import Message, ToolCall, ToolSpec

__all__ = ["ApprovalRequest", "Approve", "Decision", "FiltersText", "Remembers", "TextFilter", "Tool", "ToolOutput"]


class Decision(StrEnum):
    """A person's answer to a tool that wants to act."""

    ONCE = "once"
    SESSION = "session"
    NO = "no"
    NEVER = "never"
    """No, and the tool is off from now on in this conversation."""


@dataclass(frozen=True, slots=True)
class ApprovalRequest:
    """What a person is asked. ``summary`` is one line; ``detail`` is what would be done in full: a diff, a program.

    ``is_sensitive``: the person is asked whatever was allowed in advance, and the answer holds once. ``scope``: what is
    allowed by the answer "for this session", instead of the whole tool (a domain). It is the person's own word about
    one narrow thing, so it holds after text of strangers has come into the conversation, too; but not where
    ``is_steerable``: strangers could have a hand in what is done within the scope (an address that the model made up
    can carry something away). ``changes`` are those that would be made to files, for who can show them better than as a
    diff.
    """

    call: ToolCall
    summary: str
    detail: str = ""
    is_sensitive: bool = False
    scope: str = ""
    is_steerable: bool = False
    changes: tuple[FileChange, ...] = ()


Approve = Callable[[ApprovalRequest], Awaitable[Decision]]
"""The port through which a person is asked; a terminal or an editor stands behind it."""


@dataclass(frozen=True, slots=True)
class ToolOutput:
    """What a tool tells the model. Errors are text too: the model can mend them.

    ``is_untrusted``: the text comes from outside (a page, a program's output) and may carry instructions of others.
    Files of the workspace, and those that a person attaches, are the person's own word and do not count as such.
    """

    text: str
    is_error: bool = False
    is_untrusted: bool = False


class Tool(Protocol):
    """Something a model may call."""

    @property
    def spec(self) -> ToolSpec:
        """What the model is told of it."""

    async def prepare(self, call: ToolCall) -> ApprovalRequest | ToolOutput | None:
        """What to ask a person before ``run``: a request, None where there is nothing to ask, or the output at once
        where the call cannot be run (broken arguments). It changes nothing."""

    async def run(self, call: ToolCall) -> ToolOutput:
        """Do what was asked. Cancelling the task stops it; what it holds outside the process is let go of."""

    async def close(self) -> None:
        """Let go of everything that outlives one call (containers, connections)."""


class TextFilter(Protocol):
    """What a tool makes of one text that the model writes, before people see it. Its state is what it holds back."""

    def feed(self, delta: str) -> str:
        """The text that can be shown now."""

    def finish(self) -> str:
        """What was held back to the end. Nothing is lost, and the filter is as it was at the beginning."""


@runtime_checkable
class FiltersText(Protocol):
    """A tool whose results the model speaks of in a way that people cannot read: cursors, numbers of lines."""

    def text_filter(self) -> TextFilter:
        """A filter for one text."""


@runtime_checkable
class Remembers(Protocol):
    """A tool whose results name things that later calls and texts refer to, such as cursors."""

    def go_on(self, messages: Sequence[Message]) -> None:
        """Go on with a conversation in which this was said before, by this tool or by one of an earlier process.

        Called before each turn. No messages: what there is to remember is forgotten.
        """
