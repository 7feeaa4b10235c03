"""Who has which conversation open, where one process serves several editors."""

from harmony_ls.errors import UserError

__all__ = ["Claims"]


class Claims:
    """Which connection of a process has which conversation open, so that none shows in two windows."""

    def __init__(self) -> None:
        self._owners: dict[str, object] = {}

    def take(self, chat_id: str, owner: object) -> None:
        """Claim a conversation. Raises UserError where another connection has it."""
        if self.is_taken(chat_id, owner):
            raise UserError("The conversation is open in another window. Close it there, or fork it.")
        self._owners[chat_id] = owner

    def is_taken(self, chat_id: str, owner: object) -> bool:
        """Whether somebody other than ``owner`` has it."""
        return self._owners.get(chat_id, owner) is not owner

    def release(self, chat_id: str, owner: object) -> None:
        """Let a conversation go; nothing happens where another connection has it."""
        if self._owners.get(chat_id) is owner:
            del self._owners[chat_id]

    def release_all(self, owner: object) -> None:
        """Let all conversations of a connection go."""
        self._owners = {chat_id: each for chat_id, each in self._owners.items() if each is not owner}
