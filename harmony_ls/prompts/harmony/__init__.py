"""Harmony, the format of GPT-OSS: conversations to tokens, tokens to events, and its vocabulary."""
