"""``.gitignore`` files are read as git reads them; where git is there, it is asked itself."""

import asyncio
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from harmony_ls.workspace.disk import DiskWorkspace
from harmony_ls.workspace.ignored import ignoring_rule

GIT = shutil.which("git")
RULES = [
    "*.log", "build/", "/top", "a/b", "**/deep", "a/**", "a/**/b", "!keep.log", "!a/b", "*", "!*/", "x?z", "[ab]c",
    "[!a]c", "[^a]c", "# comment", "\\#hash", "\\!bang", "trail ", "trail\\ ", "", "/", "**", "a*c", "dir/*", "!dir/b",
    "**/", "a/",
]  # fmt: skip
NAMES = [
    "a",
    "b",
    "ac",
    "bc",
    "x.log",
    "keep.log",
    "build",
    "top",
    "deep",
    "xyz",
    "dir",
    "#hash",
    "!bang",
    "trail",
    "trail ",
]


@pytest.mark.parametrize(
    "make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero"), Path.mkdir], ids=["pipe", "device", "folder"]
)
async def test_a_gitignore_that_is_no_file_says_nothing_and_holds_nobody_up(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    """Reading a pipe would wait for ever, and reading a device would never end."""
    make(tmp_path / ".gitignore")
    (tmp_path / "a.txt").write_text("one\n")
    workspace = DiskWorkspace([tmp_path])
    async with asyncio.timeout(30):
        assert (await workspace.read("a.txt")).text == "one\n"
        assert "a.txt" in await workspace.list_files()


def ignored_by_us(root: Path, path: str) -> bool:
    return ignoring_rule(root, path.split("/")) is not None


@pytest.mark.parametrize(
    ("rules", "ignored", "kept"),
    [
        ("*.log\n!keep.log\n", ["a.log", "sub/b.log"], ["keep.log", "sub/keep.log", "log"]),
        ("build/\n", ["build/x", "sub/build/x"], ["build"]),
        ("/top\n", ["top", "top/x"], ["sub/top"]),
        ("doc/*.txt\n", ["doc/a.txt"], ["doc/sub/a.txt", "sub/doc/a.txt"]),
        ("a/**/b\n", ["a/b", "a/x/b", "a/x/y/b/c"], ["b", "x/a/b"]),
        ("dir/\n!dir/kept\n", ["dir/kept"], []),
        ("dir/*\n!dir/kept\n", ["dir/x"], ["dir/kept"]),
        ("# *\n\\#x\r\ny \n", ["#x", "y"], ["z", "y "]),
        ("*a*a*a*a*a*a*a*a*a*a*a*b\n", [], ["a" * 250]),
    ],
)
def test_rules(tmp_path: Path, rules: str, ignored: list[str], kept: list[str]) -> None:
    (tmp_path / ".gitignore").write_bytes(rules.encode())
    assert [path for path in ignored + kept if ignored_by_us(tmp_path, path)] == ignored


def test_deeper_files_and_the_repository_above_count(tmp_path: Path) -> None:
    (tmp_path / ".git" / "info").mkdir(parents=True)
    (tmp_path / ".git" / "info" / "exclude").write_text("private\n")
    (tmp_path / ".gitignore").write_text("*.log\nroot/out\n")
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (root / "sub" / ".gitignore").write_text("!a.log\nonly\n")
    ignored = [
        path for path in ("x.log", "out/x", "private", "sub/a.log", "sub/only", "only") if ignored_by_us(root, path)
    ]
    assert ignored == ["x.log", "out/x", "private", "sub/only"]


def test_a_root_that_is_ignored_itself_was_opened_on_purpose(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / ".gitignore").write_text("root\n")
    (tmp_path / "root").mkdir()
    assert not ignored_by_us(tmp_path / "root", "a.txt")


@pytest.mark.skipif(GIT is None, reason="needs git")
@settings(max_examples=30, suppress_health_check=list(HealthCheck))
@example(top=["\\!bang"], inner=[], paths=[["!bang"]])
@given(
    top=st.lists(st.sampled_from(RULES), max_size=4),
    inner=st.lists(st.sampled_from(RULES), max_size=3),
    paths=st.lists(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4), min_size=1, max_size=12),
)
def test_git_says_the_same(
    tmp_path_factory: pytest.TempPathFactory, top: list[str], inner: list[str], paths: list[list[str]]
) -> None:
    root = tmp_path_factory.mktemp("git")
    environment = {"PATH": os.environ["PATH"], "HOME": str(root), "GIT_CONFIG_NOSYSTEM": "1"}
    subprocess.run([str(GIT), "init", "-q", root], env=environment, check=True, capture_output=True)
    (root / ".gitignore").write_text("\n".join(top))
    (root / "a").mkdir()
    (root / "a" / ".gitignore").write_text("\n".join(inner))
    names = sorted({"/".join(path) for path in paths} - {"a"})
    # A path below a name that is no folder on disk is looked at as if it were one.
    result = subprocess.run(
        [str(GIT), "check-ignore", "--no-index", "-z", "--stdin"],
        cwd=root, env=environment, input="\0".join(names).encode(), capture_output=True,
    )  # fmt: skip
    assert result.returncode in (0, 1), result.stderr
    expected = sorted(filter(None, result.stdout.decode().split("\0")))
    assert [name for name in names if ignored_by_us(root, name)] == expected
