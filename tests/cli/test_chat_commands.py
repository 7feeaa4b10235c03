"""What commands refuse, and that what they refuse loses nothing and asks nothing."""

import io
from pathlib import Path

import pytest

from harmony_ls.cli.chat.commands import run_command
from harmony_ls.cli.chat.loop import Chat
from harmony_ls.errors import UserError
from harmony_ls.messages import Message, Role
from harmony_ls.session.history import History

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
