"""``harmony-ls bench tools``: what the tools cost beside the model."""
