"""Which paths the ``exclude`` globs name, for a document of an editor; what a glob means is said in `workspace.globs`.

The same globs keep secrets from completions and from what a model reads and changes, so one function matches them.
"""

import re
from collections.abc import Iterator
from urllib.parse import unquote, urlsplit

from harmony_ls.edits.diff import visible
from harmony_ls.features.document import DocumentSnapshot
from harmony_ls.workspace import globs as workspace_globs

__all__ = ["exclusion", "first_match"]


def first_match(document: DocumentSnapshot, globs: tuple[str, ...]) -> str | None:
    """The first glob that names the document, or one of the folders that it lies in, here or where its links lead."""
    return next((glob for glob, _ in _matches(document, globs)), None)


def exclusion(document: DocumentSnapshot, globs: tuple[str, ...]) -> str:
    """What excludes a document, for a person; empty where nothing does. A name that a link hides is told."""
    for glob, target in _matches(document, globs):
        if target is None:
            return f"{glob!r} excludes it (inlineCompletion.exclude)"
        return f"its path has led to {visible(target)}, and {glob!r} excludes that (inlineCompletion.exclude)"
    return ""


def _matches(document: DocumentSnapshot, globs: tuple[str, ...]) -> Iterator[tuple[str, str | None]]:
    """The first glob for each path of the document, with what its links have led to where that is named."""
    path = document.path if document.path is not None else _path_of(document.uri)
    for each, target in ((path, None), *((target, target) for target in document.link_targets)):
        names = [name for name in re.split(r"[/\\]", each) if name]
        if (glob := workspace_globs.first_match(names, globs)) is not None:
            yield glob, target


def _path_of(uri: str) -> str:
    try:
        return unquote(urlsplit(uri).path)
    except ValueError:  # a bracket that does not close, for example
        return unquote(uri)
