"""Text to token ids and back, and the chat templates that come with a tokenizer."""
