"""The document store and the handshake by themselves.

Tests named d77 to d94 are numbered robustness cases.
"""

import json
import logging
from pathlib import Path

import pytest

from harmony_ls.lsp.connection.framing import encode
from harmony_ls.lsp.connection.handshake import Greeter, initialize_result
from harmony_ls.lsp.documents.documents import Change, Documents, path_of
from harmony_ls.lsp.documents.text import Position

URI = "file:///d.py"


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("file:///a/b.py", "/a/b.py"),
        ("file:///a%20b/%C3%A9.py", "/a b/é.py"),
        ("file:///a/b#c?d.py", "/a/b#c?d.py"),
        ("file:///a/b%23c%3Fd.py", "/a/b#c?d.py"),
        ("file://localhost/a.py", "/a.py"),
        ("file://server/share/a.py", "//server/share/a.py"),
        ("file:///a%00b.py", None),
        ("file:///half\ud83d.py", None),
        ("file:///latin\udce9.py", "/latin\udce9.py"),
        ("untitled:Untitled-1", None),
        ("vscode-notebook-cell:/a.ipynb#1", None),
        ("https://example.org/a.py", None),
        ("file://[broken/a.py", None),
        ("", None),
    ],
)
def test_paths(uri: str, path: str | None) -> None:
    assert path_of(uri) == path


def test_paths_come_back(tmp_path: Path) -> None:
    path = tmp_path / "with blanks é # ? %41.py"
    assert path_of(path.as_uri()) == str(path)


def test_snapshots() -> None:
    documents = Documents()
    documents.open(URI, "python", 1, "x = '\ud83d'")
    document = documents.get(URI)
    assert document is not None
    before = document.snapshot()
    documents.change(URI, 2, [Change("y", Position(0, 0), Position(0, 1))])
    after = document.snapshot()
    assert (before.text, before.version) == ("x = '\ufffd'", 1)
    assert (after.text, after.version, after.path) == ("y = '\ufffd'", 2, "/d.py")
    assert document.snapshot() is after
    documents.change(URI, 3, [Change("é👍")])
    assert document.snapshot().text == "é👍"
    documents.close(URI)
    assert documents.get(URI) is None


def test_d84_faults_are_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    documents = Documents()
    documents.open(URI, "python", 5, "abc")
    for version in (5, 4, 3):
        documents.change(URI, version, [Change("z", Position(9, 9), Position(9, 9))])
        documents.change("file:///unopened", version, [Change("")])
    assert caplog.text.count("came after version") == 1
    assert caplog.text.count("outside the text") == 1
    assert caplog.text.count("without being open") == 1


def test_gaps_between_versions_are_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    """Neovim counts its own changes and sends them in batches; the end of the text has two names."""
    caplog.set_level(logging.WARNING)
    documents = Documents()
    documents.open(URI, "python", 1, "a\nb\n")
    documents.change(URI, 7, [Change("", Position(1, 0), Position(3, 0))])
    assert str(documents.get(URI).text) == "a\n"  # type: ignore[union-attr]
    assert caplog.text == ""


def test_distrust_ends_with_a_whole_text() -> None:
    documents = Documents()
    documents.open(URI, "python", 1, "a")
    documents.distrust(URI)
    documents.distrust("file:///unopened")
    document = documents.get(URI)
    assert document is not None
    documents.change(URI, 2, [Change("b", Position(0, 0), Position(0, 0))])
    assert not document.in_sync
    documents.change(URI, 3, [Change("c")])
    assert document.in_sync


def test_cells_of_a_notebook_whose_edit_was_lost() -> None:
    documents = Documents()
    for uri in ("first", "second", "other", "plain"):
        documents.open(uri, "python", 1, "x")
    documents.open_cells("notebook", ["first", "second"])
    documents.open_cells("another", ["other"])
    documents.close_cells("notebook", ["second"])

    def trusted() -> set[str]:
        return {document.uri for document in documents if document.in_sync}

    documents.distrust_notebook("notebook")
    assert trusted() == {"second", "other", "plain"}
    documents.distrust_notebook(None)
    assert trusted() == {"second", "plain"}, "nobody knows of which notebook it was"


class Listener:
    def __init__(self) -> None:
        self.heard: list[tuple[str, bool]] = []

    def document_changed(self, uri: str, *, was_opened: bool = False) -> None:
        self.heard.append((uri, was_opened))


def test_listeners_hear_of_everything_while_someone_holds_them() -> None:
    documents = Documents()
    listener, forgotten = Listener(), Listener()
    heard = forgotten.heard
    documents.listen(listener)
    documents.listen(forgotten)
    del forgotten
    documents.open(URI, "python", 1, "a")
    documents.change(URI, 2, [Change("b")])
    documents.distrust(URI)
    documents.close(URI)
    documents.close(URI)
    documents.change(URI, 3, [Change("c")])
    assert listener.heard == [(URI, True), (URI, False), (URI, False), (URI, False)]
    assert heard == []


INITIALIZE = {"jsonrpc": "2.0", "id": 3, "method": "initialize", "params": {"processId": None, "capabilities": {}}}


def test_greeting_in_pieces() -> None:
    data = encode(INITIALIZE)
    greeter = Greeter()
    answers = [greeter.greet(data[number : number + 1]) for number in range(len(data))]
    assert answers[:-1] == [None] * (len(data) - 1)
    answer = json.loads(answers[-1].partition(b"\r\n\r\n")[2])  # type: ignore[union-attr]
    assert answer == {"jsonrpc": "2.0", "id": 3, "result": initialize_result(INITIALIZE["params"])}  # type: ignore[arg-type]
    assert greeter.answered == 3
    assert greeter.greet(encode(INITIALIZE)) is None


@pytest.mark.parametrize(
    "first",
    [
        INITIALIZE | {"method": "shutdown"},
        INITIALIZE | {"id": None},
        INITIALIZE | {"id": True},
        INITIALIZE | {"jsonrpc": "1.0"},
        INITIALIZE | {"params": []},
        INITIALIZE | {"params": {"capabilities": {}, "processId": "1"}},
        INITIALIZE | {"params": {"capabilities": None}},
        [],
        "hello",
    ],
    ids=str,
)
def test_what_is_no_ordinary_beginning_is_left_to_the_server(first: object) -> None:
    greeter = Greeter()
    assert greeter.greet(encode(first)) is None
    assert greeter.greet(encode(INITIALIZE)) is None
    assert greeter.answered is None
