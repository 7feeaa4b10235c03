"""``harmony-ls bench inline``: completion key by key beside mlx_lm.server, the engine, and the worth of the answers."""
