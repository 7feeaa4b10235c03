"""What an editor wants, in editor terms: documents, offsets and offers. Knows no LSP type."""
