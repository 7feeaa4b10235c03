"""The cached copy of OpenBLAS: made once, used as long as it is sound, made anew where it is not, removed in the end.

Each look is a process of its own: a library cannot be taken back, and mlx must not have been imported.
"""

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="OpenBLAS is loaded on Linux alone")

PROGRAM = """
import ctypes, logging, sys
opened = []
sys.addaudithook(lambda event, arguments: opened.append(str(arguments[0])) if event == "open" else None)
logging.basicConfig(format="%(message)s", stream=sys.stderr)
from harmony_ls.engine.worker.blas import preload_openblas
report = preload_openblas()
assert report.active, report.advice
assert ctypes.CDLL(None).cblas_sgemm
print(report.library, report.library in opened, sep="\\n", end="")
"""
DAYS = 86_400


@dataclass(frozen=True)
class Loaded:
    """The library that a process has loaded, whether all of it was read before, and what was said in the log."""

    library: Path
    was_read: bool
    said: str


def loaded(cache: Path) -> Loaded:
    environment = os.environ | {"XDG_CACHE_HOME": str(cache)}
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=120, env=environment
    )
    assert result.returncode == 0, result.stderr
    library, was_read = result.stdout.split("\n")
    return Loaded(Path(library), was_read == "True", result.stderr)


def trusted(cache: Path) -> Path:
    """The library, once it need not be read any more. That takes until its last change is some seconds ago."""
    deadline = time.monotonic() + 120
    while not (library := loaded(cache).library).with_suffix(".sound").exists():
        assert time.monotonic() < deadline
    return library


def age(path: Path, days: int) -> None:
    then = time.time() - days * DAYS
    os.utime(path, (then, then))


def test_a_sound_copy_is_made_once_and_read_until_it_can_be_trusted(tmp_path: Path) -> None:
    first = loaded(tmp_path)
    library = first.library
    assert tmp_path in library.parents
    assert first.said == ""
    made = library.stat()
    assert trusted(tmp_path) == library
    assert loaded(tmp_path) == Loaded(library, was_read=False, said="")
    assert library.stat() == made
    assert sorted(os.listdir(library.parent)) == [library.name, library.with_suffix(".sound").name]


@pytest.mark.parametrize("damage", ["cut short", "zeros", "empty", "one bit", "another file"])
def test_a_damaged_copy_is_made_anew_and_that_is_said(tmp_path: Path, damage: str) -> None:
    """Also where it was trusted, and whoever has changed it has set the times back."""
    library = trusted(tmp_path)
    sound, status = library.read_bytes(), library.stat()
    half = len(sound) // 2
    one_bit = sound[:half] + bytes([sound[half] ^ 1]) + sound[half + 1 :]
    match damage:
        case "cut short":
            library.write_bytes(sound[:half])
        case "zeros":
            library.write_bytes(bytes(len(sound)))
        case "empty":
            library.write_bytes(b"")
        case "one bit":
            library.write_bytes(one_bit)
        case _:
            (tmp_path / "other").write_bytes(one_bit)
            (tmp_path / "other").replace(library)
    os.utime(library, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert loaded(tmp_path).said == f"{library} is damaged, and is made anew.\n"
    assert library.read_bytes() == sound
    assert loaded(tmp_path).said == ""


def test_what_has_not_been_used_for_a_month_is_removed(tmp_path: Path) -> None:
    library = trusted(tmp_path)
    folder = library.parent
    unused, used, young = (folder / f"libopenblas-{name}-x86_64.so" for name in ("0.1", "0.2", "0.3"))
    for copy in (unused, used, young):
        copy.write_bytes(b"another version")
    for copy in (unused, used):
        copy.with_suffix(".sound").write_text("1 2 3 4\n")
        age(copy, 300)
    age(unused.with_suffix(".sound"), 31)
    age(used.with_suffix(".sound"), 29)
    others = folder / "notes.txt"
    others.write_text("mine\n")
    age(others, 300)
    for name, days in (("unfinished-1", 31), ("unfinished-2", 1)):
        (folder / name).mkdir()
        (folder / name / "renamed.so").write_bytes(b"")
        age(folder / name, days)
    age(library, 300)  # its own copy is used, however old it is
    age(library.with_suffix(".sound"), 300)
    assert loaded(tmp_path).library == library
    kept = {used, used.with_suffix(".sound"), young, others, folder / "unfinished-2"}
    assert set(folder.iterdir()) - {library, library.with_suffix(".sound")} == kept
    assert trusted(tmp_path) == library
    age(library.with_suffix(".sound"), 2)
    assert not loaded(tmp_path).was_read
    assert time.time() - library.with_suffix(".sound").stat().st_mtime < DAYS, "that it is used is remembered"
