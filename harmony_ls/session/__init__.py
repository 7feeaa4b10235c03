"""Conversations with a model: the turn loop, its limits, its history, and where conversations are kept."""
