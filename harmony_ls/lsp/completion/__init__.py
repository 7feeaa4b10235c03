"""Completions while typing, as ghost text or as an item of the ordinary list."""
