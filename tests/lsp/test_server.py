"""The whole server as an editor sees it: a process over stdio with a model that answers from a table.

Tests named d77 to d94 are numbered robustness cases.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from harmony_ls.lsp.client import AUTOMATIC, EDITOR_CAPABILITIES, INVOKED
from harmony_ls.lsp.documents.text import Position
from tests.lsp.peer import PATIENCE, Peer, handshake, starting

pytestmark = pytest.mark.asyncio(loop_scope="module")

FUNCTION = "def add(first, second):\n    return "
numbers = iter(range(10_000))


def fresh_uri() -> str:
    return f"file:///server/{next(numbers)}.py"


async def last_outcome(peer: Peer) -> str:
    return str((await peer.doctor())["journal"]["last"][0]["outcome"])


def is_ready(method: str, params: Any) -> bool:
    return method == "harmony/status" and params["state"] in ("ready", "error")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def peer(adding_model: Path) -> AsyncIterator[Peer]:
    async with starting("--log-level", "debug", "--trust-remote-code") as peer:
        options = {"model": str(adding_model)}
        await handshake(peer, options=options)
        peer.open("file:///first.py", "")
        async with asyncio.timeout(PATIENCE):
            assert (await peer.notified(is_ready))["state"] == "ready"
        peer.close_document("file:///first.py")
        yield peer
        assert await peer.shutdown() == 0
        assert max(peer.answers.values()) == 1


async def test_an_inline_completion(peer: Peer) -> None:
    uri = fresh_uri()
    peer.open(uri, FUNCTION)
    items = await peer.inline_completion(uri, Position(1, 11), trigger_kind=INVOKED)
    place = {"line": 1, "character": 11}
    assert items == [{"insertText": "first + second", "range": {"start": place, "end": place}}]


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
async def test_line_ends_are_plain_whatever_the_document_has(peer: Peer, ending: str) -> None:
    """Neovim inserts what it is sent; and what was typed of an offer is recognised in either form."""
    uri = fresh_uri()
    peer.open(uri, f"import os{ending}{ending}def double(value):")
    items = await peer.inline_completion(uri, Position(2, 18), trigger_kind=INVOKED)
    assert [item["insertText"] for item in items] == ["\n    value *= 2\n    return value"]
    peer.change(uri, Position(2, 18), Position(2, 18), f"{ending}    value")
    items = await peer.inline_completion(uri, Position(3, 9), trigger_kind=AUTOMATIC)
    assert [item["insertText"] for item in items] == [" *= 2\n    return value"]
    assert await last_outcome(peer) == "typedThrough"


async def test_typing_through(peer: Peer) -> None:
    """What is typed is what was offered: the rest is offered, without the model."""
    uri = fresh_uri()
    peer.open(uri, FUNCTION)
    await peer.inline_completion(uri, Position(1, 11), trigger_kind=INVOKED)
    for number, character in enumerate("first"):
        peer.change(uri, Position(1, 11 + number), Position(1, 11 + number), character)
        items = await peer.inline_completion(uri, Position(1, 12 + number), trigger_kind=AUTOMATIC)
        assert [item["insertText"] for item in items] == ["first + second"[number + 1 :]]


@pytest.mark.parametrize(("encoding", "column"), [("utf-16", 5), ("utf-8", 7), ("utf-32", 4)])
async def test_d85_positions_beyond_the_basic_plane(adding_model: Path, encoding: str, column: int) -> None:
    async with starting("--trust-remote-code") as peer:
        capabilities = EDITOR_CAPABILITIES | {"general": {"positionEncodings": [encoding]}}
        options = {"model": str(adding_model)}
        await handshake(peer, capabilities=capabilities, options=options)
        assert peer.encoding == encoding
        uri = fresh_uri()
        peer.open(uri, "👍 = ")
        items = await peer.inline_completion(uri, Position(0, column), trigger_kind=INVOKED)
        place = {"line": 0, "character": column}
        assert items == [{"insertText": "add(3, 4)", "range": {"start": place, "end": place}}]
        assert await peer.shutdown() == 0


async def test_selected_completion(peer: Peer) -> None:
    """An offer that goes on from the selected item of the list replaces what the item would replace."""
    uri = fresh_uri()
    peer.open(uri, "def add(first, second):\n    return f")
    start, end = {"line": 1, "character": 11}, {"line": 1, "character": 12}
    selected = {"range": {"start": start, "end": end}, "text": "first"}
    items = await peer.inline_completion(uri, Position(1, 12), trigger_kind=AUTOMATIC, selected=selected)
    assert items == [{"insertText": "first + second", "range": {"start": start, "end": end}}]


async def test_d83_newest_wins(peer: Peer) -> None:
    """100 requests at once, some cancelled: all are answered, each once, and the newest is the one that is computed."""
    uri = fresh_uri()
    peer.open(uri, "\n" * 100 + FUNCTION)
    asked = []
    for number in range(100):
        place = {"line": 101, "character": 11}
        params = {"textDocument": {"uri": uri}, "position": place, "context": {"triggerKind": 1 + number % 2}}
        asked.append(peer.send_request("textDocument/inlineCompletion", params))
        if number % 3 == 0 and number < 99:
            peer.cancel(asked[-1])
    last = asked.pop()
    assert [item["insertText"] for item in (await peer.answer(last))["items"]] == ["first + second"]
    for number in asked:
        answer = await peer.wait_for_answer(number)
        assert answer["result"]["items"] == [] if "result" in answer else answer["error"]["code"] == -32800
    assert all(peer.answers[number] == 1 for number in asked)


async def test_no_stale_item(peer: Peer) -> None:
    """The document moves on while the offer is made: it comes to nothing."""
    uri = fresh_uri()
    peer.open(uri, FUNCTION)
    place = {"line": 1, "character": 11}
    params = {"textDocument": {"uri": uri}, "position": place, "context": {"triggerKind": INVOKED}}
    number = peer.send_request("textDocument/inlineCompletion", params)
    peer.replace_all(uri, "something = else_entirely\n")
    assert (await peer.answer(number))["items"] == []
    assert await last_outcome(peer) == "superseded"


async def test_a_document_that_is_not_open(peer: Peer) -> None:
    assert await peer.inline_completion(fresh_uri(), Position(0, 0), trigger_kind=INVOKED) == []
    assert await last_outcome(peer) == "notOpen"


async def test_closing_a_document_answers_its_request(peer: Peer) -> None:
    uri = fresh_uri()
    peer.open(uri, FUNCTION)
    params = {
        "textDocument": {"uri": uri},
        "position": {"line": 1, "character": 11},
        "context": {"triggerKind": INVOKED},
    }
    number = peer.send_request("textDocument/inlineCompletion", params)
    peer.close_document(uri)
    assert (await peer.answer(number))["items"] == []


async def test_d84_synchronisation_against_the_rules(peer: Peer) -> None:
    """Out of range, versions in disorder, unopened, opened twice, closed twice: no exception, and it is noticed."""
    uri = fresh_uri()
    peer.open(uri, "abc\ndef\n")
    everything = {"start": {"line": 0, "character": 0}, "end": {"line": 999, "character": 999}}
    far = {"start": {"line": 50, "character": 7}, "end": {"line": 60, "character": 0}}
    reversed_range = {"start": {"line": 1, "character": 2}, "end": {"line": 0, "character": 1}}

    def change(version: int, *changes: dict[str, Any], document: str = uri) -> None:
        identifier = {"uri": document, "version": version}
        peer.notify("textDocument/didChange", {"textDocument": identifier, "contentChanges": list(changes)})

    change(2, {"range": far, "text": "end"})
    change(9, {"range": reversed_range, "text": "-"})
    change(4, {"range": {"start": {"line": 0, "character": 0}, "end": {"line": 0, "character": 0}}, "text": "# "})
    change(1, {"text": "x"}, document="file:///server/unopened.py")
    peer.notify("textDocument/didClose", {"textDocument": {"uri": "file:///server/unopened.py"}})
    report = await peer.doctor(digests=True)
    [document] = [each for each in report["documents"] if each["uri"] == uri]
    assert document["sha256"] == digest("# a-f\nend")
    assert any("version" in fault for fault in document["faults"])
    assert any("outside" in fault for fault in document["faults"])
    change(5, {"range": everything, "text": "fresh"})
    item = {"uri": uri, "languageId": "python", "version": 1, "text": "opened twice"}
    peer.notify("textDocument/didOpen", {"textDocument": item})
    report = await peer.doctor(digests=True)
    [document] = [each for each in report["documents"] if each["uri"] == uri]
    assert document["sha256"] == digest("opened twice")
    peer.close_document(uri)
    peer.notify("textDocument/didClose", {"textDocument": {"uri": uri}})
    assert uri not in [each["uri"] for each in (await peer.doctor())["documents"]]


async def test_d84_a_lost_edit_is_noticed(peer: Peer) -> None:
    """An edit that cannot be read leaves a wrong buffer: nothing is offered until the text comes whole again."""
    uri = fresh_uri()
    peer.open(uri, "")
    identifier = {"uri": uri, "version": 2}
    peer.notify("textDocument/didChange", {"textDocument": identifier, "contentChanges": [{"text": None}]})
    report = await peer.doctor()
    assert [each["inSync"] for each in report["documents"] if each["uri"] == uri] == [False]
    assert await peer.inline_completion(uri, Position(0, 0), trigger_kind=INVOKED) == []
    peer.replace_all(uri, FUNCTION)
    items = await peer.inline_completion(uri, Position(1, 11), trigger_kind=INVOKED)
    assert [item["insertText"] for item in items] == ["first + second"]


def digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


HARD_TEXTS = {
    "empty": ("", Position(0, 0)),
    "past the end": (FUNCTION, Position(999, 999)),
    "CRLF": (FUNCTION.replace("\n", "\r\n"), Position(1, 11)),
    "lone carriage returns": (FUNCTION.replace("\n", "\r"), Position(1, 11)),
    "tabs": ("def f():\n\treturn ", Position(1, 8)),
    "NUL bytes": ("\0" * 50 + "return ", Position(0, 57)),
    "half a character": ("x = '\ud83d'\nreturn ", Position(1, 7)),
    "combining characters": ("e\u0301" * 40 + "\nreturn ", Position(1, 7)),
    "form feed and U+2028": ("a\f\u2028b\nreturn ", Position(1, 7)),
    "control tokens": ("<|fim_prefix|><|endoftext|><|fim_middle|><|end|>\nreturn ", Position(1, 7)),
    "50,000 lines": ("x = 1\n" * 50_000 + "return ", Position(50_000, 7)),
    "d86 a line of 5 MB": ("x" * 5_000_000, Position(0, 5_000_000)),
    "d86 an identifier of 300,000 characters": ("y" * 300_000 + "\nreturn ", Position(1, 7)),
}


@pytest.mark.parametrize("case", HARD_TEXTS)
async def test_d86_hard_texts(peer: Peer, case: str) -> None:
    text, position = HARD_TEXTS[case]
    uri = fresh_uri()
    peer.open(uri, text)
    async with asyncio.timeout(PATIENCE):
        items = await peer.inline_completion(uri, position, trigger_kind=INVOKED)
    for item in items:
        assert "<|" not in item["insertText"]
        assert item["range"]["start"]["line"] == item["range"]["end"]["line"]
    assert items or await last_outcome(peer), "an empty answer has a reason"
    peer.close_document(uri)


async def test_d86_a_document_of_50_megabytes(peer: Peer) -> None:
    """It is not taken, nothing waits for it, and nothing is offered in it."""
    uri = fresh_uri()
    peer.notify(
        "textDocument/didOpen",
        {"textDocument": {"uri": uri, "languageId": "python", "version": 1, "text": "x = 1\n" * 9_000_000}},
    )
    assert await peer.inline_completion(uri, Position(0, 0), trigger_kind=INVOKED) == []
    assert uri not in [each["uri"] for each in (await peer.doctor())["documents"]]


async def test_notebooks(peer: Peer) -> None:
    """Each cell is a document of its own."""
    notebook, first, second = "file:///n.ipynb", "vscode-notebook-cell:/n.ipynb#1", "vscode-notebook-cell:/n.ipynb#2"

    def cell(uri: str, text: str) -> dict[str, Any]:
        return {"uri": uri, "languageId": "python", "version": 1, "text": text}

    peer.notify(
        "notebookDocument/didOpen",
        {
            "notebookDocument": {
                "uri": notebook,
                "notebookType": "jupyter-notebook",
                "version": 1,
                "cells": [{"kind": 2, "document": first}],
            },
            "cellTextDocuments": [cell(first, "x = 1\n")],
        },
    )
    place = {"line": 1, "character": 0}
    peer.notify(
        "notebookDocument/didChange",
        {
            "notebookDocument": {"uri": notebook, "version": 2},
            "change": {
                "cells": {
                    "structure": {
                        "array": {"start": 1, "deleteCount": 0, "cells": [{"kind": 2, "document": second}]},
                        "didOpen": [cell(second, "y")],
                    },
                    "textContent": [
                        {
                            "document": {"uri": first, "version": 2},
                            "changes": [{"range": {"start": place, "end": place}, "text": "total = "}],
                        }
                    ],
                }
            },
        },
    )
    items = await peer.inline_completion(first, Position(1, 8), trigger_kind=INVOKED)
    assert [item["insertText"] for item in items] == ["add(1, 2)"]
    broken = {"cells": {"textContent": [{"document": {"uri": first, "version": 3}, "changes": [{"text": None}]}]}}
    peer.notify("notebookDocument/didChange", {"notebookDocument": {"uri": notebook, "version": 3}, "change": broken})
    assert await peer.inline_completion(first, Position(1, 8), trigger_kind=INVOKED) == []
    in_sync = {each["uri"]: each["inSync"] for each in (await peer.doctor())["documents"]}
    assert (in_sync[first], in_sync[second]) == (False, False)
    peer.notify(
        "notebookDocument/didClose",
        {"notebookDocument": {"uri": notebook}, "cellTextDocuments": [{"uri": first}, {"uri": second}]},
    )
    assert {first, second}.isdisjoint(each["uri"] for each in (await peer.doctor())["documents"])


async def test_progress_and_status(peer: Peer) -> None:
    """The load was shown: one bar that ended, and the states in order."""
    bars = [params for method, params in peer.notifications if method == "$/progress"]
    assert len({bar["token"] for bar in bars}) <= 1
    if bars:  # a load that is over before the client has granted the bar shows none
        kinds = [bar["value"]["kind"] for bar in bars]
        assert kinds[0] == "begin"
        assert kinds[-1] == "end"
        assert set(kinds[1:-1]) <= {"report"}
    states = [params["state"] for method, params in peer.notifications if method == "harmony/status"]
    assert states[0] == "unloaded"
    assert states.index("loading") < states.index("ready")
    ready = next(params for method, params in peer.notifications if is_ready(method, params))
    assert ready["capability"]
    speeds = {"tokensPerSecond", "firstTokenMs"}
    assert set(ready) == {"state", "model", "message", "capability", "memoryBytes", "progress"} | speeds


async def test_the_status_carries_the_speeds_of_the_last_completions(peer: Peer) -> None:
    """They are told within a second of a completion, and doctor knows them at once."""
    told = asyncio.create_task(
        peer.notified(lambda method, params: method == "harmony/status" and params["tokensPerSecond"] is not None)
    )
    uri = fresh_uri()
    peer.open(uri, f"# another\n{FUNCTION}")
    assert await peer.inline_completion(uri, Position(2, 11), trigger_kind=INVOKED)
    report = await peer.doctor()
    stats = [entry["stats"] for entry in report["journal"]["last"] if entry["stats"]["prompt_tokens"]]
    first = [each["first_token_ms"] for each in stats if each["first_token_ms"] is not None]
    assert min(first) - 0.1 <= report["status"]["firstTokenMs"] <= max(first) + 0.1
    assert report["status"]["tokensPerSecond"] > 0
    async with asyncio.timeout(PATIENCE):
        status = await told
    assert status["state"] in ("ready", "busy")
    assert status["firstTokenMs"] > 0


async def test_doctor(peer: Peer, adding_model: Path) -> None:
    report = await peer.doctor()
    assert report["environment"]["versions"]["pygls"]
    assert report["settings"]["model"] == str(adding_model)
    assert report["origins"]["model"] == "initializationOptions"
    assert report["status"]["state"] in ("ready", "busy")
    assert report["journal"]["counts"]
    assert report["problems"] == []
    assert report["client"]["inlineCompletion"] is True
