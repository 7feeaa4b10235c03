"""``harmony-ls apply-patch`` as a script runs it: a patch on stdin, a list or a reason, an exit code."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PATCH = """*** Begin Patch
*** Update File: a.txt
@@
 one
-two
+2
*** Add File: b/new.txt
+new
*** Delete File: c.txt
*** End Patch
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a.txt").write_text("one\ntwo\n")
    (tmp_path / "c.txt").write_text("three\n")
    return tmp_path


def run(folder: Path, patch: str | bytes, *arguments: str) -> subprocess.CompletedProcess[str]:
    result = subprocess.run(
        [sys.executable, "-m", "harmony_ls", "apply-patch", *arguments],
        cwd=folder,
        env=os.environ | {"NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "100"},
        input=patch if isinstance(patch, bytes) else patch.encode(),
        capture_output=True,
        timeout=60,
    )
    return subprocess.CompletedProcess(
        result.args, result.returncode, result.stdout.decode("utf-8"), result.stderr.decode("utf-8")
    )


def tree(folder: Path) -> dict[str, str]:
    return {p.relative_to(folder).as_posix(): p.read_text() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_it_lists_what_it_changed(folder: Path) -> None:
    result = run(folder, PATCH)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == "Success. Updated the following files:\nA b/new.txt\nM a.txt\nD c.txt\n"
    assert tree(folder) == {"a.txt": "one\n2\n", "b/new.txt": "new\n"}


def test_a_dry_run_shows_the_diff_and_changes_nothing(folder: Path) -> None:
    before = tree(folder)
    result = run(folder, PATCH, "--dry-run")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("--- a/a.txt\n+++ b/a.txt\n@@ -1,2 +1,2 @@\n one\n-two\n+2\n--- /dev/null\n")
    assert tree(folder) == before
    other = folder / "copy"
    other.mkdir()
    for name, text in before.items():
        (other / name).write_text(text)
    assert run(folder, result.stdout, "--folder", "copy").returncode == 0, "what is shown can be applied"
    assert tree(other) == {"a.txt": "one\n2\n", "b/new.txt": "new\n"}


def test_another_folder(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    result = run(tmp_path_factory.mktemp("elsewhere"), PATCH, "--folder", str(folder))
    assert result.returncode == 0, result.stderr
    assert tree(folder) == {"a.txt": "one\n2\n", "b/new.txt": "new\n"}


@pytest.mark.parametrize(
    ("patch", "words"),
    [
        (PATCH.replace("-two", "-twelve"), "Failed to find expected lines in a.txt"),
        (PATCH.replace("b/new.txt", "../new.txt"), "outside the workspace"),
        (PATCH.replace("*** End Patch\n", ""), "may be cut off"),
        ("--- a/a.txt\n+++ b/a.txt\n@@ -1,2 +1,2 @@\n-one\n", "may be cut off"),
        (b"*** Begin Patch\n\xff\n", "not UTF-8"),
        ("", "nothing to change"),
        ("Please.", "This is not a patch"),
    ],
)
def test_a_patch_that_is_refused_gives_the_reason_and_changes_nothing(
    folder: Path, patch: str | bytes, words: str
) -> None:
    before = tree(folder)
    result = run(folder, patch)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith("harmony-ls: ")
    assert words in result.stderr
    assert "Traceback" not in result.stderr
    assert tree(folder) == before


def test_a_missing_folder_is_a_mistake_in_the_command(folder: Path) -> None:
    result = run(folder, PATCH, "--folder", "nowhere")
    assert (result.returncode, result.stdout) == (2, "")
    assert "nowhere" in result.stderr


def test_it_explains_itself(folder: Path) -> None:
    result = run(folder, "", "--help")
    assert result.returncode == 0
    assert "--dry-run" in result.stdout
