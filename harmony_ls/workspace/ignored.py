"""What ``.gitignore`` files say about a path, by git's rules.

git itself is not asked: in a repository that was merely opened, its configuration can name programs to run. So a file
that git tracks although a rule names it counts as ignored here.
"""

import fnmatch
import os
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

__all__ = ["IgnoreRule", "ignoring_rule"]

_FILE_NAME = ".gitignore"
_LARGEST_FILE = 1024 * 1024
_MOST_PARENTS = 64


@dataclass(frozen=True, slots=True)
class IgnoreRule:
    """One line of a ``.gitignore``. ``pattern`` is compared, name by name, with the path below the folder of the file;
    None stands for any number of names."""

    source: Path
    line: int
    text: str
    pattern: tuple[re.Pattern[str] | None, ...]
    is_negated: bool
    folders_only: bool


def ignoring_rule(root: Path, names: Sequence[str], *, is_folder: bool = False) -> IgnoreRule | None:
    """The rule that ignores the path made of ``names`` below ``root``, or one of the folders above it; else None.

    ``root`` is a real path. If it lies inside a repository, the rules above it count too.
    """
    top = _top(root)
    path = [*root.relative_to(top).parts, *names]
    n_root = len(path) - len(names)
    rule_sets = [_rules(top / ".git" / "info" / "exclude")]
    for depth in range(len(path)):
        rule_sets.append(_rules(top.joinpath(*path[:depth], _FILE_NAME)))
        if depth < n_root:
            continue  # a root that is itself ignored was opened on purpose
        here_is_folder = depth < len(path) - 1 or is_folder
        rule = _deciding(rule_sets, path[: depth + 1], here_is_folder)
        if rule is not None and not rule.is_negated:
            return rule
    return None


def _deciding(rule_sets: Sequence[tuple[IgnoreRule, ...]], path: Sequence[str], is_folder: bool) -> IgnoreRule | None:
    """The last rule that names the path; those of deeper folders come later."""
    for depth in range(len(rule_sets) - 1, -1, -1):
        # The rules of .git/info/exclude are relative to the top, as those of the top's own file are.
        below = path[max(0, depth - 1) :]
        for rule in reversed(rule_sets[depth]):
            if (is_folder or not rule.folders_only) and _names(rule.pattern, below):
                return rule
    return None


def _top(root: Path) -> Path:
    """The working tree that a folder belongs to, or the folder itself."""
    for folder in (root, *list(root.parents)[:_MOST_PARENTS]):
        if (folder / ".git").exists():
            return folder
    return root


def _rules(file: Path) -> tuple[IgnoreRule, ...]:
    try:
        status = file.lstat()
        # git follows no link here either; one could lead to a device that never ends.
        if not stat.S_ISREG(status.st_mode) or status.st_size > _LARGEST_FILE:
            return ()
        return _parsed(file, status.st_mtime_ns, status.st_size)
    except OSError:
        return ()  # no such file, or none that can be read


@lru_cache(maxsize=256)
def _parsed(file: Path, _changed: int, _size: int) -> tuple[IgnoreRule, ...]:
    descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as stream:
        text = stream.read(_LARGEST_FILE).decode("utf-8", "replace").removeprefix("\ufeff")
    rules = (_rule(file, number, line) for number, line in enumerate(text.split("\n"), 1))
    return tuple(rule for rule in rules if rule is not None)


def _rule(source: Path, number: int, line: str) -> IgnoreRule | None:
    text = _without_trailing_spaces(line.removesuffix("\r"))
    if not text or text.startswith("#"):
        return None
    is_negated = text.startswith("!")
    glob = text[1:] if is_negated else text
    folders_only = glob.endswith("/")
    glob = glob.rstrip("/") if folders_only else glob
    if not glob:
        return None
    # A slash that is not the last character ties the glob to the folder of the file.
    names = [name for name in glob.split("/") if name] if "/" in glob else ["**", glob]
    # ``folder/**`` names what is in the folder, not the folder.
    names += ["*"] if names[-1] == "**" else []
    pattern = tuple(None if name == "**" else _name_pattern(name) for name in names)
    return IgnoreRule(source, number, text, pattern, is_negated, folders_only)


def _without_trailing_spaces(line: str) -> str:
    while line.endswith(" ") and not line.endswith("\\ "):
        line = line[:-1]
    return line


def _name_pattern(glob: str) -> re.Pattern[str]:
    """The pattern of one name. fnmatch knows no backslashes and no ``[^…]``; its patterns take no exponential time."""
    translated, i = "", 0
    while i < len(glob):
        if glob[i] == "\\" and i + 1 < len(glob):
            escaped = glob[i + 1]
            translated, i = translated + (f"[{escaped}]" if escaped in "*?[" else escaped), i + 2
        elif glob[i : i + 2] == "[^":
            translated, i = f"{translated}[!", i + 2
        else:
            translated, i = translated + glob[i], i + 1
    return re.compile(fnmatch.translate(translated))


def _names(pattern: Sequence[re.Pattern[str] | None], path: Sequence[str]) -> bool:
    """Whether the pattern is the whole path. ``reached`` holds how much of the pattern could be matched so far."""
    reached = _skipping({0}, pattern)
    for name in path:
        following = {i for i in reached if i < len(pattern) and pattern[i] is None}
        following |= {i + 1 for i in reached if i < len(pattern) and (p := pattern[i]) is not None and p.match(name)}
        reached = _skipping(following, pattern)
    return len(pattern) in reached


def _skipping(reached: set[int], pattern: Sequence[re.Pattern[str] | None]) -> set[int]:
    """``**`` may stand for no name at all."""
    through = set(reached)
    for i in reached:
        while i < len(pattern) and pattern[i] is None:
            i += 1
            through.add(i)
    return through
