"""How a tool asks the person at an editor before it acts: by ``window/showMessageRequest``, one question at a time.

What is asked about, and what an answer allows, is decided by `harmony_ls.tools`. Whatever is not clearly a yes is a no.
"""

import asyncio
from collections.abc import Callable

from lsprotocol import types
from pygls.exceptions import JsonRpcException

from harmony_ls.edits.changes import ChangeKind, FileChange
from harmony_ls.edits.diff import visible
from harmony_ls.lsp.connection.asking import chosen
from harmony_ls.lsp.connection.connection import Connection
from harmony_ls.lsp.workspace.edit import EditMeans
from harmony_ls.tools.tool import ApprovalRequest, Decision

__all__ = ["ALLOW_ONCE", "NEVER", "REVIEW", "EditorApprovals", "allow_for_session"]

ALLOW_ONCE = "Allow once"
REVIEW = "Review in the editor"
NEVER = "Never"

_LONGEST_SUMMARY = 300
_LONGEST_LINE = 120
# An address stands alone and is allowed as a whole: what it carries away may well be at its end.
_LONGEST_ONLY_LINE = 4096
_LONGEST_SCOPE = 80
_N_LINES = 15


def allow_for_session(scope: str = "") -> str:
    """The title of the answer that allows a tool, or one narrow thing, until the conversation ends."""
    return f"Allow {_one_line(scope, _LONGEST_SCOPE)} for this session" if scope else "Allow for this session"


class EditorApprovals:
    """The port `Approve` for one connection; others wait while a question is open.

    ``confirm`` gets the changes of files that the person wants to look over in the editor, before they are applied
    (`EditorWorkspace.confirm`); without it, and where the editor cannot show them, that is not offered. Where there are
    several workspaces on a connection, as when its folders change, they share ``one_at_a_time``.
    """

    def __init__(
        self,
        connection: Connection,
        confirm: Callable[[tuple[FileChange, ...]], None] | None = None,
        one_at_a_time: asyncio.Lock | None = None,
    ) -> None:
        self._connection = connection
        self._confirm = confirm
        self._lock = one_at_a_time or asyncio.Lock()

    async def ask(self, request: ApprovalRequest) -> Decision:
        """Wait for the person's answer. Cancelled, the question is withdrawn, and a late answer has no effect."""
        async with self._lock:
            offered = self._offered(request)
            kind = types.MessageType.Warning if request.is_sensitive else types.MessageType.Info
            try:
                title = await chosen(self._connection, kind, _message(request), offered)
            except JsonRpcException as error:
                self._tell(request, f"the editor could not ask you: {visible(error.message)}")
                return Decision.NO
        if title is None:
            return Decision.NO
        decision = offered.get(title)
        if decision is None:
            self._tell(request, "the editor gave an answer that was not offered")
            return Decision.NO
        if title == REVIEW and self._confirm is not None:
            self._confirm(request.changes)
        return decision

    def _offered(self, request: ApprovalRequest) -> dict[str, Decision]:
        offered = {ALLOW_ONCE: Decision.ONCE}
        if not request.is_sensitive:
            offered[allow_for_session(request.scope)] = Decision.SESSION
        if self._can_review(request.changes):
            offered[REVIEW] = Decision.ONCE
        return offered | {NEVER: Decision.NEVER}

    def _can_review(self, changes: tuple[FileChange, ...]) -> bool:
        """Whether the editor asks the person about each of the changes. Neovim creates, moves and deletes files
        without asking, whatever the edit says, so that only changes of text count."""
        if not changes or self._confirm is None or not EditMeans.of(self._connection).can_confirm:
            return False
        return all(change.kind is ChangeKind.UPDATE for change in changes)

    def _tell(self, request: ApprovalRequest, why: str) -> None:
        """A no that the person has not said must not look like theirs."""
        name = visible(request.call.name)
        message = (
            f"{name} was not allowed, since {why}. To allow it without being asked, set it to allow in the section "
            "tools of your settings."
        )
        self._connection.window_show_message(types.ShowMessageParams(type=types.MessageType.Warning, message=message))


def _message(request: ApprovalRequest) -> str:
    """What is asked: the summary, and the beginning of what would be done, which the chat shows in full."""
    lines = visible(request.detail).rstrip("\n").split("\n") if request.detail else []
    longest = _LONGEST_LINE if len(lines) > 1 else _LONGEST_ONLY_LINE
    shown = [_bounded(line, longest) for line in lines[:_N_LINES]]
    if len(lines) > _N_LINES:
        shown.append(f"… and {len(lines) - _N_LINES} more lines")
    paragraphs = [f"{_one_line(request.summary, _LONGEST_SUMMARY)}?"]
    if request.is_sensitive:
        paragraphs.append("You are asked about this each time, whatever you allowed before.")
    if shown:
        paragraphs.append("\n".join(shown))
    return "\n\n".join(paragraphs)


def _one_line(text: str, n_most: int) -> str:
    return _bounded(" ".join(visible(text).split()), n_most)


def _bounded(text: str, n_most: int) -> str:
    return text if len(text) <= n_most else f"{text[: n_most - 1]}…"
