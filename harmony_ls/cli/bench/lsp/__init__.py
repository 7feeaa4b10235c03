"""``harmony-ls bench lsp``: the language server under a chat, under keys, and under twenty thousand requests."""
