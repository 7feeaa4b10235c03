"""Key-value caches: their layers, and those that outlive a generation."""
