"""Conversations as they are on disk at this moment: read to be gone on with, and listed. All functions block.

How they are written, and what a file may hold, is `harmony_ls.features.chat.store`'s matter.
"""

from collections.abc import Sequence

from harmony_ls.errors import UserError
from harmony_ls.features.chat.chat import Chat
from harmony_ls.features.chat.store import ChatStore, ChatSummary, StoredChat
from harmony_ls.session.files import history_of, use_document
from harmony_ls.session.session import Session

__all__ = ["listed", "loaded", "resume"]


def loaded(store: ChatStore, chat_id: str) -> StoredChat:
    """A conversation of which the turns and what was said belong together. Raises UserError."""
    stored = store.load(chat_id)
    n_turns = 0
    if stored.conversation is not None:
        try:
            n_turns = len(history_of(stored.conversation).turns)
        except ValueError as error:
            raise UserError(f"The conversation {chat_id} is damaged ({error}). It is left as it is.") from error
    if n_turns != len(stored.said):
        raise UserError(f"The conversation {chat_id} is damaged (turns are missing). It is left as it is.")
    return stored


def resume(session: Session, stored: StoredChat) -> None:
    """Go on with what was said. Takes as long as it takes to look through it."""
    if stored.conversation is None:
        return
    use_document(stored.conversation, session)
    if stored.reference != session.chat_model.model.spec.reference:
        # Two models of one name in two places may differ in their vocabularies.
        session.use(session.chat_model)


def listed(store: ChatStore, opened: Sequence[Chat]) -> tuple[dict[str, ChatSummary], list[Chat]]:
    """The conversations of a store, and those that are ``opened``, by id; and which of these were deleted on disk.

    What is open is as it is on disk where another process has gone on with it, and else as it is in memory.
    """
    summaries = {each.id: each for each in store.list()}
    deleted: list[Chat] = []
    for chat in opened:
        stored = chat.stored
        if not stored.said:
            continue
        if chat.store.is_deleted(stored.id):
            deleted.append(chat)
            continue
        known = ChatSummary(stored.id, stored.title, stored.updated, len(stored.said), stored.model)
        written = chat.store.summary(stored.id) if chat.store.has_changed(stored.id) else None
        summaries[stored.id] = known if written is None or written.problem else written
    return summaries, deleted
