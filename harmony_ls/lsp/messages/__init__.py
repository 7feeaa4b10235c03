"""The messages that harmony-ls adds to LSP, and the converter that knows them."""
