"""From a name to a model that can run: found or downloaded, checked, loaded, whole or in part."""
