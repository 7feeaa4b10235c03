"""What is asked for when a model is loaded, what is known of it, and what its folder must hold. Values and files."""
