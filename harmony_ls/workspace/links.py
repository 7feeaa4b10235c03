"""Which other names a file has through links of its workspace: a tool that follows ``.vscode`` may read ``tooling``.

Links are found by looking; no file is opened, and what a name means is not judged here.
"""

import contextlib
import os
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from types import MappingProxyType

from harmony_ls.workspace.globs import first_match

__all__ = ["MOST_NAMES", "Links", "Named", "found_links", "link_targets", "other_names", "written_names"]

Named = tuple[str, tuple[str, ...]]
"""A root, and the names below it that lead to a file."""

MOST_NAMES = 100
"""How deep a file may lie below a root: to judge a path takes time that grows with the square of that."""

Links = Mapping[str, tuple[Named, ...]]
"""The links that lead to a file, by its real path."""

# The nearest to the root are looked at first, so that what a bound leaves out lies deep.
_MOST_ENTRIES = 200_000
_MOST_LINKS = 20_000
_MOST_OTHERS = 256
_MOST_HOPS = 40
# Nobody follows a link in there, and there is much of it.
_STORES = (".git/objects/**", ".git/refs/**", ".git/logs/**", ".git/lfs/**")


def found_links(roots: Sequence[Path]) -> Links:
    """The links below ``roots``, which are real paths, that lead to something below one of them."""
    links: dict[str, list[Named]] = {}
    for root, names in islice(_links_below(roots), _MOST_LINKS):
        link = Path(root, *names)
        try:
            target = Path(os.path.realpath(link))
        except OSError:
            continue  # those of other people's processes in /proc, for example
        # One into a folder around itself names everything there is once more, and says nothing about it.
        if any(target.is_relative_to(each) for each in roots) and not link.is_relative_to(target):
            links.setdefault(str(target), []).append((root, names))
    return MappingProxyType({target: tuple(found) for target, found in links.items()})


def _links_below(roots: Sequence[Path]) -> Iterator[Named]:
    folders: deque[Named] = deque((str(root), ()) for root in roots)
    n_entries = 0
    while folders and n_entries < _MOST_ENTRIES:
        root, names = folders.popleft()
        try:
            with os.scandir(os.path.join(root, *names)) as entries:
                for entry in entries:
                    n_entries += 1
                    path = (*names, entry.name)
                    if entry.is_symlink():
                        yield root, path
                    elif entry.is_dir(follow_symlinks=False) and not _is_passed_over(path):
                        folders.append((root, path))
        except OSError:
            continue  # a folder that may not be read shows no links to us, nor to the tools of the same person


def _is_passed_over(folder: tuple[str, ...]) -> bool:
    return len(folder) >= MOST_NAMES or (".git" in folder and first_match(folder, _STORES) is not None)


def other_names(links: Links, root: Path, names: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """What a file, given by its real path, is called through links, below the root that each link lies in."""
    if not links:
        return
    first: Named = (str(root), tuple(names))
    waiting: deque[tuple[Named, frozenset[Named]]] = deque([(first, frozenset())])
    seen = {first}
    while waiting and len(seen) < _MOST_OTHERS:
        (folder, names), used = waiting.popleft()
        for depth in range(len(names) + 1):
            for link in links.get(folder, ()):
                other = (link[0], link[1] + names[depth:])
                # Links that lead to each other's folders would give names without an end.
                if link not in used and other not in seen:
                    seen.add(other)
                    waiting.append((other, used | {link}))
                    yield other[1]
            if depth < len(names):
                folder = f"{folder}/{names[depth]}"


def link_targets(path: str) -> tuple[str, ...]:
    """The paths that an absolute path leads to by links: after each link on the way, that of the file itself last.

    There are none where no link is on the way. What a link leads to need not exist.
    """
    real = os.path.realpath(path)
    if real == os.path.normpath(path):
        return ()
    written = Path(path)
    targets: list[str] = []
    # Where a folder may not be looked into, nothing was read through it either.
    with contextlib.suppress(OSError):
        for names in islice(written_names((Path(written.anchor),), written), 1, None):
            targets.append(str(Path(written.anchor, *names)))
    return tuple(dict.fromkeys((*targets, real)))


def written_names(roots: Sequence[Path], path: Path) -> Iterator[tuple[str, ...]]:
    """The names on the way from a path to the file that it leads to: as it is written, and after each link on it.

    They are those below one of ``roots``; what lies outside is left out.
    """
    for _ in range(_MOST_HOPS):
        for root in roots:
            if path.is_relative_to(root):
                yield path.relative_to(root).parts
        for depth in range(1, len(path.parts) + 1):
            link = Path(*path.parts[:depth])
            if link.is_symlink():
                path = Path(os.path.normpath(link.parent / os.readlink(link)), *path.parts[depth:])
                break
        else:
            return
