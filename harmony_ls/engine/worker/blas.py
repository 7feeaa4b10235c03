"""OpenBLAS for MLX's CPU back end on Linux.

The mlx wheels for Linux link the reference BLAS, whose matrix products take 40 to 75 times longer than OpenBLAS's. A
library that is loaded with RTLD_GLOBAL before mlx takes the place of the linked one, because the dynamic linker looks
in the global scope first. Two sources are tried: the ``scipy-openblas32`` wheel, whose exported names carry a prefix
that ``patchelf`` removes in a cached copy, and the OpenBLAS of the system. The copy's name ends in a checksum of what
is in it: one that was damaged is made anew before the linker, which checks nothing, would run it.

This module does nothing on other systems, and nothing once mlx has been imported.
"""

import ctypes
import logging
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import zlib
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path

import platformdirs

__all__ = ["BlasReport", "preload_openblas"]

log = logging.getLogger(__name__)

# The BLAS functions that mlx calls for matrix products. Its other imports are LAPACK's, which keep their own library.
_FUNCTIONS = ("cblas_sgemm", "cblas_dgemm", "cblas_cgemm")
_SYSTEM_LIBRARIES = (
    "openblas-pthread/libopenblas.so.0",
    "libopenblas.so.0",
    "libopenblas.so",
)


@dataclass(frozen=True, slots=True)
class BlasReport:
    """Whether OpenBLAS serves MLX's matrix products, from which file, and if not, what to do about it.

    ``n_threads`` is what its threads were limited to, None where that was left alone.
    """

    active: bool
    library: str
    advice: str = ""
    n_threads: int | None = None


# What was loaded stays for the life of the process, and of those that are forked from it.
_loaded: list[BlasReport] = []


def preload_openblas() -> BlasReport:
    """Load OpenBLAS where MLX will find it. Call this before anything imports mlx; further calls say the same again."""
    if sys.platform != "linux":
        return BlasReport(active=False, library="", advice="")
    if _loaded:
        return _loaded[0]
    if "mlx.core" in sys.modules:
        return BlasReport(active=False, library="", advice="mlx was imported before OpenBLAS could be loaded.")
    faults = []
    for find in (_packaged_library, _system_library):
        try:
            library = find()
            n_threads = _limit_threads(ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL))
        except Exception as error:
            # Whatever is wrong with a package or a library, MLX runs without it, only slower.
            faults.append(str(error))
            continue
        _loaded.append(BlasReport(active=True, library=str(library), n_threads=n_threads))
        return _loaded[0]
    advice = (
        "Matrix products on the CPU are 40 to 75 times slower without OpenBLAS. Reinstall harmony-ls with its "
        "dependencies, or install the system's package (Debian: libopenblas0-pthread). Tried: " + "; ".join(faults)
    )
    return BlasReport(active=False, library="", advice=advice)


def _limit_threads(library: ctypes.CDLL) -> int | None:
    """Leave one core to the rest of the machine, unless OPENBLAS_NUM_THREADS says otherwise; return the threads.

    OpenBLAS's threads wait for each other by spinning. Where another program has taken the core of one of them, the
    product of a small matrix takes not milliseconds but seconds.
    """
    if "OPENBLAS_NUM_THREADS" in os.environ:
        return None
    n_threads = max(1, len(os.sched_getaffinity(0)) - 1)
    for name in ("scipy_openblas_set_num_threads", "openblas_set_num_threads"):
        if hasattr(library, name):
            getattr(library, name)(n_threads)
            return n_threads
    return None


def _packaged_library() -> Path:
    """The cached copy of scipy-openblas32's library with plain symbol names, made where there is no sound one."""
    spec = util.find_spec("scipy_openblas32")
    if spec is None or not spec.submodule_search_locations:
        raise LookupError("the package scipy-openblas32 is not installed")
    original = Path(next(iter(spec.submodule_search_locations))) / "lib" / "libscipy_openblas.so"
    if not original.exists():
        raise LookupError(f"{original} is missing")
    version = metadata.version("scipy-openblas32")
    folder = platformdirs.user_cache_path("harmony-ls") / "blas"
    name = f"libopenblas-{version}-{platform.machine()}"
    for library in sorted(folder.glob(f"{name}-*.so")):
        if library.name == _summed(name, library):
            return library
        log.warning("%s is damaged, and is made anew.", library)
        library.unlink(missing_ok=True)
    return _rename_symbols(original, folder, name)


def _summed(name: str, library: Path) -> str:
    """What a copy is called that holds what is in ``library``."""
    return f"{name}-{zlib.crc32(library.read_bytes()):08x}.so"


def _rename_symbols(original: Path, copies: Path, name: str) -> Path:
    """Make a copy of a library with plain symbol names; return it."""
    patchelf = shutil.which("patchelf", path=sysconfig.get_path("scripts")) or shutil.which("patchelf")
    if patchelf is None:
        raise LookupError("the program patchelf is not installed")
    copies.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=copies) as folder:
        names = Path(folder) / "names"
        names.write_text("".join(f"scipy_{function} {function}\n" for function in _FUNCTIONS))
        renamed = Path(folder) / "renamed.so"
        subprocess.run(
            [patchelf, "--rename-dynamic-symbols", str(names), "--output", str(renamed), str(original)],
            check=True,
            capture_output=True,
            timeout=60,
            stdin=subprocess.DEVNULL,
        )
        # Another process may do the same at this moment: a rename within one folder is atomic, the last one wins.
        return renamed.replace(copies / _summed(name, renamed))


def _system_library() -> Path:
    folders = [Path(f"/usr/lib/{platform.machine()}-linux-gnu"), Path("/usr/lib64"), Path("/usr/lib")]
    for folder in folders:
        for name in _SYSTEM_LIBRARIES:
            if (folder / name).exists():
                return folder / name
    raise LookupError("no libopenblas in the system's library folders")
