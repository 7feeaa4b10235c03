"""What has changed in a repository since its last commit, as git tells it.

Who made a repository made its settings too. They can name programs for git to run: those that a diff would run are
switched off here. They can also name other places of the machine, for the files or for the commits: such a repository
is refused, and nothing outside the paths that are asked for is shown.
"""

import asyncio
import itertools
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from harmony_ls.errors import UserError

__all__ = ["repository_diff", "repository_of"]

_MOST_BYTES = 1_000_000
_PATIENCE_SECONDS = 20.0

# Hooks, watchers, external differs, text converters, submodules: all that a diff could be made to run.
_HARMLESS = {
    "core.fsmonitor": "false",
    "core.hooksPath": os.devnull,
    "core.pager": "cat",
    "diff.external": "",
    "submodule.recurse": "false",
}
_DIFF = ("diff", "--no-ext-diff", "--no-textconv", "--no-color", "--no-relative", "--ignore-submodules=all")
_MOST_HIDDEN = 1000
_ENVIRONMENT = {
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    # A repository may lack objects and say where they are fetched, by which programs. Its own settings can allow that
    # again, protocol by protocol, but not against the environment.
    "GIT_ALLOW_PROTOCOL": "",
    "GIT_NO_LAZY_FETCH": "1",
    "LC_ALL": "C",
}
# What else the environment says of git is meant for somebody else: an editor that `git commit` has started is told a
# repository, an index and settings.
_KEPT_VARIABLES = frozenset(
    {
        "GIT_CEILING_DIRECTORIES",
        "GIT_CONFIG_GLOBAL",
        "GIT_CONFIG_NOSYSTEM",
        "GIT_CONFIG_SYSTEM",
        "GIT_DISCOVERY_ACROSS_FILESYSTEM",
        "GIT_EXEC_PATH",
    }
)


async def repository_of(folder: Path) -> Path:
    """The repository that a folder is in. Raises UserError where there is none, or no git, or where the repository's
    files or commits are said to be those of another place."""
    query = ["rev-parse", "--show-toplevel", "--absolute-git-dir", "--git-common-dir"]
    places = (await _git(folder, query, _HARMLESS)).removesuffix("\n").split("\n")
    if len(places) != 3:
        raise UserError(f"The changes of {folder.name} cannot be told: there is a line end in a folder's name.")
    names_files = bool(await _git(folder, ["config", "--null", "--get", "core.worktree"], _HARMLESS, accepted=(0, 1)))
    top, git_dir, common_dir = (folder / place for place in places)
    await asyncio.to_thread(_refuse_strange, folder, top, git_dir, common_dir, names_files=names_files)
    return top


async def repository_diff(folder: Path, limits: Sequence[Path], is_hidden: Callable[[str], bool]) -> str:
    """The changes in the repository around ``folder``: what is staged, or, where nothing is, everything since HEAD.

    ``limits`` are the files and folders that may be shown; those outside the repository are passed over. Files that
    ``is_hidden`` says of (by their whole path) are left out, and so is what they were called, or held, before or after;
    it is asked on a thread, since there may be thousands.
    Raises UserError where there is no git, no repository (`repository_of`), or no change.
    """
    top = await repository_of(folder)
    settings = _HARMLESS | await _without_filters(folder)
    shown = await asyncio.to_thread(_pathspecs, limits, top)
    for since in ("--cached", "HEAD") if shown else ():
        # The names alone come first: git leaves out itself what is hidden, so that no renaming shows it either.
        names = await _git(folder, [*_DIFF, "--no-renames", "--name-only", "-z", since, "--", *shown], settings)
        if not names:
            continue
        hidden = await asyncio.to_thread(_hidden, names, top, is_hidden)
        if len(hidden) > _MOST_HIDDEN:
            raise UserError(f"{len(hidden):,} of the changed files are not to be shown to the model. Stage a part.")
        without = [f":(top,literal,exclude){name}" for name in hidden]
        if text := await _git(folder, [*_DIFF, since, "--", *shown, *without], settings):
            return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        break
    where = f" in {limits[0].name}" if len(limits) == 1 else ""
    raise UserError(f"Nothing has changed{where} since the last commit that may be shown.")


def _refuse_strange(folder: Path, top: Path, git_dir: Path, common_dir: Path, *, names_files: bool) -> None:
    """Raise UserError for a repository that shows files, or commits, which are not its own.

    ``names_files`` says that its settings name the place of its files, which is ``top`` then.
    """
    if _names_below(folder, top) is None:
        raise UserError(
            f"The repository of {folder.name} says that its files are in {top}. That is another place, so what has "
            f"changed there is not shown to the model."
        )
    git_dir, common_dir = _real(git_dir), _real(common_dir)
    is_worktree = git_dir != common_dir and git_dir.parent == common_dir / "worktrees"
    is_own = git_dir == common_dir or is_worktree
    # `.git` may be a file or a link that leads elsewhere, as those of submodules and of linked worktrees do. The
    # repository that is there knows of these.
    if _names_below(git_dir, top) is None:
        is_own = is_own and (names_files or (is_worktree and _is_linked_back(git_dir, top)))
    if not is_own or any(map(_borrows_commits, {git_dir, common_dir})):
        raise UserError(
            f"The repository of {folder.name} takes its commits from another place, {common_dir}, which does not know "
            f"of it. So its changes are not shown to the model; attach the code instead."
        )


