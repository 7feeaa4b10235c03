"""What has changed in a repository since its last commit, as git tells it.

A repository's own settings can name programs for git to run. Those that a diff would run are switched off here.
"""

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
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
    "protocol.allow": "never",
}
_DIFF = ("diff", "--no-ext-diff", "--no-textconv", "--no-color", "--ignore-submodules=all")
_MOST_HIDDEN = 1000


async def repository_of(folder: Path) -> Path:
    """The repository that a folder is in. Raises UserError where there is none, or no git."""
    return Path((await _git(folder, ["rev-parse", "--show-toplevel"], _HARMLESS)).removesuffix("\n"))


async def repository_diff(folder: Path, path: Path | None, is_hidden: Callable[[str], bool]) -> str:
    """The changes in the repository around ``folder``: what is staged, or, where nothing is, everything since HEAD.

    ``path`` limits it to one file. Files that ``is_hidden`` says of (by their whole path) are left out, and so is what
    they were called, or held, before or after. Raises UserError where there is no git, no repository, or no change.
    """
    top = await repository_of(folder)
    settings = _HARMLESS | await _without_filters(folder)
    limit = f":(literal){path}" if path is not None else ":(top)"
    for since in ("--cached", "HEAD"):
        # The names alone come first: git leaves out itself what is hidden, so that no renaming shows it either.
        names = await _git(folder, [*_DIFF, "--no-renames", "--name-only", "-z", since, "--", limit], settings)
        if not names:
            continue
        hidden = [name for name in filter(None, names.split("\0")) if is_hidden(os.path.join(top, name))]
        if len(hidden) > _MOST_HIDDEN:
            raise UserError(f"{len(hidden):,} of the changed files are not to be shown to the model. Stage a part.")
        without = [f":(top,literal,exclude){name}" for name in hidden]
        if text := await _git(folder, [*_DIFF, since, "--", limit, *without], settings):
            return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        break
    where = f" in {path.name}" if path is not None else ""
    raise UserError(f"Nothing has changed{where} since the last commit that may be shown.")


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
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
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
