"""One client's connection: bytes, messages, requests answered once, and how it all begins and ends."""
