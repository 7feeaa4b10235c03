"""What is kept of a turn beside its messages, what the person said and what they saw; and how a fork begins. Nothing
here writes to disk."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from harmony_ls.errors import UserError
from harmony_ls.events import Event, TextDelta, Usage
from harmony_ls.features.chat.chat import Question
from harmony_ls.features.chat.slash import slash_command_of
from harmony_ls.features.chat.store import Said, StoredChat, new_chat_id
from harmony_ls.messages import Message, Role
from harmony_ls.session.files import first_turns

__all__ = ["beginning_of", "note_shown", "said_in", "with_turn"]

_LONGEST_TITLE = 60
# A title is made of the beginning of what may be a million characters.
_LOOKED_AT = 1000


def note_shown(shown: list[str], event: Event) -> None:
    """Put down what people see of the answer, pass by pass; ``shown`` begins with the empty text of the first one."""
    match event:
        case TextDelta(text):
            shown[-1] += text
        case Usage():
            shown.append("")


def said_in(question: Question, shown: Sequence[str], messages: Sequence[Message]) -> Said:
    """The turn that has just ended in these ``messages``, as people see it."""
    written = [message.content for message in messages if message.role is Role.ASSISTANT]
    differs = any(one.strip() not in ("", other.strip()) for one, other in zip(shown, written, strict=False))
    labels = tuple(attachment.label for attachment in question.attachments)
    return Said(question.text, labels, tuple(shown) if differs else ())


def with_turn(stored: StoredChat, said: Said, conversation: dict[str, Any], reference: str | None) -> StoredChat:
    """The conversation with what was just said, and answered by the model of ``reference``."""
    return replace(
        stored,
        title=stored.title or _title(said),
        updated=datetime.now(UTC),
        said=(*stored.said, said),
        conversation=conversation,
        reference=reference,
    )


def beginning_of(stored: StoredChat, n_turns: int | None = None) -> StoredChat:
    """A conversation of its own with the first ``n_turns`` of another, all by default. Takes as long as it takes to
    look through it. Raises UserError where there are not so many."""
    n_said = len(stored.said)
    n_kept = n_said if n_turns is None else n_turns
    if not 0 <= n_kept <= n_said:
        n_turns_said = "1 turn" if n_said == 1 else f"{n_said} turns"
        raise UserError(f"The conversation has {n_turns_said}; it cannot be forked after {n_kept}.")
    conversation = stored.conversation
    if conversation is not None:
        conversation = first_turns(conversation, n_kept) if n_kept else None
    now = datetime.now(UTC)
    said = stored.said[:n_kept]
    return replace(stored, id=new_chat_id(), created=now, updated=now, said=said, conversation=conversation)


def _title(said: Said) -> str:
    """The beginning of the first line that says something; a command alone says it of what is attached."""
    text = said.text.strip()[:_LOOKED_AT]
    line = next(" ".join(line.split()) for line in text.splitlines() if line.strip())
    command = slash_command_of(said.text)
    if command is not None and said.text.strip().lower() == f"/{command.name}":
        line = " ".join([line, *said.attachments[:1]])
    return line if len(line) <= _LONGEST_TITLE else f"{line[: _LONGEST_TITLE - 1].rstrip()}…"
