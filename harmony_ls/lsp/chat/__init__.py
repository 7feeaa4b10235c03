"""``harmony/chat``: conversations over LSP, what goes with a message, and the questions that tools ask."""
