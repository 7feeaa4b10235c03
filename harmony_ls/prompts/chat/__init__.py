"""Models that are spoken to through a chat template of their own."""
