"""The language server: the only package that imports pygls and lsprotocol. It translates and offers nothing itself."""
