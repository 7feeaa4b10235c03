"""What a document is called, to a person and to a model: by its place in the workspace. The disk is not looked at."""

from collections.abc import Sequence
from pathlib import Path

from harmony_ls.lsp.documents.documents import path_of

__all__ = ["folder_around", "name_of"]


def folder_around(path: str, folders: Sequence[Path]) -> Path | None:
    """The innermost of the workspace's folders that a path lies in."""
    around = [folder for folder in folders if Path(path).is_relative_to(folder)]
    return max(around, key=lambda folder: len(folder.parts), default=None)


def name_of(uri: str, folders: Sequence[Path]) -> str:
    """The path of a document below the innermost folder around it; outside of all the whole path, or the URI of what
    is no file."""
    path = path_of(uri)
    if path is None:
        return uri
    folder = folder_around(path, folders)
    return path if folder is None else Path(path).relative_to(folder).as_posix()
