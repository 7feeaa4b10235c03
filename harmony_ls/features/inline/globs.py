"""Which paths the ``exclude`` globs name. Matching takes time linear in the path for any glob that a setting may hold.

A glob names a file or a folder at any depth and regardless of case: ``.env`` names ``/a/b/.ENV``, ``.ssh/**`` all that
lies below any ``.ssh``. ``*`` and ``?`` stay within one name, ``**`` stands for any number of names, ``{a,b}`` for
either.
"""

import fnmatch
import re
from functools import lru_cache
from urllib.parse import unquote, urlsplit

from harmony_ls.features.document import DocumentSnapshot

__all__ = ["first_match"]

_ANY_DEPTH = "**"
_ALTERNATIVES = re.compile(r"\{([^{}]*)\}")
_MOST_ALTERNATIVES = 64

_Name = re.Pattern[str] | None
"""How one name of a path must look; None stands for any number of names."""


def first_match(document: DocumentSnapshot, globs: tuple[str, ...]) -> str | None:
    """The first glob that names the document, or one of the folders that it lies in."""
    path = document.path if document.path is not None else _path_of(document.uri)
    names = [name for name in re.split(r"[/\\]", path.casefold()) if name]
    return next((glob for glob in globs if any(_names(names, pattern) for pattern in _patterns(glob))), None)


def _path_of(uri: str) -> str:
    try:
        return unquote(urlsplit(uri).path)
    except ValueError:  # a bracket that does not close, for example
        return unquote(uri)


@lru_cache(maxsize=512)
def _patterns(glob: str) -> tuple[tuple[_Name, ...], ...]:
    return tuple(_pattern(alternative) for alternative in _alternatives(glob.casefold()))


def _pattern(glob: str) -> tuple[_Name, ...]:
    names = [name for name in re.split(r"[/\\]", glob) if name not in ("", ".")]
    return tuple(None if name == _ANY_DEPTH else re.compile(fnmatch.translate(name)) for name in names)


def _alternatives(glob: str) -> list[str]:
    found = [glob]
    while len(found) < _MOST_ALTERNATIVES and (braces := _ALTERNATIVES.search(found[0])):
        first, *others = found
        found = others + [
            first[: braces.start()] + choice + first[braces.end() :] for choice in braces.group(1).split(",")
        ]
    return found


def _names(names: list[str], pattern: tuple[_Name, ...]) -> bool:
    """Whether the pattern stands anywhere in the path. ``reached`` holds how much of it could be matched so far."""
    if not pattern:
        return False
    reached: set[int] = set()
    for name in names:
        current = _through_any_depth(reached | {0}, pattern)
        reached = {i for i in current if i < len(pattern) and pattern[i] is None}
        reached |= {i + 1 for i in current if i < len(pattern) and (p := pattern[i]) is not None and p.match(name)}
        if len(pattern) in reached or (pattern[-1] is None and len(pattern) - 1 in reached and len(pattern) > 1):
            return True
    return pattern == (None,) and bool(names)


def _through_any_depth(reached: set[int], pattern: tuple[_Name, ...]) -> set[int]:
    """``**`` may stand for no name at all."""
    through = set(reached)
    for i in sorted(reached):
        while i < len(pattern) and pattern[i] is None:
            i += 1
            through.add(i)
    return through
