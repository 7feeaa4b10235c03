"""The turns of a conversation, and what of them is shown to the model when not all of it fits.

Nothing here renders or generates: how long a prompt would be is asked of a function.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from harmony_ls.errors import PromptTooLongError
from harmony_ls.messages import Message, Role, ToolCall

__all__ = ["History", "answer_open_calls"]

# Once turns have to go, so many go that the prompt is at most this share of the room: dropping a little at every turn
# would change the beginning of the prompt, and have all of it read again, each time.
_SHARE_AFTER_DROPPING = 0.6


@dataclass(frozen=True, slots=True)
class History:
    """Finished turns, oldest first; each begins with a user's message.

    The model is shown ``turns[n_hidden:]``, after ``summary`` where the hidden ones were summed up. Nothing is
    forgotten: hidden turns are still saved, and shown to people.

    The summary comes in a message of the user and not as an instruction: what stands in it may go back to text of
    strangers.
    """

    turns: tuple[tuple[Message, ...], ...] = ()
    n_hidden: int = 0
    summary: str = ""

    @property
    def messages(self) -> tuple[Message, ...]:
        """All messages, hidden ones too."""
        return tuple(message for turn in self.turns for message in turn)

    @property
    def hidden(self) -> tuple[Message, ...]:
        """The messages that the model is no longer shown."""
        return tuple(message for turn in self.turns[: self.n_hidden] for message in turn)

    @property
    def is_tainted(self) -> bool:
        """Whether text of strangers has come into the conversation; what they said may work on in later turns."""
        return any(message.is_untrusted for message in self.messages)

    def shown(self, instructions: str, running: Sequence[Message] = ()) -> tuple[Message, ...]:
        """What the model is shown: instructions, summary, the turns that are not hidden, the ``running`` turn."""
        system = (Message(Role.SYSTEM, instructions),) if instructions else ()
        kept = [*(message for turn in self.turns[self.n_hidden :] for message in turn), *running]
        if self.summary and kept:
            # In the first message: two of a user in a row are more than some chat templates take.
            kept[0] = replace(kept[0], content=f"{_summary_text(self.summary)}\n\n{kept[0].content}")
        return (*system, *kept)

    def with_turn(self, messages: Sequence[Message]) -> "History":
        """The history with one more turn."""
        return replace(self, turns=(*self.turns, tuple(messages)))

    def without_last(self) -> "History":
        """The history without its last turn; hidden turns stay hidden."""
        turns = self.turns[:-1]
        if len(turns) < self.n_hidden:  # the turn was summed up: what is left of the summary would still tell of it
            return History(turns)
        return replace(self, turns=turns)

    def fitted(self, n_tokens: Callable[["History"], int], room: int, reserve: int = 0) -> "History":
        """The history with so many of the oldest turns hidden that the prompt has ``room``, and some to spare.

        ``n_tokens`` says how long the prompt of a history would be. Where turns have to be hidden, ``reserve`` more
        tokens stay free for what is said of them, if they can. Raises PromptTooLongError where even the running turn
        alone is too long.
        """
        if n_tokens(self) <= room:
            return self
        least = n_tokens(replace(self, n_hidden=len(self.turns)))
        if least > room:
            raise PromptTooLongError(
                f"The message is too long: with the instructions it makes a prompt of {least:,} tokens, and the "
                f"model has room for {room:,}. Shorten it, or choose a model with a longer context."
            )
        # Better no word of the hidden turns than none of this one.
        free = room - reserve if least <= room - reserve else room
        share = int(free * _SHARE_AFTER_DROPPING)
        # Where dropping all of them would not get to the share, no more go than must.
        limit = share if least <= share else free
        # The more turns are hidden, the shorter is the prompt; so few are measured, which takes long: each is rendered.
        n_hidden = bisect_left(
            range(len(self.turns)),
            True,
            lo=self.n_hidden + 1,
            key=lambda n_hidden: n_tokens(replace(self, n_hidden=n_hidden)) <= limit,
        )
        return replace(self, n_hidden=n_hidden)


def answer_open_calls(messages: Sequence[Message], why: str) -> list[Message]:
    """The messages with a tool message for every call that has none yet, so that the turn can stand in a history."""
    answered = {message.tool_call_id for message in messages if message.role is Role.TOOL}
    calls: list[ToolCall] = [call for message in messages for call in message.tool_calls if call.id not in answered]
    unanswered = (Message(Role.TOOL, why, tool_call_id=call.id, name=call.name, is_error=True) for call in calls)
    return [*messages, *unanswered]


def _summary_text(summary: str) -> str:
    return f"(The conversation began earlier. Summed up, this was said:\n{summary}\nIt goes on with:)"
