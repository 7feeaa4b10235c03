"""Code actions whose documents change on the way, that are chosen twice, given up early, or asked with odd numbers."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from harmony_ls.lsp.client import ResponseError
from harmony_ls.lsp.documents.text import Position, PositionEncoding
from tests.lsp.acting import (
    ACTING,
    CANCELLED,
    CONTENT_MODIFIED,
    INVALID_PARAMS,
    INVOKED,
    REQUEST_FAILED,
    acting,
    actions,
    applied,
    asked,
    diagnostic,
    error_of,
    fresh_uri,
    named,
    place,
    resolved,
)
from tests.lsp.peer import PATIENCE, Peer

pytestmark = pytest.mark.asyncio(loop_scope="module")

BROKEN = "import os\n\n\ndef area(width, height):\n    return width * heigth\n\n\nprint(area(2, 3))\n"
MENDED = BROKEN.replace("heigth", "height")
FUNCTION = "def area(width, height):\n    return width * height\n"
IMPORT = "from area import area\n"
TESTS = "def test_area() -> None:\n    assert area(1, 2) == 2\n"
RULES = [
    asked("fix", f"```python\n{FUNCTION}```\n"),
    asked("improve", "```js\nconst s = '🙂🙂' + b\n```", before="+ a\n```\n\n"),
    asked("fix_all", f"```python\n{MENDED}```"),
    asked("fix_all", f"```python\n{FUNCTION}```", before="undefined\n```\n\n"),
    asked("fix_all", "What is it?", before="nowhere\n```\n\n"),
    asked("simplify", "I cannot do that without knowing what `heigth` is."),
    asked("write_tests", f"```python\n{IMPORT}\n\n{TESTS}```"),
]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("workspace")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def peer(
    tmp_path_factory: pytest.TempPathFactory, harmony_vocabulary_folder: Path, workspace: Path
) -> AsyncIterator[Peer]:
    folder = tmp_path_factory.mktemp("odd")
    async with acting(folder, harmony_vocabulary_folder, RULES, workspace=workspace) as peer:
        yield peer
        assert await peer.shutdown() == 0
        assert not peer.surplus


async def fix_of(peer: Peer, uri: str) -> dict[str, Any]:
    return named(await actions(peer, uri, place((4, 20)), diagnostics=[diagnostic((4, 19), (4, 25))]), "quickfix")


async def edits_of(peer: Peer, action: dict[str, Any]) -> list[dict[str, Any]]:
    [change] = (await resolved(peer, action))["documentChanges"]
    edits: list[dict[str, Any]] = change["edits"]
    return edits


# What changes on the way


async def test_another_document_of_the_same_name_and_version(peer: Peer) -> None:
    """Opened again, a document may have the version that it had: the place of a cursor says nothing of its text."""
    uri = fresh_uri()
    peer.open(uri, BROKEN)
    action = await fix_of(peer, uri)
    peer.close_document(uri)
    peer.open(uri, f"# Another.\n{BROKEN}")
    assert (await error_of(peer, action)).code == CONTENT_MODIFIED
    peer.close_document(uri)
    peer.open(uri, BROKEN)
    assert applied(BROKEN, await edits_of(peer, action)) == MENDED, "it is the same again"


async def test_an_action_of_a_closed_document(peer: Peer) -> None:
    uri = fresh_uri()
    peer.open(uri, BROKEN)
    action = await fix_of(peer, uri)
    peer.close_document(uri)
    assert (await error_of(peer, action)).code == CONTENT_MODIFIED


@pytest.mark.parametrize("step", [-1, 1])
async def test_a_version_that_is_off_by_one(peer: Peer, step: int) -> None:
    uri = fresh_uri()
    peer.open(uri, BROKEN)
    peer.change(uri, Position(0, 0), Position(0, 0), "")
    action = await fix_of(peer, uri)
    assert action["data"]["version"] == 2
    assert (await error_of(peer, action | {"data": action["data"] | {"version": 2 + step}})).code == CONTENT_MODIFIED


async def test_closing_the_document_ends_the_work(peer: Peer) -> None:
    uri = fresh_uri()
    peer.open(uri, BROKEN)
    number = peer.send_request("codeAction/resolve", await fix_of(peer, uri))
    peer.close_document(uri)
    assert (await peer.wait_for_answer(number))["error"]["code"] == CONTENT_MODIFIED


async def test_changes_of_other_documents_do_not_matter(peer: Peer) -> None:
    uri, other = fresh_uri(), fresh_uri()
    peer.open(uri, BROKEN)
    peer.open(other, "x = 1\n")
    number = peer.send_request("codeAction/resolve", await fix_of(peer, uri))
    peer.change(other, Position(0, 0), Position(0, 0), "# ")
    answer = await peer.wait_for_answer(number)
    assert applied(BROKEN, answer["result"]["edit"]["documentChanges"][0]["edits"]) == MENDED


async def test_tests_that_change_on_disk_while_the_model_writes(peer: Peer, workspace: Path) -> None:
    """No version could make the editor refuse them where the file is not open."""
    (workspace / "area.py").write_text(FUNCTION)
    tests = workspace / "test_area.py"
    tests.write_text(IMPORT)
    uri = (workspace / "area.py").as_uri()
    peer.open(uri, FUNCTION)
    action = named(await actions(peer, uri, place((0, 5))), "refactor.harmony.writeTests")
    n_seen = len(peer.notifications)
    number = peer.send_request("codeAction/resolve", action)
    await told(peer, n_seen, "Writing")
    tests.write_text(f"# Not yours.\n\n\n{IMPORT}")
    error = (await peer.wait_for_answer(number))["error"]
    assert error["code"] == REQUEST_FAILED
    assert "test_area.py was changed in the meantime" in error["message"]
    [change] = (await resolved(peer, action))["documentChanges"]
    assert applied(tests.read_text(), change["edits"]) == f"{tests.read_text()}\n\n{TESTS}"


async def test_a_file_of_tests_that_comes_while_the_model_writes(peer: Peer, workspace: Path) -> None:
    (workspace / "circle.py").write_text(FUNCTION)
    uri = (workspace / "circle.py").as_uri()
    peer.open(uri, FUNCTION)
    action = named(await actions(peer, uri, place((0, 5))), "refactor.harmony.writeTests")
    n_seen = len(peer.notifications)
    number = peer.send_request("codeAction/resolve", action)
    await told(peer, n_seen, "Writing")
    tests = workspace / "test_circle.py"
    tests.write_text("# Mine.\n")
    error = (await peer.wait_for_answer(number))["error"]
    assert "test_circle.py was changed in the meantime" in error["message"]
    assert tests.read_text() == "# Mine.\n"


# Chosen twice, and given up


async def test_actions_that_are_chosen_at_once(peer: Peer) -> None:
    one, other = fresh_uri(), fresh_uri()
    peer.open(one, BROKEN)
    peer.open(other, f"{BROKEN}# The other.\n")
    chosen = [await fix_of(peer, one), await fix_of(peer, other), await fix_of(peer, one)]
    waiting = [peer.send_request("codeAction/resolve", action) for action in chosen]
    for number, text in zip(waiting, (BROKEN, f"{BROKEN}# The other.\n", BROKEN), strict=True):
        answer = await peer.wait_for_answer(number)
        [change] = answer["result"]["edit"]["documentChanges"]
        assert applied(text, change["edits"]) == text.replace("heigth", "height")


async def test_an_action_that_is_resolved_twice(peer: Peer) -> None:
    uri = fresh_uri()
    peer.open(uri, BROKEN)
    answer = await peer.request("codeAction/resolve", await fix_of(peer, uri))
    assert await peer.request("codeAction/resolve", answer) == answer


@pytest.mark.parametrize("stage", [None, "begin", "Reading", "Writing"])
async def test_an_action_is_given_up_at_any_stage(peer: Peer, stage: str | None) -> None:
    uri = fresh_uri()
    peer.open(uri, BROKEN)
    action, n_seen = await fix_of(peer, uri), len(peer.notifications)
    number = peer.send_request("codeAction/resolve", action)
    if stage is not None:
        await told(peer, n_seen, stage)
    peer.cancel(number)
    answer = await peer.wait_for_answer(number)
    assert "result" in answer or answer["error"]["code"] == CANCELLED
    assert applied(BROKEN, await edits_of(peer, action)) == MENDED
    values = [params["value"]["kind"] for method, params in peer.notifications[n_seen:] if method == "$/progress"]
    assert values.count("begin") == values.count("end")


async def test_what_cannot_be_done_is_said(peer: Peer) -> None:
    uri = fresh_uri()
    peer.open(uri, BROKEN)
    action = named(await actions(peer, uri, place((4, 4))), "refactor.rewrite.harmony.simplify")
    with pytest.raises(ResponseError, match="It said: I cannot do that without knowing"):
        await resolved(peer, action)


async def test_what_was_left_is_said_with_its_reason(peer: Peer) -> None:
    """In one message, and only where the rest is mended; it comes before the edit does."""
    uri = fresh_uri()
    text = BROKEN + "value = 1\n" * 100 + "print(undefined)\n"
    peer.open(uri, text)
    problems = [diagnostic((4, 19), (4, 25), "undefined"), diagnostic((108, 6), (108, 15), "nowhere")]
    action = named(
        await actions(peer, uri, place((0, 0), (109, 0)), diagnostics=problems, only=["source.fixAll.harmony"]),
        "source.fixAll.harmony",
    )
    n_seen = len(peer.notifications)
    assert applied(text, await edits_of(peer, action)) == text.replace("heigth", "height")
    shown = [params for method, params in peer.notifications[n_seen:] if method == "window/showMessage"]
    says = "1 of 2 problems could not be fixed.\nLine 109 (nowhere): The model made no edit. It said: What is it?"
    assert shown == [{"type": 2, "message": says}]


async def told(peer: Peer, n_seen: int, stage: str) -> None:
    """Wait until the progress of an action shows a stage."""
    async with asyncio.timeout(PATIENCE):
        while True:
            for method, params in peer.notifications[n_seen:]:
                value = params.get("value", {}) if method == "$/progress" else {}
                if stage in (value.get("kind"), value.get("message")):
                    return
            await peer.next_messages()


# Odd numbers


async def test_thousands_of_diagnostics(peer: Peer) -> None:
    """Those at the place come first, and the action is bound to what it mends. No more than that is even read."""
    uri = fresh_uri()
    peer.open(uri, BROKEN)
    far = [diagnostic((7, 0), (7, 5), f"far {number}", severity="odd") for number in range(5000)]
    near = [diagnostic((4, 19), (4, 25), "near", severity=1)]
    [action] = await actions(peer, uri, place((4, 20)), diagnostics=far + near, only=["quickfix"])
    assert action["title"] == "Fix 100 problems with harmony-ls"
    assert [each["message"] for each in action["diagnostics"][:2]] == ["near", "far 0"]
    assert len(action["diagnostics"]) == len(action["data"]["diagnostics"]) == 100
    [action] = await actions(peer, uri, place((0, 0), (8, 0)), diagnostics=near + far, only=["source.fixAll.harmony"])
    assert applied(BROKEN, await edits_of(peer, action)) == MENDED


async def test_a_diagnostic_with_a_whole_novel(peer: Peer) -> None:
    uri = fresh_uri()
    peer.open(uri, BROKEN)
    problem = diagnostic((4, 19), (4, 25), "novel " * 100_000)
    [action] = await actions(peer, uri, place((4, 20)), diagnostics=[problem], only=["quickfix"])
    assert len(action["title"]) < 100
    assert len(action["data"]["diagnostics"][0][2]) == 1000
    assert applied(BROKEN, await edits_of(peer, action)) == MENDED


@pytest.mark.parametrize("end", [2**31, 2**53, 1.7976931348623157e308, -1, 25.0])
async def test_numbers_beyond_the_protocols(peer: Peer, end: float) -> None:
    """Servers send the greatest number that they know for the end of a line."""
    uri = fresh_uri()
    peer.open(uri, BROKEN)
    where = {"start": {"line": 4, "character": 4}, "end": {"line": 4, "character": end}}
    params = {
        "textDocument": {"uri": uri},
        "range": where,
        "context": {"diagnostics": [{"range": where, "message": "x"}], "triggerKind": INVOKED},
    }
    action = named(await peer.request("textDocument/codeAction", params), "quickfix")
    assert applied(BROKEN, await edits_of(peer, action)) == MENDED


async def test_an_edit_up_to_the_greatest_number(peer: Peer) -> None:
    """The document stays the client's, and actions work on it."""
    uri = fresh_uri()
    peer.open(uri, "something else\n")
    everything = {"start": {"line": 0, "character": 0}, "end": {"line": 2**32 - 1, "character": 2**32 - 1}}
    peer.notify(
        "textDocument/didChange",
        {"textDocument": {"uri": uri, "version": 2}, "contentChanges": [{"range": everything, "text": BROKEN}]},
    )
    assert applied(BROKEN, await edits_of(peer, await fix_of(peer, uri))) == MENDED


