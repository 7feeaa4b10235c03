"""What is typed: messages of several lines, the history, files that go along, words that complete themselves."""

import json
from pathlib import Path

import pytest

from harmony_ls.cli.chat.attachments import attachment, paths_of, with_attachments
from harmony_ls.cli.chat.commands import COMMANDS, completions
from harmony_ls.cli.chat.history import InputHistory
from harmony_ls.cli.chat.input import is_open
from harmony_ls.errors import UserError


@pytest.mark.parametrize(
    ("message", "goes_on"),
    [
        ("one line", False),
        ("first \\", True),
        ("first \\\nsecond", False),
        ("C:\\\\", False),
        ("```python", True),
        ("```python\nprint()", True),
        ("```python\nprint()\n```", False),
        ("```python\nprint()\n```\nand more", False),
        ("explain ```this``` to me", False),
        ("```this``` is code", False),
        ("   ```\nx", True),
        ("", False),
    ],
)
def test_where_a_message_goes_on(message: str, goes_on: bool) -> None:
    assert is_open(message) is goes_on


def test_the_history_is_private_and_comes_back(tmp_path: Path) -> None:
    file = tmp_path / "state" / "history.jsonl"
    history = InputHistory(file)
    assert [history.add(entry) for entry in ("one", "two\nlines", "two\nlines", " ", "x" * 20_000, "ü\u2028")] == [
        True, True, False, False, False, True,
    ]  # fmt: skip
    assert InputHistory(file).entries == ["one", "two\nlines", "ü\u2028"]
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_history_that_others_could_read_is_closed(tmp_path: Path) -> None:
    file = tmp_path / "history.jsonl"
    file.write_text('"old"\nbroken\n3\n')
    file.chmod(0o644)
    history = InputHistory(file)
    assert history.entries == ["old"]
    history.add("new")
    assert file.stat().st_mode & 0o777 == 0o600


def test_the_history_does_not_grow_without_end(tmp_path: Path) -> None:
    file = tmp_path / "history.jsonl"
    file.write_text("".join(f"{json.dumps(f'entry {n}')}\n" for n in range(1500)))
    assert InputHistory(file).entries == [f"entry {n}" for n in range(500, 1500)]
    assert len(file.read_text().splitlines()) == 1000
    assert [path.name for path in tmp_path.iterdir()] == ["history.jsonl"]


def test_without_a_place_to_write_the_history_lasts_as_long_as_the_program(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    history = InputHistory(tmp_path / "file" / "history.jsonl")
    assert "is not remembered" in history.fault
    assert history.add("one")
    assert history.entries == ["one"]


def test_a_file_cannot_close_its_fence(tmp_path: Path) -> None:
    file = tmp_path / "notes.md"
    file.write_text("a\n````\nb\n````")
    assert attachment(file) == f"{file}:\n`````md\na\n````\nb\n````\n`````\n"
    assert with_attachments("What is it?", ["x:\n```\ny\n```\n"]) == "x:\n```\ny\n```\n\nWhat is it?"


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "No such file"), (b"\xff\xfe", "not text in UTF-8"), (b"a\0b", "binary"), (b"x" * 1_000_001, "too large")],
)
def test_what_is_no_text_is_refused_with_the_reason(tmp_path: Path, content: bytes | None, reason: str) -> None:
    file = tmp_path / "file"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UserError, match=reason):
        attachment(file)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is a folder"):
        attachment(tmp_path)


def test_paths_may_have_blanks() -> None:
    assert paths_of("a.py 'b c.py' d\\ e.py") == [Path("a.py"), Path("b c.py"), Path("d e.py")]
    with pytest.raises(UserError, match="quote"):
        paths_of("it's")


def test_commands_and_their_arguments_complete_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.md").write_text("")
    (tmp_path / "node").mkdir()
    assert completions("/e", ()) == ["/effort ", "/exit "]
    assert completions("/effort h", ()) == ["high"]
    assert completions("/tools ap", ("apply_patch",)) == ["apply_patch"]
    assert completions("/tools apply_patch a", ("apply_patch",)) == ["ask", "allow"]
    assert completions("/file no", ()) == ["node/", "notes.md"]
    assert completions("what is /e", ()) == completions("//e", ()) == completions("", ()) == []


def test_every_command_says_what_it_does() -> None:
    assert all(command.name.startswith("/") and command.meaning for command in COMMANDS)
    assert len({command.name for command in COMMANDS}) == len(COMMANDS)
