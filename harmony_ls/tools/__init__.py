"""Tools that a model may call. Each is a module of its own; `harmony_ls.tools.tool` is what they have in common."""
