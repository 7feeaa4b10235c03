"""The files that harmony-ls puts beside those that it changes, for moments, and what a crash has left of them.

Their names say what they are and whose. A leftover is removed when its folder is next changed, by one who is alone in
it, unless it may hold the only copy of something: then it is kept, and told of.
"""

import contextlib
import fcntl
import os
import re
import secrets
import stat
import time
from collections.abc import Iterator

__all__ = ["is_scratch", "kept_name", "lock_folder", "n_own_names", "new_name", "remove_leftovers"]

_LOOK_AGAIN_SECONDS = 0.01

_NAME = re.compile(r"\.harmony-ls-(?:(?P<kind>new|old)-(?P<pid>[0-9]{1,10})-)?[0-9a-f]{16}\.tmp")


def new_name() -> str:
    """A free name for bytes that are still to get their place. The gate lets nobody use it."""
    return f".harmony-ls-new-{os.getpid()}-{secrets.token_hex(8)}.tmp"


def kept_name() -> str:
    """A free name for what had a place before. The gate lets nobody use it."""
    return f".harmony-ls-old-{os.getpid()}-{secrets.token_hex(8)}.tmp"


def is_scratch(name: str) -> bool:
    """Whether a name is one of these."""
    return _NAME.fullmatch(name) is not None


def n_own_names(folder: int, status: os.stat_result) -> int:
    """How many names of a file are only ours, in the folder that it lies in: left by a crash, or there for a moment."""
    return sum(1 for _, other in _scratch_files(folder) if os.path.samestat(other, status))


def lock_folder(folder: int, deadline: float) -> bool:
    """Keep out of the folder whoever else of harmony-ls asks in this way, in whatever process or container, until this
    descriptor of it is closed.

    Returned is whether that is so: not all file systems have such locks, and nobody waits longer than until
    ``deadline``, by the monotonic clock, for somebody who may hang.
    """
    while True:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(_LOOK_AGAIN_SECONDS)
        except OSError:
            return False


def remove_leftovers(folder: int) -> tuple[str, ...]:
    """Remove what processes that are gone have left in a folder that `lock_folder` gave one. Returns the names of
    what is kept."""
    kept = []
    for name, status in list(_scratch_files(folder)):
        if _has_owner(name):
            continue
        is_new = (match := _NAME.fullmatch(name)) is not None and match["kind"] == "new"
        if is_new or status.st_nlink > 1:  # never in its place, or there under its own name as well
            with contextlib.suppress(OSError):
                os.unlink(name, dir_fd=folder)
        else:
            kept.append(name)
    return tuple(kept)


def _scratch_files(folder: int) -> Iterator[tuple[str, os.stat_result]]:
    for name in os.listdir(folder):
        if is_scratch(name):
            with contextlib.suppress(FileNotFoundError):
                status = os.stat(name, dir_fd=folder, follow_symlinks=False)
                if stat.S_ISREG(status.st_mode):
                    yield name, status


def _has_owner(name: str) -> bool:
    """Whether the process that the name tells of may still be there."""
    match = _NAME.fullmatch(name)
    if match is None or match["pid"] is None:
        return False
    try:
        os.kill(int(match["pid"]), 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True
