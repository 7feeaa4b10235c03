"""The cached copy of OpenBLAS: made once, used as long as it is sound, made anew where it is not.

Each look is a process of its own: a library cannot be taken back, and mlx must not have been imported.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="OpenBLAS is loaded on Linux alone")

PROGRAM = """
import ctypes, logging, sys
logging.basicConfig(format="%(message)s", stream=sys.stderr)
from harmony_ls.engine.worker.blas import preload_openblas
report = preload_openblas()
assert report.active, report.advice
assert ctypes.CDLL(None).cblas_sgemm
print(report.library, end="")
"""


def loaded(cache: Path) -> tuple[Path, str]:
    """The library that a process loads, and what it says in its log."""
    environment = os.environ | {"XDG_CACHE_HOME": str(cache)}
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=120, env=environment
    )
    assert result.returncode == 0, result.stderr
    return Path(result.stdout), result.stderr


def test_a_sound_copy_is_made_once(tmp_path: Path) -> None:
    library, said = loaded(tmp_path)
    assert tmp_path in library.parents
    assert said == ""
    made = library.stat()
    assert loaded(tmp_path) == (library, "")
    assert library.stat().st_mtime_ns == made.st_mtime_ns
    assert os.listdir(library.parent) == [library.name]


@pytest.mark.parametrize("damage", ["cut short", "zeros", "empty", "one bit"])
def test_a_damaged_copy_is_made_anew_and_that_is_said(tmp_path: Path, damage: str) -> None:
    library, _ = loaded(tmp_path)
    sound = library.read_bytes()
    half = len(sound) // 2
    match damage:
        case "cut short":
            library.write_bytes(sound[:half])
        case "zeros":
            library.write_bytes(bytes(len(sound)))
        case "empty":
            library.write_bytes(b"")
        case _:
            library.write_bytes(sound[:half] + bytes([sound[half] ^ 1]) + sound[half + 1 :])
    assert loaded(tmp_path) == (library, f"{library} is damaged, and is made anew.\n")
    assert library.read_bytes() == sound
    assert os.listdir(library.parent) == [library.name]
    assert loaded(tmp_path)[1] == ""
