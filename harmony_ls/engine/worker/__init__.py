"""The thread that owns MLX: what is loaded before it, the order of its jobs, and results that come from it."""