@pytest.mark.parametrize("where", [None, {}, {"start": 1, "end": 2}, {"start": {"line": "0"}, "end": {}}, []])
async def test_a_place_that_is_none_is_refused(peer: Peer, where: Any) -> None:
    uri = fresh_uri()
    peer.open(uri, BROKEN)
    contexts: list[Any] = [{"diagnostics": []}, None, []]
    for context in contexts:
        with pytest.raises(ResponseError) as failed:
            await peer.request(
                "textDocument/codeAction", {"textDocument": {"uri": uri}, "range": where, "context": context}
            )
        assert failed.value.code == INVALID_PARAMS


@pytest.mark.parametrize("numbers", [[0, 0, 0], ["x", 0, 0, 0], [None] * 4])
async def test_data_with_numbers_that_are_none(peer: Peer, numbers: list[Any]) -> None:
    uri = fresh_uri()
    peer.open(uri, BROKEN)
    action = await fix_of(peer, uri)
    raw = {"title": "x", "data": action["data"] | {"range": numbers}}
    assert (await error_of(peer, raw)).code == INVALID_PARAMS


@pytest.mark.parametrize("encoding", list(PositionEncoding))
async def test_positions_are_in_the_encoding_of_the_client(
    tmp_path: Path, harmony_vocabulary_folder: Path, encoding: PositionEncoding
) -> None:
    capabilities = ACTING | {"general": {"positionEncodings": [encoding.value]}}
    async with acting(tmp_path, harmony_vocabulary_folder, RULES, capabilities=capabilities) as peer:
        assert peer.encoding is encoding
        uri = fresh_uri("js")
        text = "const b = '🙂'\r\nconst s = '🙂🙂' + a"
        peer.open(uri, text, "javascript")
        action = named(await actions(peer, uri, place((1, 0), (1, 99))), "refactor.rewrite.harmony.improve")
        [edit] = await edits_of(peer, action)
        column = {PositionEncoding.UTF_8: 23, PositionEncoding.UTF_16: 19, PositionEncoding.UTF_32: 17}[encoding]
        assert edit == {"range": place((1, column), (1, column + 1)), "newText": "b"}
        assert applied(text, [edit], encoding) == text[:-1] + "b"
        assert await peer.shutdown() == 0
