"""The copy of scipy-openblas32's library in which the BLAS functions have their plain names.

It is made by ``patchelf`` and kept in the cache. Its name ends in a checksum of what is in it: one that was damaged or
changed is made anew before the linker, which checks nothing, would run it. Reading all of it takes longer than the rest
of a start, so what was found sound once is trusted as long as the file system says that nobody has written to it since.
Copies that nothing has used for a month, of other versions for one, are removed.

Loading it is done in `harmony_ls.engine.worker.blas`.
"""

import contextlib
import logging
import os
import platform
import shutil
import subprocess
import sysconfig
import tempfile
import time
import zlib
from importlib import metadata, util
from pathlib import Path

import platformdirs

__all__ = ["renamed_openblas"]

log = logging.getLogger(__name__)

# The BLAS functions that mlx calls for matrix products. Its other imports are LAPACK's, which keep their own library.
_FUNCTIONS = ("cblas_sgemm", "cblas_dgemm", "cblas_cgemm")
_NEW_NAMES = "".join(f"scipy_{function} {function}\n" for function in _FUNCTIONS)
_COPY, _UNFINISHED = "libopenblas-", "unfinished-"
_SECOND, _DAY = 10**9, 86_400 * 10**9
# A file that was written within the same tick of the file system's clock as its status was read looks unwritten.
_SURE_AFTER = 2 * _SECOND
_KEPT_UNUSED = 30 * _DAY


def renamed_openblas() -> Path:
    """The sound copy, made where there is none.

    Raises LookupError where a part of the installation is missing, OSError and SubprocessError where making it fails.
    """
    spec = util.find_spec("scipy_openblas32")
    if spec is None or not spec.submodule_search_locations:
        raise LookupError("the package scipy-openblas32 is not installed")
    original = Path(next(iter(spec.submodule_search_locations))) / "lib" / "libscipy_openblas.so"
    if not original.exists():
        raise LookupError(f"{original} is missing")
    version = metadata.version("scipy-openblas32")
    folder = platformdirs.user_cache_path("harmony-ls") / "blas"
    name = f"{_COPY}{version}-{platform.machine()}-{zlib.crc32(_NEW_NAMES.encode()):08x}"
    copy = _sound_copy(folder, name) or _made(original, folder, name)
    _remove_unused(folder, copy)
    return copy


def _sound_copy(folder: Path, name: str) -> Path | None:
    for copy in sorted(folder.glob(f"{name}-*.so")):
        try:
            if _is_sound(copy, name):
                return copy
        except FileNotFoundError:
            continue  # another process has just removed it
        log.warning("%s is damaged, and is made anew.", copy)
        copy.unlink(missing_ok=True)
        _record(copy).unlink(missing_ok=True)
    return None


def _is_sound(copy: Path, name: str) -> bool:
    """Whether what is in a copy is what its name says. Remembers for the next start that it was."""
    status = copy.stat()
    record = _record(copy)
    # No program can set the time of a file's last change, only that of its last modification.
    state = f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} {status.st_ino}\n"
    now = time.time_ns()
    with contextlib.suppress(OSError):
        if record.read_text(encoding="ascii", errors="replace") == state:
            if now - record.stat().st_mtime_ns > _DAY:
                os.utime(record)  # it is in use
            return True
    if copy.name != _summed(name, copy):
        return False
    if now - status.st_ctime_ns > _SURE_AFTER:
        with contextlib.suppress(OSError):  # then it is read again next time
            record.write_text(state, encoding="ascii")
    return True


def _record(copy: Path) -> Path:
    """The file beside a copy that says in what state it was found sound; it is written to when the copy is used."""
    return copy.with_suffix(".sound")


def _summed(name: str, library: Path) -> str:
    """What a copy is called that holds what is in ``library``."""
    return f"{name}-{zlib.crc32(library.read_bytes()):08x}.so"


def _made(original: Path, folder: Path, name: str) -> Path:
    """Make a copy of a library with plain symbol names; return it."""
    patchelf = shutil.which("patchelf", path=sysconfig.get_path("scripts")) or shutil.which("patchelf")
    if patchelf is None:
        raise LookupError("the program patchelf is not installed")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=_UNFINISHED, dir=folder) as scratch:
        names = Path(scratch) / "names"
        names.write_text(_NEW_NAMES, encoding="ascii")
        renamed = Path(scratch) / "renamed.so"
        subprocess.run(
            [patchelf, "--rename-dynamic-symbols", str(names), "--output", str(renamed), str(original)],
            check=True,
            capture_output=True,
            timeout=60,
            stdin=subprocess.DEVNULL,
        )
        with renamed.open("rb") as file:
            os.fsync(file.fileno())  # after a power failure its status must not be there without its content
        # Another process may do the same at this moment: a rename within one folder is atomic, the last one wins.
        return renamed.replace(folder / _summed(name, renamed))


def _remove_unused(folder: Path, used: Path) -> None:
    """Remove what has not been used for long. Processes that have loaded a copy keep it; others make it anew."""
    oldest = time.time_ns() - _KEPT_UNUSED
    for path in set(folder.glob("*")) - {used}:
        with contextlib.suppress(OSError):
            if path.name.startswith(_COPY) and _last_used(path) < oldest:
                path.unlink()
            elif path.name.startswith(_UNFINISHED) and path.lstat().st_mtime_ns < oldest:
                shutil.rmtree(path)


def _last_used(path: Path) -> int:
    """When a copy or the record of one was used last, in nanoseconds since 1970."""
    times = [path.lstat().st_mtime_ns]
    with contextlib.suppress(OSError):
        times.append(_record(path).lstat().st_mtime_ns)
    return max(times)
