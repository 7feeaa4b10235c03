"""What a tool is, what it answers, and how it asks before it acts. No tool is in here."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from harmony_ls.messages import ToolCall, ToolSpec

__all__ = ["ApprovalRequest", "Approve", "Decision", "Tool", "ToolOutput"]


class Decision(StrEnum):
    """A person's answer to a tool that wants to act."""

    ONCE = "once"
    SESSION = "session"
    NO = "no"


@dataclass(frozen=True, slots=True)
class ApprovalRequest:
    """What a person is asked. ``summary`` is one line; ``detail`` is what would be done in full: a diff, a program.

    ``is_sensitive``: the person is asked whatever was allowed in advance. ``scope``: what is allowed by the answer "for
    this session", instead of the whole tool (a domain). It is the person's own word about one narrow thing, so it holds
    after text of strangers has come into a turn, too.
    """

    call: ToolCall
    summary: str
    detail: str = ""
    is_sensitive: bool = False
    scope: str = ""


Approve = Callable[[ApprovalRequest], Awaitable[Decision]]
"""The port through which a person is asked; a terminal or an editor stands behind it."""


@dataclass(frozen=True, slots=True)
class ToolOutput:
    """What a tool tells the model. Errors are text too: the model can mend them.

    ``is_untrusted``: the text comes from outside (a page, a program's output) and may carry instructions of others.
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
