"""The open documents as the client sees them: their text, their versions and positions in them."""
