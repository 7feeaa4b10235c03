"""OpenBLAS for MLX's CPU back end on Linux.

The mlx wheels for Linux link the reference BLAS, whose matrix products take 40 to 75 times longer than OpenBLAS's. A
library that is loaded with RTLD_GLOBAL before mlx takes the place of the linked one, because the dynamic linker looks
in the global scope first. Two sources are tried: the ``scipy-openblas32`` wheel, whose exported names carry a prefix
that a cached copy lacks (`harmony_ls.engine.worker.openblas_copy`), and the OpenBLAS of the system.

This module does nothing on other systems, and nothing once mlx has been imported.
"""

import ctypes
import os
import platform
import sys
from dataclasses import dataclass
from pathlib import Path

from harmony_ls.engine.worker.openblas_copy import renamed_openblas

__all__ = ["BlasReport", "preload_openblas"]

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
    for find in (renamed_openblas, _system_library):
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


def _system_library() -> Path:
    folders = [Path(f"/usr/lib/{platform.machine()}-linux-gnu"), Path("/usr/lib64"), Path("/usr/lib")]
    for folder in folders:
        for name in _SYSTEM_LIBRARIES:
            if (folder / name).exists():
                return folder / name
    raise LookupError("no libopenblas in the system's library folders")
