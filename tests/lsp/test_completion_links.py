"""Completions in a document that is a link: it is judged as the file that it leads to. The disk is read on a thread."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest_asyncio
from lsprotocol import types

from harmony_ls.features.inline.request import Reason
from harmony_ls.lsp.backend import Backend
from harmony_ls.lsp.completion.inline_completion import offer_at
from harmony_ls.lsp.documents.documents import Change
from harmony_ls.lsp.documents.text import Position
from harmony_ls.lsp.server import HarmonyServer
from harmony_ls.settings import Source, resolve
from tests.lsp.peer import PATIENCE

CODE = "def add(first, second):\n    return "
OFFERED = ["first + second"]
END = types.Position(line=1, character=11)


@pytest_asyncio.fixture
async def server(adding_model: Path) -> AsyncIterator[HarmonyServer]:
    settings = {"model": str(adding_model), "trustRemoteCode": True, "inlineCompletion": {"deadlineMs": 10_000}}
    server = HarmonyServer(Backend(), settings, on_exit=lambda _code: None)
    yield server
    server.close()
    await server.backend.close(PATIENCE)


async def asked(server: HarmonyServer, uri: str) -> list[str] | Reason | None:
    """What is offered at the end of the second line, or why nothing is."""
    offer, items = await offer_at(server, uri, END, lambda completion: completion.text, invoked=True)
    return items or offer.reason


def opened(server: HarmonyServer, path: Path) -> str:
    server.documents.open(path.as_uri(), "python", 1, CODE)
    return path.as_uri()


def typed(server: HarmonyServer, uri: str) -> None:
    """A change below the place that is asked about, which leaves it what it is."""
    document = server.documents.get(uri)
    assert document is not None
    end = Position(document.text.n_lines, 0)
    server.documents.change(uri, (document.version or 0) + 1, [Change("\n", end, end)])


async def test_a_link_to_an_excluded_file_is_that_file(server: HarmonyServer, tmp_path: Path) -> None:
    (tmp_path / "vault").mkdir()
    (tmp_path / "vault" / "production").write_text(CODE)
    (tmp_path / ".env").symlink_to("vault/production")
    (tmp_path / "notes.txt").symlink_to(".env")
    (tmp_path / "later.txt").symlink_to(".env.local")
    (tmp_path / ".ssh").mkdir()
    (tmp_path / "keys").symlink_to(".ssh")
    (tmp_path / "code.py").write_text(CODE)
    (tmp_path / "other.py").symlink_to("code.py")
    (tmp_path / "loop.py").symlink_to("loop.py")
    for name in (".env", "notes.txt", "later.txt", "keys/new"):
        assert await asked(server, opened(server, tmp_path / name)) is Reason.EXCLUDED_FILE, name
    for name in ("code.py", "other.py", "loop.py", "vault/production", "new/deep.py"):
        assert await asked(server, opened(server, tmp_path / name)) == OFFERED, name
    for uri in ("untitled:Untitled-1", "vscode-remote://host/tmp/a.py", "file:code.py", "file:///half\ud83d.py"):
        server.documents.open(uri, "python", 1, CODE)
        assert await asked(server, uri) == OFFERED, uri


async def test_a_link_that_comes_later_is_seen_and_one_that_goes_is_remembered(
    server: HarmonyServer, tmp_path: Path
) -> None:
    """The editor shows the secret for as long as the document is open, whatever becomes of the link."""
    (tmp_path / "notes.txt").write_text(CODE)
    uri = opened(server, tmp_path / "notes.txt")
    assert await asked(server, uri) == OFFERED
    (tmp_path / "notes.txt").unlink()
    (tmp_path / "notes.txt").symlink_to(".env")
    typed(server, uri)
    assert await asked(server, uri) is Reason.EXCLUDED_FILE
    (tmp_path / "notes.txt").unlink()
    typed(server, uri)
    assert await asked(server, uri) is Reason.EXCLUDED_FILE
    server.documents.close(uri)
    server.forget(uri)
    assert await asked(server, opened(server, tmp_path / "notes.txt")) == OFFERED


async def test_a_document_that_was_renamed_is_another_one(server: HarmonyServer, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").symlink_to(".env")
    uri = opened(server, tmp_path / "notes.txt")
    assert await asked(server, uri) is Reason.EXCLUDED_FILE
    (tmp_path / "notes.txt").rename(tmp_path / "renamed.txt")
    server.documents.close(uri)
    assert await asked(server, opened(server, tmp_path / "renamed.txt")) is Reason.EXCLUDED_FILE
    assert await asked(server, opened(server, tmp_path / "notes.txt")) == OFFERED


@contextmanager
def disk_that_does_not_answer() -> Iterator[threading.Event]:
    """All threads that look at the disk are at work until the event is set."""
    answers, executor = threading.Event(), ThreadPoolExecutor(1)
    asyncio.get_running_loop().set_default_executor(executor)
    executor.submit(answers.wait)
    try:
        yield answers
    finally:
        answers.set()


async def test_a_disk_that_does_not_answer_holds_up_nothing_else(server: HarmonyServer, tmp_path: Path) -> None:
    uri = opened(server, tmp_path / "code.py")
    assert await asked(server, uri) == OFFERED
    server.documents.open("untitled:1", "python", 1, CODE)
    with disk_that_does_not_answer() as answers:
        assert await asked(server, uri) == OFFERED, "nothing has changed since it was looked at"
        typed(server, uri)
        older = asyncio.create_task(asked(server, uri))
        assert await asked(server, "untitled:1") == OFFERED
        typed(server, uri)
        newer = asyncio.create_task(asked(server, uri))
        assert await asked(server, "untitled:1") == OFFERED
        assert not older.done()
        assert not newer.done()
        answers.set()
        assert (await older, await newer) == (Reason.SUPERSEDED, OFFERED)


async def test_the_deadline_holds_while_the_disk_does_not_answer(server: HarmonyServer, tmp_path: Path) -> None:
    uri = opened(server, tmp_path / "code.py")
    assert await asked(server, uri) == OFFERED
    typed(server, uri)
    quick = Source("the editor's settings", {"inlineCompletion": {"deadlineMs": 50}})
    server.configuration.resolved = resolve([quick], server.configuration.resolved)
    with disk_that_does_not_answer():
        offer, items = await offer_at(server, uri, END, lambda completion: completion.text, invoked=False)
        assert (items, offer.reason) == ([], Reason.TIMED_OUT)
        assert offer.detail == "The deadline passed before the disk said which file this is."
