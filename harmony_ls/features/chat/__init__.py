"""Conversations in an editor: the models that hold them, where they are kept, and what goes with a message."""
