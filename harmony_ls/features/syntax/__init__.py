"""What is known of a document's syntax: its statements, its symbols, and whether an edit would break it."""
