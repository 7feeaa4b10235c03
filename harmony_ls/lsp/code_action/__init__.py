"""Code actions: what is offered where, and the workspace edit that one becomes."""
