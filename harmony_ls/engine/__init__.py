"""The engine: the only package that imports mlx and mlx_lm. No array leaves it.

Tokens are ints, log-probabilities floats.
"""
