"""Inline completion: what is offered at the cursor, when, and why not."""
