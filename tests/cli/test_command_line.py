"""The command as a person starts it: by name and by ``python -m``, its version, its help, and its mistakes."""

import os
import subprocess
import sys
from functools import cache
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path

import pytest

COMMANDS = ("lsp", "chat", "generate", "apply-patch", "demo", "doctor", "bench")


@cache
def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "harmony_ls", *arguments]
    environment = os.environ | {"NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "100"}
    return subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60
    )


def test_the_version_is_that_of_the_package() -> None:
    result = run("--version")
    assert (result.returncode, result.stdout, result.stderr) == (0, f"{version('harmony-ls')}\n", "")


def test_the_installed_command_is_the_same() -> None:
    command = Path(sys.executable).with_name("harmony-ls")
    result = subprocess.run([command, "--version"], capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stdout) == (0, f"{version('harmony-ls')}\n")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str) -> None:
    assert command in run("--help").stdout
    result = run(command, "--help")
    assert result.returncode == 0, result.stderr
    assert result.stdout.lstrip().startswith(("Usage:", "usage:"))


@pytest.mark.parametrize("command", ["chat", "generate", "apply-patch"])
def test_help_fills_the_lines_and_gives_a_flag_no_value(command: str) -> None:
    told = run(command, "--help").stdout
    assert "<bool>" not in told
    before_options = told[: told.index("Options")]
    lines = [line for line in before_options.split("\n") if line.strip()]
    # A line that ends early begins no new sentence: the next word would have had room.
    for line, following in pairwise(lines):
        if not line.rstrip().endswith((".", "]")) and following.strip():
            assert len(line.rstrip()) + 1 + len(following.split()[0]) > 98


def test_without_a_command_the_help_is_shown() -> None:
    result = run()
    assert "Usage:" in result.stdout + result.stderr


@pytest.mark.parametrize("arguments", [("nonsense",), ("lsp", "--nonsense"), ("doctor", "--folder", "/no/such/folder")])
def test_a_mistake_is_named_and_is_no_traceback(arguments: tuple[str, ...]) -> None:
    result = run(*arguments)
    assert result.returncode == 2
    assert result.stdout == ""
    assert arguments[-1] in result.stderr
    assert "Traceback" not in result.stderr
