"""Text to tokens and back: prompt layouts per model family. Knows tokenizers through a protocol, never MLX."""