def _is_linked_back(git_dir: Path, top: Path) -> bool:
    try:
        return os.path.samefile(git_dir / (git_dir / "gitdir").read_text().removesuffix("\n"), top / ".git")
    except (OSError, ValueError):
        return False


def _borrows_commits(git_dir: Path) -> bool:
    """Whether what names commits and files in a git directory is a link that leads out of it.

    Objects may be elsewhere: nobody finds any without their names.
    """
    named = (git_dir / name for name in ("HEAD", "index", "packed-refs", "refs", "reftable"))
    below = (_all_below(git_dir / name) for name in ("refs", "reftable"))
    places = itertools.chain(named, git_dir.glob("sharedindex.*"), *below)
    return any(place.is_symlink() and not _real(place).is_relative_to(git_dir) for place in places)


def _all_below(folder: Path) -> Iterable[Path]:
    for path, folders, files in os.walk(folder):
        for name in (*folders, *files):
            yield Path(path, name)


def _pathspecs(paths: Iterable[Path], top: Path) -> list[str]:
    """What git is to look at, for paths in the repository or around it."""
    specs: list[str] = []
    for path in paths:
        if _names_below(top, path) is not None:
            return [":(top)"]
        if names := _names_below(path, top):
            specs.append(f":(top,literal){'/'.join(names)}")
    return specs


def _hidden(names: str, top: Path, is_hidden: Callable[[str], bool]) -> list[str]:
    return [name for name in names.split("\0") if name and is_hidden(os.path.join(top, name))]


def _real(path: Path) -> Path:
    """The path without links; where they lead round in a circle, it is left as it is."""
    return Path(os.path.realpath(path))


def _names_below(path: Path, folder: Path) -> tuple[str, ...] | None:
    """The names that lead from a folder to a path, which need not be there; None where it is not in the folder.

    The folders themselves are compared, since a disk may not tell upper from lower case. Of a file that is a link, the
    link is meant: git tells of that.
    """
    real = _real(path) if path.is_dir() else _real(path.parent) / path.name
    for n_names, each in enumerate((real, *real.parents)):
        try:
            if os.path.samefile(each, folder):
                return real.parts[len(real.parts) - n_names :]
        except OSError:
            continue
    return None


async def _without_filters(folder: Path) -> dict[str, str]:
    """Settings that switch off the filters which the repository's own define: git would run their programs."""
    query = ["config", "--null", "--name-only", "--get-regexp", r"^filter\..*\.(clean|smudge|process)$"]
    names = (await _git(folder, query, _HARMLESS, accepted=(0, 1))).split("\0")
    settings: dict[str, str] = {}
    for name in filter(None, names):
        settings |= {name: "", f"{name.rpartition('.')[0]}.required": "false"}
    return settings


async def _git(
    folder: Path, arguments: Sequence[str], settings: Mapping[str, str], accepted: tuple[int, ...] = (0,)
) -> str:
    others = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES & os.environ.keys()}
    environment = {**others, **kept, **_ENVIRONMENT}
    # In the environment a name may hold any character, which it may not on the command line.
    environment["GIT_CONFIG_COUNT"] = str(len(settings))
    for number, (name, value) in enumerate(settings.items()):
        environment |= {f"GIT_CONFIG_KEY_{number}": name, f"GIT_CONFIG_VALUE_{number}": value}
    try:
        process = await asyncio.create_subprocess_exec(
            "git",
            *arguments,
            cwd=folder,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment,
        )
    except OSError as error:
        raise UserError(f"git cannot be run: {error.strerror or error}. Install it, or attach the code.") from error
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            output, complaint = await asyncio.gather(_bounded(process.stdout), _bounded(process.stderr))
            if len(output) > _MOST_BYTES:
                raise UserError(f"The changes are too many: more than {_MOST_BYTES / 1e6:g} MB. Stage a part of them.")
            code = await process.wait()
    except TimeoutError:
        raise UserError(f"git took longer than {_PATIENCE_SECONDS:g} seconds; attach the code instead.") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if code not in accepted:
        reason = complaint.decode("utf-8", "replace").strip().splitlines() or [f"exit code {code}"]
        raise UserError(f"The changes cannot be told. git says: {reason[0]}")
    return os.fsdecode(output)


async def _bounded(stream: asyncio.StreamReader) -> bytes:
    """What comes out of a stream, and no more of it than shows that it is too much."""
    pieces: list[bytes] = []
    while sum(map(len, pieces)) <= _MOST_BYTES and (piece := await stream.read(1 << 16)):
        pieces.append(piece)
    return b"".join(pieces)
