"""Globs that name a file or a folder at any depth and regardless of case: ``.env``, ``*.pem``, ``.ssh/**``.

``*`` and ``?`` stay within one name, ``**`` stands for any number of names, ``{a,b}`` for either. Matching takes time
linear in the path for any glob that a setting may hold. No file is looked at.
"""

import fnmatch
import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache

__all__ = ["first_match", "folded"]

_ANY_DEPTH = "**"
_ALTERNATIVES = re.compile(r"\{([^{}]*)\}")
_MOST_ALTERNATIVES = 256
# Characters that some file systems ignore in names, so that ``.g\u200cit`` would be ``.git`` there.
_IGNORABLE = re.compile("[\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\u00ad]")

_SEPARATOR = re.compile(r"[/\\]")
_MAGIC = re.compile(r"[*?\[]")

_Name = re.Pattern[str] | None


def folded(name: str) -> str:
    """The name as the least exact file system would compare it."""
    if name.isascii():
        return name.lower()
    return unicodedata.normalize("NFKC", _IGNORABLE.sub("", unicodedata.normalize("NFKC", name).casefold())).casefold()


def first_match(names: Sequence[str], globs: Iterable[str]) -> str | None:
    """The first glob that names the path made of ``names``, or one of the folders that it lies in."""
    globs = tuple(globs)
    path = [folded(name) for name in names]
    if not _may_name(path, globs):
        return None
    return next((glob for glob in globs if any(_is_named(path, pattern) for pattern in _patterns(glob))), None)


def _may_name(path: Sequence[str], globs: tuple[str, ...]) -> bool:
    """Whether any of the globs could name the path: it decides for nearly all paths, and takes little time."""
    literal, pattern, others = _by_shape(globs)
    if any(name in literal or pattern.match(name) for name in path):
        return True
    return any(_is_named(path, each) for each in others)


@lru_cache(maxsize=64)
def _by_shape(globs: tuple[str, ...]) -> tuple[frozenset[str], re.Pattern[str], tuple[tuple[_Name, ...], ...]]:
    """The globs that are one name and no pattern, a pattern for those that are one name, and the others."""
    literal: set[str] = set()
    single: list[str] = []
    others: list[tuple[_Name, ...]] = []
    for each in (alternative for glob in globs for alternative in _alternatives(folded(glob))):
        names = _names(each)
        if len(names) != 1 or names[0] == _ANY_DEPTH:
            others.append(_pattern(names))
        elif _MAGIC.search(names[0]):
            single.append(fnmatch.translate(names[0]))
        else:
            literal.add(names[0])
    return frozenset(literal), re.compile("|".join(single) if single else r"(?!)"), tuple(others)


@lru_cache(maxsize=512)
def _patterns(glob: str) -> tuple[tuple[_Name, ...], ...]:
    return tuple(_pattern(_names(alternative)) for alternative in _alternatives(folded(glob)))


def _names(glob: str) -> list[str]:
    """The names that a glob without braces is made of."""
    names = [name for name in _SEPARATOR.split(glob) if name not in ("", ".")]
    # What is named by ``.ssh/**`` is the folder itself as well: nothing may take its place.
    return names[:-1] if len(names) > 1 and names[-1] == _ANY_DEPTH else names


def _pattern(names: Sequence[str]) -> tuple[_Name, ...]:
    return tuple(None if name == _ANY_DEPTH else re.compile(fnmatch.translate(name)) for name in names)


def _alternatives(glob: str) -> list[str]:
    """The globs that one with braces stands for."""
    found = [glob]
    while (braces := _ALTERNATIVES.search(found[0])) is not None:
        choices = braces[1].split(",")
        if len(found) * len(choices) > _MOST_ALTERNATIVES:
            # Too many to be told apart: rather one file more is left alone than a secret shown.
            choices = ["*"]
        found = [
            first[: braces.start()] + choice + first[braces.end() :]
            for first, braces in ((one, _ALTERNATIVES.search(one)) for one in found)
            if braces is not None
            for choice in (choices if choices == ["*"] else braces[1].split(","))
        ]
    return found


def _is_named(path: Sequence[str], pattern: tuple[_Name, ...]) -> bool:
    """Whether the pattern stands anywhere in the path. ``reached`` holds how many of its names could be matched."""
    if not pattern:
        return False
    reached: set[int] = set()
    for name in path:
        current = _skipping(reached | {0}, pattern)
        reached = {i for i in current if i < len(pattern) and pattern[i] is None}
        reached |= {i + 1 for i in current if i < len(pattern) and (p := pattern[i]) is not None and p.match(name)}
        if len(pattern) in _skipping(reached, pattern):
            return True
    return False


def _skipping(reached: set[int], pattern: tuple[_Name, ...]) -> set[int]:
    """``**`` may stand for no name at all."""
    through = set(reached)
    for i in reached:
        while i < len(pattern) and pattern[i] is None:
            i += 1
            through.add(i)
    return through
