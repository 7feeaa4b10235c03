"""``harmony-ls bench chat``: what a conversation costs beside mlx-lm alone, and what its next turn reads again."""
