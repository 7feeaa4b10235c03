"""What a person may set, where each setting may come from, and how the sources are merged."""
