"""Commands whose standard streams are closed, or lead where nothing can be written."""

import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.cli.conftest import GptOss
from tests.models import Rule
from tests.session.support import final, said


@pytest.fixture(scope="session")
def model(gpt_oss: GptOss) -> Path:
    return gpt_oss(Rule(said("Hello"), final("Hi there.")))


def run(model: Path, environment: Mapping[str, str], command: str, streams: str) -> "subprocess.CompletedProcess[str]":
    arguments = [sys.executable, "-m", "harmony_ls", command, "--model", str(model), "--trust-remote-code"]
    return subprocess.run(
        ["sh", "-c", f"exec {shlex.join([*arguments, '--temperature', '0'])} {streams}"],
        env={**os.environ, **environment},
        input="Hello",
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(
    ("command", "streams", "exit_code", "answer", "words"),
    [
        ("chat", "<&-", 1, "", "harmony-ls: Nothing came on stdin. "),
        ("generate", "<&-", 1, "", "harmony-ls: The prompt is empty: "),
        ("chat", ">&-", 0, "", ""),
        ("generate", ">&-", 0, "", ""),
        ("chat", "2>&-", 0, "Hi there.\n", ""),
        ("generate", "2>&-", 0, "Hi there.\n", ""),
        ("chat", ">/dev/full", 1, "", "harmony-ls: No space left on device. The answer could not be written.\n"),
        ("generate", ">/dev/full", 1, "", "harmony-ls: No space left on device. The answer could not be written.\n"),
    ],
)
def test_a_stream_that_is_not_there_is_no_traceback(
    model: Path,
    own_environment: Mapping[str, str],
    command: str,
    streams: str,
    exit_code: int,
    answer: str,
    words: str,
) -> None:
    result = run(model, own_environment, command, streams)
    assert (result.returncode, result.stdout) == (exit_code, answer), result.stderr
    assert result.stderr.startswith(words)
    assert bool(result.stderr) is bool(words)
    assert "Traceback" not in result.stderr
