"""Which paths the ``exclude`` globs name, for a document of an editor; what a glob means is said in `workspace.globs`.

The same globs keep secrets from completions and from what a model reads and changes, so one function matches them.
"""

import re
from urllib.parse import unquote, urlsplit

from harmony_ls.features.document import DocumentSnapshot
from harmony_ls.workspace import globs as workspace_globs

__all__ = ["first_match"]


def first_match(document: DocumentSnapshot, globs: tuple[str, ...]) -> str | None:
    """The first glob that names the document, or one of the folders that it lies in, here or where its links lead."""
    path = document.path if document.path is not None else _path_of(document.uri)
    matches = (workspace_globs.first_match(_names(each), globs) for each in (path, *document.link_targets))
    return next((glob for glob in matches if glob is not None), None)


def _names(path: str) -> list[str]:
    return [name for name in re.split(r"[/\\]", path) if name]


def _path_of(uri: str) -> str:
    try:
        return unquote(urlsplit(uri).path)
    except ValueError:  # a bracket that does not close, for example
        return unquote(uri)
