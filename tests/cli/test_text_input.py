"""What a command reads as a whole: files and stdin, as UTF-8, up to a limit."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from harmony_ls.cli.text_input import read_text
from harmony_ls.errors import UserError


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    file = tmp_path / "-"  # a path, and not stdin
    file.write_text("naïve\r\n", encoding="utf-8-sig", newline="")
    assert read_text(file, 100) == "naïve\r\n"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "{} cannot be read: No such file or directory."),
        (b"x" * 2001, "{} is too large: it has more than 0.002 MB. Give only the part that matters."),
        (b"caf\xe9", "{} is not text in UTF-8: byte 3 is 0xe9. Convert it, for example with iconv."),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, content: bytes | None, words: str) -> None:
    file = tmp_path / "notes.txt"
    if content is not None:
        file.write_bytes(content)
    for source, called, name in ((file, "", str(file)), (str(file), "The file", "The file")):
        with pytest.raises(UserError) as raised:
            read_text(source, 2000, called=called)
        assert str(raised.value) == words.format(name)


@pytest.mark.parametrize("command", ["chat", "generate"])
def test_stdin_without_an_end_is_refused(command: str, own_environment: Mapping[str, str]) -> None:
    with open("/dev/zero", "rb") as endless:
        result = subprocess.run(
            [sys.executable, "-m", "harmony_ls", command, "--model", "./nowhere"],
            env={**os.environ, **own_environment},
            stdin=endless,
            capture_output=True,
            text=True,
        )
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == (
        "harmony-ls: What came on stdin is too large: it has more than 64 MB. Give only the part that matters.\n"
    )
