"""The one gate that every path passes, whether a file is read, changed, created, moved or deleted.

A path, however it is spelled, becomes the real path of what it names; that must lie inside a root and must not be
protected, at any depth and under any of its names: as it was written, after each link on the way, and as links from
elsewhere in the workspace call it. `protected` says what is. Nothing is opened here; `disk` makes sure that the path
still means the same when it is used.
"""

import contextlib
import os
import re
import threading
import time
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote_to_bytes, urlsplit

from harmony_ls.errors import WorkspaceError
from harmony_ls.settings.models import DEFAULT_EXCLUDE
from harmony_ls.workspace.globs import first_match, folded
from harmony_ls.workspace.ignored import ignoring_rule
from harmony_ls.workspace.links import MOST_NAMES, Links, found_links, other_names, written_names
from harmony_ls.workspace.protected import PROTECTED, SENSITIVE

__all__ = ["GatedPath", "PathGate", "check_no_repository_made"]

_SCHEME = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]+:(?=//)|^file:", re.IGNORECASE)
_DRIVE = re.compile(r"^[A-Za-z]:([\\/]|$)")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_LONGEST_NAME = 255
_LONGEST_PATH = 4096
_LONGEST_SHOWN = 120
_LINKS_KEPT = 30.0


@dataclass(frozen=True, slots=True)
class GatedPath:
    """A path that was let through: ``names`` lead from the real path ``root`` to it, and no link is among them.

    ``is_link`` says that the path as it was given ends in a link to there, ``is_sensitive`` that a person must be asked
    before it is changed, whatever was allowed in advance.
    """

    root: Path
    names: tuple[str, ...]
    is_link: bool = False
    is_sensitive: bool = False

    @property
    def real(self) -> Path:
        """Where the file really is."""
        return self.root.joinpath(*self.names)

    @property
    def shown(self) -> str:
        """The path below its root, for messages."""
        return "/".join(self.names)


class PathGate:
    """Lets paths through that lie inside ``roots`` and are neither protected nor ignored.

    ``exclude`` are the globs of secrets. ``lets_ignored_through`` opens what ``.gitignore`` names, and nothing else.
    Any number of threads may use one gate: the links of the workspace are searched by one of them for all.
    """

    def __init__(
        self,
        roots: Sequence[Path | str],
        *,
        exclude: Sequence[str] = DEFAULT_EXCLUDE,
        lets_ignored_through: bool = False,
    ) -> None:
        if not roots:
            raise WorkspaceError("There is no folder to work in.")
        self._lexical_roots = tuple(Path(os.path.abspath(root)) for root in roots)
        self.roots = tuple(Path(os.path.realpath(root)) for root in roots)
        if missing := next((root for root in self.roots if not os.path.isdir(root)), None):
            raise WorkspaceError(f"{missing} is not a folder, or one that may not be looked into.")
        self._exclude = tuple(exclude)
        self._links: tuple[float, Links] = (0.0, {})
        self._looking = threading.Lock()
        self._lets_ignored_through = lets_ignored_through

    def pass_through(self, written: str) -> GatedPath:
        """The real path of a file that may be read or changed; it need not exist. Raises WorkspaceError."""
        try:
            return self._passed(written)
        except (OSError, ValueError) as error:
            raise WorkspaceError(f"{_shown(written)} is no path that can be used: {error}.") from error

    def _passed(self, written: str) -> GatedPath:
        root, lexical = self._inside(_plain(written), written)
        parent = os.path.realpath(root.joinpath(*lexical[:-1]))
        real = os.path.realpath(os.path.join(parent, lexical[-1]))
        is_link = os.path.islink(os.path.join(parent, lexical[-1]))
        real_root = next((root for root in self.roots if Path(real).is_relative_to(root)), None)
        if real_root is None:
            raise WorkspaceError(f"{_shown(written)} is a link that leads out of the workspace. It is left alone.")
        names = Path(real).relative_to(real_root).parts
        if not names:
            raise WorkspaceError(f"{_shown(written)} is the workspace itself, not a file in it.")
        if len(names) > MOST_NAMES:
            raise WorkspaceError(f"{_shown(written)} leads too deep: a path has at most {MOST_NAMES} names.")
        self._check_names(written, lexical)
        self._check_names(written, names)
        on_the_way = written_names((*self._lexical_roots, *self.roots), root.joinpath(*lexical))
        called = list(dict.fromkeys((lexical, *on_the_way, names, *self._called(real_root, names))))
        for each in called:
            self._check_protected(written, each)
        self._check_repository(written, real_root, names)
        self._check_ignored(written, real_root, names)
        is_sensitive = any(first_match(each, SENSITIVE) is not None for each in called)
        return GatedPath(real_root, names, is_link, is_sensitive)

    def _called(self, root: Path, names: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        """What links of the workspace call a file, given by its real path."""
        with self._looking:
            now = time.monotonic()
            if now >= self._links[0]:
                links = found_links(self.roots)
                # In a large workspace looking takes a while; it is done again after many times as long.
                self._links = (time.monotonic() + _LINKS_KEPT * (time.monotonic() - now), links)
            return other_names(self._links[1], root, names)

    def files(self) -> Iterator[GatedPath]:
        """All files that are let through, ordered by path; links are not followed."""
        for root in self.roots:
            yield from self._files_below(root, ())

    def _files_below(self, root: Path, names: tuple[str, ...]) -> Iterator[GatedPath]:
        if len(names) >= MOST_NAMES:
            return
        try:
            entries = sorted(os.scandir(root.joinpath(*names)), key=lambda entry: entry.name)
        except OSError:
            return  # a folder that may not be read has no files to offer
        if _is_repository(entry.name for entry in entries):
            return
        for entry in entries:
            if not _can_be_written(entry.name):
                continue
            path = (*names, entry.name)
            is_folder = entry.is_dir(follow_symlinks=False)
            called = (path, *self._called(root, path))
            if any(first_match(each, (*PROTECTED, *self._exclude)) is not None for each in called):
                continue
            if not self._lets_ignored_through and ignoring_rule(root, path, is_folder=is_folder) is not None:
                continue
            if is_folder:
                yield from self._files_below(root, path)
            elif entry.is_file(follow_symlinks=False):
                yield GatedPath(root, path)

    def _inside(self, plain: str, written: str) -> tuple[Path, tuple[str, ...]]:
        """The root that a path belongs to and the names below it, before any link is followed."""
        if os.path.isabs(plain):
            path = Path(os.path.normpath(plain))
            roots = (*self._lexical_roots, *self.roots)
            if path in roots:
                raise WorkspaceError(f"{_shown(written)} is a folder. Give the path of a file.")
            for root in roots:
                if path.is_relative_to(root):
                    return root, _as_there(root, path.relative_to(root).parts)
            raise self._outside(written)
        names = Path(os.path.normpath(plain)).parts
        if not names or names[0] == "..":
            raise self._outside(written)
        places = [(root, _as_there(root, names)) for root in self.roots]
        existing = [(root, there) for root, there in places if os.path.lexists(root.joinpath(*there))]
        if len(existing) > 1:
            raise WorkspaceError(
                f"{_shown(written)} is in more than one folder of the workspace. Give one of these paths instead: "
                + ", ".join(str(root.joinpath(*there)) for root, there in existing)
            )
        return (existing or places)[0]

    def _outside(self, written: str) -> WorkspaceError:
        roots = ", ".join(map(str, self.roots))
        return WorkspaceError(
            f"{_shown(written)} is outside the workspace ({roots}). Give a path relative to it, without '..'."
        )

    def _check_names(self, written: str, names: Sequence[str]) -> None:
        if any(name != name.rstrip(". ") for name in names):
            raise WorkspaceError(f"{_shown(written)} has a name that ends in a space or a dot. It is left alone.")

    def _check_protected(self, written: str, names: Sequence[str]) -> None:
        path = "/".join(names)
        also = "" if written.endswith(path) else f", being {_shown(path)} too"
        if (glob := first_match(names, PROTECTED)) is not None:
            raise WorkspaceError(
                f"{_shown(written)} is protected ({glob}{also}): version control and the configuration of editors and "
                "tools are never read or changed here. A person can do it by hand."
            )
        if (glob := first_match(names, self._exclude)) is not None:
            raise WorkspaceError(f"{_shown(written)} is left alone: it may hold secrets ({glob}{also}).")

    def _check_repository(self, written: str, root: Path, names: Sequence[str]) -> None:
        """A repository may lie behind a ``.git`` file, under any name."""
        for depth in range(len(names)):
            folder = root.joinpath(*names[:depth])
            if any(all((folder / name).exists() for name in shape) for shape in _REPOSITORIES):
                raise WorkspaceError(f"{_shown(written)} lies inside a repository of git. It is left alone.")

    def _check_ignored(self, written: str, root: Path, names: Sequence[str]) -> None:
        if self._lets_ignored_through:
            return
        if (rule := ignoring_rule(root, names)) is not None:
            raise WorkspaceError(
                f"{_shown(written)} is ignored by version control ({rule.source.name}, line {rule.line}: {rule.text}). "
                "It is left alone."
            )


# What git takes for a repository, or for the private folder of a further working tree, whatever it is called. It
# believes the configuration there, which names programs to run.
_REPOSITORIES = (("HEAD", "objects", "refs"), ("HEAD", "commondir"))


def _is_repository(names: Iterable[str]) -> bool:
    found = {folded(name) for name in names}
    return any(found.issuperset(map(folded, shape)) for shape in _REPOSITORIES)


def check_no_repository_made(paths: Iterable[GatedPath]) -> None:
    """Refuse new files that would make a repository of git out of a folder, with those that are there already.

    Raises WorkspaceError.
    """
    made: dict[Path, set[str]] = {}
    for path in paths:
        for depth in range(len(path.names)):
            made.setdefault(path.root.joinpath(*path.names[:depth]), set()).add(path.names[depth])
    telling = {folded(name) for shape in _REPOSITORIES for name in shape}
    for folder, names in made.items():
        if telling.isdisjoint(map(folded, names)):
            continue
        try:
            there = os.listdir(folder)
        except OSError:
            there = []  # a new folder, or one that cannot be read
        if _is_repository((*there, *names)):
            raise WorkspaceError(
                f"The new files would make a repository of git out of {folder.name}, whose configuration can run "
                "programs. Nothing was changed."
            )


def _as_there(root: Path, names: Sequence[str]) -> tuple[str, ...]:
    """The names as they are on disk, where they differ only in how their characters are composed.

    "é" can be written as one character or as two, which look the same to people and to models, and are two names to
    some file systems.
    """
    there: list[str] = []
    for name in names:
        folder = root.joinpath(*there)
        if not name.isascii():
            composed = unicodedata.normalize("NFC", name)
            with contextlib.suppress(OSError):
                same = [each for each in os.listdir(folder) if unicodedata.normalize("NFC", each) == composed]
                name = same[0] if len(same) == 1 else name
        there.append(name)
    return tuple(there)


def _plain(written: str) -> str:
    """The path as the system spells it. Raises WorkspaceError for what is no path, or one of another system."""
    path = _from_uri(written) if _SCHEME.match(written) else written
    if not path.strip():
        raise WorkspaceError("The path is empty. Give the path of a file.")
    if _CONTROL.search(path):
        raise WorkspaceError(f"{_shown(written)} contains a control character. No file can be meant by it.")
    try:
        encoded = path.encode("utf-8")
    except UnicodeEncodeError as error:
        raise WorkspaceError(f"{_shown(written)} contains half a character. No file can be meant by it.") from error
    if path.startswith("~") or _DRIVE.match(path) or "\\" in path:
        raise WorkspaceError(
            f"{_shown(written)} is not understood here: give a path relative to the workspace, with '/' between names."
        )
    if path.count("/") > MOST_NAMES:
        raise WorkspaceError(f"{_shown(written)} lies too deep: a path has at most {MOST_NAMES} names.")
    if len(encoded) > _LONGEST_PATH or any(len(name.encode()) > _LONGEST_NAME for name in path.split("/")):
        raise WorkspaceError(
            f"{_shown(written)} is too long: a name has at most {_LONGEST_NAME} bytes, a path {_LONGEST_PATH}."
        )
    if path.endswith(("/", "/.", "/..")) or path in (".", ".."):
        raise WorkspaceError(f"{_shown(written)} is a folder. Give the path of a file.")
    return path


def _from_uri(written: str) -> str:
    try:
        parts = urlsplit(written)
        path = unquote_to_bytes(parts.path).decode("utf-8")
    except ValueError as error:
        raise WorkspaceError(f"{_shown(written)} is no URI of a file.") from error
    if parts.scheme.lower() != "file" or parts.netloc not in ("", "localhost") or not path.startswith("/"):
        raise WorkspaceError(f"{_shown(written)} does not name a file of this machine.")
    if parts.query or parts.fragment:
        raise WorkspaceError(f"{_shown(written)} is no URI of a file: write '?' as %3F and '#' as %23.")
    return path


def _can_be_written(name: str) -> bool:
    """Whether a path with this name in it can be given here: see `_plain`, and `PathGate.pass_through`."""
    is_odd = _CONTROL.search(name) or "\\" in name or name != name.rstrip(". ")
    return not is_odd and not any("\ud800" <= character <= "\udfff" for character in name)


def _shown(written: str) -> str:
    shown = written if len(written) <= _LONGEST_SHOWN else f"{written[:_LONGEST_SHOWN]}…"
    return shown if shown.isprintable() and shown.strip() == shown else repr(shown)
