"""What commands refuse, and that what they refuse loses nothing and asks nothing."""

import io
import subprocess
import sys
from pathlib import Path

import pytest

from harmony_ls.cli.chat.commands import run_command
from harmony_ls.cli.chat.conversation import Chat
from harmony_ls.edits.changes import ChangeKind, FileChange
from harmony_ls.errors import UserError
from harmony_ls.messages import Message, Role
from harmony_ls.session.files import save_conversation
from harmony_ls.session.history import History
from harmony_ls.session.session import Session

TURN = (Message(Role.USER, "Hello"), Message(Role.ASSISTANT, "Hi."))


@pytest.fixture
def unsaved(chat: Chat) -> Chat:
    """A chat of one turn that is not saved."""
    chat.on_loop(lambda: setattr(chat.session, "history", History().with_turn(TURN)))
    chat.changes.append(())
    chat.is_saved = False
    return chat


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("/clear the table", "/clear takes nothing after it, so nothing was done"),
        ("/undo 3", "/undo takes nothing after it"),
        ("/quit smoking", "/exit takes nothing after it"),
        ("/save", "Name one file: /save FILE"),
        ("/save a b", "Name one file: /save FILE"),
        ("/save a\0b", "no NUL character"),
        ("/save ~nobody-of-this-name/a", "cannot be saved to ~nobody-of-this-name/a: No such file"),
        (f"/save {'x' * 300}", "File name too long"),
        ("/save .", "cannot be saved to .:"),
        ("/load nowhere.json", "nowhere.json cannot be read: No such file"),
        (f"/load {'x' * 300}", "File name too long"),
        ("/load .", "cannot be read: Is a directory"),
        ("/load /dev/zero", "/dev/zero is not a regular file. Name a file made by /save."),
        ("/file", "Name the files"),
        ("/file ~nobody-of-this-name/a", "cannot be read: No such file"),
        ("/file 'a", "Close the quote"),
        ("/tools shell off", "There is no tool shell"),
        ("/effort huge", "The effort is one of low, medium, high"),
        ("/nothing", "There is no command /nothing"),
    ],
)
def test_what_cannot_be_done_is_refused(
    line: str, words: str, unsaved: Chat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    with pytest.raises(UserError) as raised:
        run_command(unsaved, line)
    assert words in str(raised.value)
    assert unsaved.session.messages == TURN
    assert not unsaved.is_saved


def test_leaving_takes_one_word(unsaved: Chat) -> None:
    assert not run_command(unsaved, "/exit")
    assert not run_command(unsaved, " /QUIT ")


def test_a_turn_without_changes_is_taken_back_without_a_question(unsaved: Chat, paper: io.StringIO) -> None:
    run_command(unsaved, "/undo")
    assert paper.getvalue() == "Taken back: Hello\n"
    assert unsaved.session.messages == ()
    run_command(unsaved, "/undo")
    assert paper.getvalue().endswith("There is nothing to take back.\n")


def test_what_is_to_be_known_of_a_change_that_is_taken_back_is_told(
    unsaved: Chat, paper: io.StringIO, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.txt").write_text("one\n")
    unsaved.background.run(unsaved.workspace.apply([FileChange(ChangeKind.UPDATE, "a.txt", "one\n", "two\n")]))
    unsaved.changes[-1] = unsaved.workspace.change_sets
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait(timeout=60)
    left = tmp_path / f".harmony-ls-old-{process.pid}-0123456789abcdef.tmp"
    left.write_text("what a crash left\n")
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    run_command(unsaved, "/undo")
    told = paper.getvalue()
    assert "modified a.txt\n" in told
    assert f"{left.name} was left by a change that a crash broke off." in told
    assert (tmp_path / "a.txt").read_text() == "one\n"


@pytest.mark.parametrize(
    ("line", "kept"), [("/clear", "Nothing was cleared."), ("/load a.json", "Nothing was loaded.")]
)
def test_what_is_not_saved_is_left_only_by_a_yes(
    line: str, kept: str, unsaved: Chat, paper: io.StringIO, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    empty = Session(unsaved.session.chat_model, unsaved.settings.chat)
    save_conversation(tmp_path / "a.json", empty)
    for answer in ("n\n", "\n", ""):
        monkeypatch.setattr("sys.stdin", io.StringIO(answer))
        run_command(unsaved, line)
        assert paper.getvalue().splitlines()[-1] == kept
        assert unsaved.session.messages == TURN
        assert not unsaved.is_saved
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    run_command(unsaved, line)
    assert unsaved.session.messages == ()
    assert unsaved.is_saved


def test_where_nothing_would_be_lost_nothing_is_asked(
    unsaved: Chat, paper: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    run_command(unsaved, "/undo")
    run_command(unsaved, "/clear")
    unsaved.on_loop(lambda: setattr(unsaved.session, "history", History().with_turn(TURN)))
    unsaved.is_saved = True
    run_command(unsaved, "/clear")
    assert unsaved.session.messages == ()
    assert paper.getvalue().count("The conversation is empty.") == 2


def test_help_tells_what_is_kept_and_what_the_answers_mean(chat: Chat, paper: io.StringIO) -> None:
    run_command(chat, "/help")
    told = " ".join(paper.getvalue().split())
    assert "what is not saved is gone when you leave" in told
    assert "v switches the tool off in this chat" in told


def test_the_status_names_the_file_of_the_settings(chat: Chat, paper: io.StringIO, tmp_path: Path) -> None:
    run_command(chat, "/status")
    assert str(tmp_path / "config" / "harmony-ls" / "config.toml") in "".join(paper.getvalue().split())
