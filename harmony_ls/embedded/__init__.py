"""The fill-in-the-middle model that ships with the package: its files and where they are. It loads nothing."""
