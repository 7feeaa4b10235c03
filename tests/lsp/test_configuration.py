"""Settings on their way to the server, and what a person is told of those that cannot be used.

Tests named d77 to d94 are numbered robustness cases.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harmony_ls.lsp.client import AUTOMATIC, EDITOR_CAPABILITIES, INVOKED
from harmony_ls.lsp.documents.text import Position
from tests.lsp.peer import PATIENCE, Peer, handshake, starting

URI = "file:///settings.py"
FUNCTION = "def add(first, second):\n    return "
NEOVIM_0_11: dict[str, Any] = {
    "general": {"positionEncodings": ["utf-8", "utf-16", "utf-32"]},
    "textDocument": {"completion": {"completionItem": {"documentationFormat": ["markdown"]}}},
    "window": {"workDoneProgress": True},
    "workspace": {"configuration": True},
}
PUSHING = {"textDocument": {"inlineCompletion": {}}}


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """An environment whose user has no settings but those that a test writes."""
    return {"HOME": str(tmp_path / "home"), "XDG_CONFIG_HOME": str(tmp_path / "home" / "config")}


async def settings_of(peer: Peer, until: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The report of a server once its settings are as expected: changes need a question and an answer."""
    async with asyncio.timeout(PATIENCE):
        while not until(report := await peer.doctor()):
            pass
    return report


def messages(peer: Peer) -> list[str]:
    return [params["message"] for method, params in peer.notifications if method == "window/showMessage"]


async def test_sources_in_order(tmp_path: Path, home: dict[str, str]) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "pyproject.toml").write_text(
        "[tool.harmony-ls.inlineCompletion]\nmaxLines = 3\ntrigger = 'invoked'\neagerness = 'quiet'\ndeadlineMs = 333\n"
    )
    async with starting("--log-level", "warning", environment=home) as peer:
        await handshake(
            peer,
            folder=project,
            options={"inlineCompletion": {"trigger": "automatic", "eagerness": "eager", "deadlineMs": 444}},
            configuration={"inlineCompletion": {"eagerness": "normal", "deadlineMs": 555}, "logLevel": "debug"},
        )
        report = await settings_of(peer, lambda report: report["settings"]["inlineCompletion"]["deadlineMs"] == 555)
        inline = report["settings"]["inlineCompletion"]
        assert (inline["maxLines"], inline["trigger"], inline["eagerness"]) == (3, "automatic", "normal")
        assert report["settings"]["logLevel"] == "warning"
        assert report["origins"]["inlineCompletion.maxLines"] == str(project / "pyproject.toml")
        assert report["origins"]["logLevel"] == "command line"
        assert await peer.shutdown() == 0


async def test_d91_what_a_workspace_may_not_set(tmp_path: Path, home: dict[str, str]) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.harmony-ls]\nmodel = 'evil/model'\ntrustRemoteCode = true\n")
    async with starting(environment=home) as peer:
        await handshake(peer, folder=tmp_path)
        report = await settings_of(peer, lambda report: bool(report["problems"]))
        assert report["settings"]["model"] is None
        assert report["settings"]["trustRemoteCode"] is False
        await peer.notified(lambda method, _params: method == "window/showMessage")
        [message] = messages(peer)
        assert "model: a workspace may not set this" in message
        assert "trustRemoteCode: a workspace may not set this" in message
        assert await peer.shutdown() == 0


async def test_what_a_client_may_not_set(tmp_path: Path, home: dict[str, str]) -> None:
    """An editor passes on what a repository says: the trust in a model's code is the person's own word alone."""
    trusting = {"trustRemoteCode": True}
    async with starting(environment=home) as peer:
        await handshake(peer, options=trusting, configuration=trusting)
        report = await settings_of(peer, lambda report: len(report["problems"]) == 2)
        assert report["settings"]["trustRemoteCode"] is False
        assert all("an editor may not set this" in problem for problem in report["problems"])
        assert await peer.shutdown() == 0
    config = tmp_path / "home" / "config" / "harmony-ls" / "config.toml"
    config.parent.mkdir(parents=True)
    config.write_text("trustRemoteCode = true\n")
    for arguments, environment in (([], home), (["--trust-remote-code"], home | {"XDG_CONFIG_HOME": ""})):
        async with starting(*arguments, environment=environment) as peer:
            await handshake(peer)
            assert (await peer.doctor())["settings"]["trustRemoteCode"] is True
            assert await peer.shutdown() == 0


async def test_d90_settings_that_cannot_be_used(home: dict[str, str]) -> None:
    """The last good ones stay, one message lists them all, and the same faults are told once."""
    async with starting(environment=home) as peer:
        good = {"inlineCompletion": {"maxTokens": 77}}
        await handshake(peer, configuration=good)
        await settings_of(peer, lambda report: report["settings"]["inlineCompletion"]["maxTokens"] == 77)
        peer.configuration = {"inlineCompletion": {"maxTokens": "many", "maxLine": 5}, "engine": None, "nonsense": 1}
        for _ in range(3):
            peer.notify("workspace/didChangeConfiguration", {"settings": None})
        report = await settings_of(peer, lambda report: bool(report["problems"]))
        assert report["settings"]["inlineCompletion"]["maxTokens"] == 77
        peer.configuration = {"inlineCompletion": {"maxTokens": 78}}
        peer.notify("workspace/didChangeConfiguration", {"settings": None})
        await settings_of(peer, lambda report: report["settings"]["inlineCompletion"]["maxTokens"] == 78)
        [message] = messages(peer)
        assert all(key in message for key in ("maxTokens", "maxLine", "nonsense"))
        assert await peer.shutdown() == 0


@pytest.mark.parametrize("pushed", [{"harmony-ls": {"logLevel": "error"}}, {"logLevel": "error"}], ids=str)
async def test_settings_that_are_pushed(home: dict[str, str], pushed: dict[str, Any]) -> None:
    """Clients that cannot be asked send their settings, with the section's name around them or without."""
    async with starting(environment=home) as peer:
        await handshake(peer, capabilities=PUSHING)
        for settings in (None, 5, [], {}, pushed):
            peer.notify("workspace/didChangeConfiguration", {"settings": settings})
        await settings_of(peer, lambda report: report["settings"]["logLevel"] == "error")
        assert await peer.shutdown() == 0


async def test_files_that_change(tmp_path: Path, home: dict[str, str]) -> None:
    async with starting(environment=home) as peer:
        await handshake(peer, folder=tmp_path)
        registered = [
            registration["method"]
            for message in peer.received
            if message.get("method") == "client/registerCapability"
            for registration in message["params"]["registrations"]
        ]
        while "workspace/didChangeWatchedFiles" not in registered:
            await peer.next_messages()
            registered += [
                registration["method"] for registration in peer.received[-1].get("params", {}).get("registrations", [])
            ]
        (tmp_path / "pyproject.toml").write_text("[tool.harmony-ls.inlineCompletion]\nmaxLines = 99\n")
        changed = {"uri": (tmp_path / "pyproject.toml").as_uri(), "type": 1}
        peer.notify("workspace/didChangeWatchedFiles", {"changes": [changed]})
        await settings_of(peer, lambda report: report["settings"]["inlineCompletion"]["maxLines"] == 99)
        assert await peer.shutdown() == 0


async def test_workspace_folders_that_change(tmp_path: Path, home: dict[str, str]) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.harmony-ls.inlineCompletion]\nmaxLines = 99\n")
    folder = {"uri": f"{tmp_path.as_uri()}/", "name": "added"}
    async with starting(environment=home) as peer:
        await handshake(peer)
        for added, removed, expected in (([folder], [], 99), ([], [folder], 12)):
            event = {"added": added, "removed": removed}
            peer.notify("workspace/didChangeWorkspaceFolders", {"event": event})
            await settings_of(peer, lambda report: report["settings"]["inlineCompletion"]["maxLines"] == expected)  # noqa: B023
        assert await peer.shutdown() == 0


async def test_a_model_that_is_changed_live(adding_model: Path, tmp_path: Path, home: dict[str, str]) -> None:
    """From a model that is missing to one that is there, without a restart."""
    async with starting("--trust-remote-code", environment=home) as peer:
        patient = {"inlineCompletion": {"deadlineMs": 10_000}}
        missing = {"model": str(tmp_path / "missing")} | patient
        await handshake(peer, configuration=missing)
        await settings_of(peer, lambda report: report["settings"]["model"] == missing["model"])
        peer.open(URI, FUNCTION)
        for _ in range(5):
            assert await peer.inline_completion(URI, Position(1, 11), trigger_kind=INVOKED) == []
        report = await peer.doctor()
        assert report["status"]["state"] == "error"
        assert report["journal"]["counts"]["modelFailed"] >= 1
        assert len(messages(peer)) == 1, "d87: the fault is told once"
        peer.configuration = {"model": str(adding_model)} | patient
        peer.notify("workspace/didChangeConfiguration", {"settings": None})
        await settings_of(peer, lambda report: report["settings"]["model"] == str(adding_model))
        items = await peer.inline_completion(URI, Position(1, 11), trigger_kind=INVOKED)
        report = await peer.doctor()
        assert [item["insertText"] for item in items] == ["first + second"], report["journal"]["last"][0]
        assert report["status"]["state"] == "ready"
        peer.configuration = missing
        peer.notify("workspace/didChangeConfiguration", {"settings": None})
        await settings_of(peer, lambda report: report["settings"]["model"] == missing["model"])
        assert await peer.inline_completion(URI, Position(1, 11), trigger_kind=INVOKED) == []
        assert len(messages(peer)) == 2, "a fault that comes back is news"
        assert await peer.shutdown() == 0


BROKEN_MODELS: dict[str, dict[str, bytes] | None] = {
    "missing": None,
    "empty": {},
    "of a wrong shape": {"config.json": b"[]"},
    "half-downloaded": {"config.json": b'{"model_type": "llama"}', "tokenizer.json": b"{"},
    "without JSON": {"config.json": b"\xff\xfe"},
    "without weights": {"config.json": b'{"model_type": "llama"}', "model.safetensors": b""},
}


async def test_d87_models_that_cannot_be_loaded(tmp_path: Path, home: dict[str, str]) -> None:
    """One after the other in one process: each is told once, and the process lives."""
    async with starting(environment=home) as peer:
        await handshake(peer)
        for number, (name, files) in enumerate(BROKEN_MODELS.items(), start=1):
            folder = tmp_path / name
            if files is not None:
                folder.mkdir()
                for file, content in files.items():
                    (folder / file).write_bytes(content)
            peer.configuration = {"model": str(folder)}
            peer.notify("workspace/didChangeConfiguration", {"settings": None})
            await settings_of(peer, lambda report: report["settings"]["model"] == str(folder))  # noqa: B023
            if number == 1:
                peer.open(URI, FUNCTION)
            for kind in (INVOKED, AUTOMATIC) * 3:
                assert await peer.inline_completion(URI, Position(1, 11), trigger_kind=kind) == []
            assert (await peer.doctor())["status"]["state"] == "error", name
            assert len(messages(peer)) == number, name
            assert name in messages(peer)[-1]
        assert await peer.shutdown() == 0


async def test_the_settings_come_before_the_model(tiny_llama: Path, home: dict[str, str]) -> None:
    """A document that is opened at once does not start the load of a model that the settings do not name."""
    async with starting(environment=home) as peer:
        await handshake(peer, configuration={"model": str(tiny_llama)})
        peer.open(URI, FUNCTION)
        await peer.notified(lambda method, params: method == "harmony/status" and params["state"] == "ready")
        models = {params["model"] for method, params in peer.notifications if method == "harmony/status"}
        assert models <= {None, str(tiny_llama), tiny_llama.name}
        assert await peer.shutdown() == 0


async def test_the_editor_switches_completion_off(tiny_llama: Path, home: dict[str, str]) -> None:
    """Its settings come after the document is opened; the model is not loaded for nothing."""
    async with starting(environment=home) as peer:
        await handshake(
            peer, options={"model": str(tiny_llama)}, configuration={"inlineCompletion": {"enabled": False}}
        )
        peer.open(URI, FUNCTION)
        await settings_of(peer, lambda report: not report["settings"]["inlineCompletion"]["enabled"])
        assert await peer.inline_completion(URI, Position(1, 11), trigger_kind=INVOKED) == []
        report = await peer.doctor()
        assert report["journal"]["counts"] == {"disabled": 1}
        peer.configuration = {"inlineCompletion": {"enabled": True}}
        peer.notify("workspace/didChangeConfiguration", {"settings": None})
        await settings_of(peer, lambda report: report["settings"]["inlineCompletion"]["enabled"])
        assert [each for each in peer.notifications if each[0] == "harmony/status"] == [
            ("harmony/status", report["status"])
        ], "nothing was loaded"
        assert await peer.shutdown() == 0


async def test_a_client_that_answers_no_question(tiny_llama: Path, home: dict[str, str]) -> None:
    """It is asked for its settings and to show a progress bar; without an answer it still gets completions."""
    async with starting(environment=home) as peer:
        peer.silent = True
        await handshake(peer, options={"model": str(tiny_llama), "inlineCompletion": {"eagerness": "eager"}})
        peer.open(URI, FUNCTION)
        await peer.inline_completion(URI, Position(1, 11), trigger_kind=INVOKED)
        assert any(message.get("method") == "workspace/configuration" for message in peer.received)
        while not any(
            message.get("method") == "harmony/status" and message["params"]["state"] == "ready"
            for message in peer.received
        ):
            await peer.next_messages()
        assert await peer.shutdown() == 0


async def test_a_model_too_large_for_the_memory(tiny_llama: Path, home: dict[str, str]) -> None:
    async with starting(environment=home) as peer:
        await handshake(peer, options={"model": str(tiny_llama), "memoryBudgetGb": 1e-6})
        peer.open(URI, FUNCTION)
        assert await peer.inline_completion(URI, Position(1, 11), trigger_kind=INVOKED) == []
        assert (await peer.doctor())["status"]["state"] == "error"
        assert len(messages(peer)) == 1
        assert await peer.shutdown() == 0


async def complete(peer: Peer, kind: int = 1) -> Any:
    params = {"textDocument": {"uri": URI}, "position": {"line": 1, "character": 12}, "context": {"triggerKind": kind}}
    return await peer.request("textDocument/completion", params)


async def test_the_completion_list_of_a_client_without_ghost_text(adding_model: Path, home: dict[str, str]) -> None:
    async with starting("--trust-remote-code", environment=home) as peer:
        result = await peer.initialize(capabilities=NEOVIM_0_11, options={"model": str(adding_model)})
        assert result["capabilities"]["completionProvider"] == {"triggerCharacters": [".", "("]}
        peer.open(URI, "def add(first, second):\n    return f")
        await peer.notified(lambda method, params: method == "harmony/status" and params["state"] == "ready")
        answer = await complete(peer)
        assert answer["isIncomplete"] is True
        [item] = answer["items"]
        assert item["label"] == "first + second"
        assert item["filterText"] == "f"
        assert item["kind"] == 1
        places = {"start": {"line": 1, "character": 11}, "end": {"line": 1, "character": 12}}
        assert item["textEdit"] == {"range": places, "newText": "first + second"}
        assert "```python\nfirst + second\n```" in item["documentation"]["value"]
        # Trigger kind 1 is what typing an identifier is called too: it does not mean that a person asked.
        peer.configuration = {"inlineCompletion": {"trigger": "invoked"}}
        peer.notify("workspace/didChangeConfiguration", {"settings": None})
        await settings_of(peer, lambda report: report["settings"]["inlineCompletion"]["trigger"] == "invoked")
        assert (await complete(peer, kind=1))["items"] == []
        assert (await peer.doctor())["journal"]["last"][0]["outcome"] == "notTriggered"
        peer.configuration = {"inlineCompletion": {"completionFallback": "never"}}
        peer.notify("workspace/didChangeConfiguration", {"settings": None})
        await settings_of(peer, lambda report: report["settings"]["inlineCompletion"]["completionFallback"] == "never")
        assert (await complete(peer))["items"] == []
        assert await peer.shutdown() == 0


async def test_the_completion_list_of_a_client_with_ghost_text(adding_model: Path, home: dict[str, str]) -> None:
    """Nothing by default; registered, and taken back, as the setting changes."""
    async with starting("--trust-remote-code", environment=home) as peer:
        options = {"model": str(adding_model)}
        result = await peer.initialize(capabilities=EDITOR_CAPABILITIES, options=options)
        assert "completionProvider" not in result["capabilities"]
        peer.open(URI, "def add(first, second):\n    return f")
        await peer.notified(lambda method, params: method == "harmony/status" and params["state"] == "ready")
        assert (await complete(peer))["items"] == []
        for value, method in (("always", "client/registerCapability"), ("auto", "client/unregisterCapability")):
            peer.configuration = {"inlineCompletion": {"completionFallback": value}}
            peer.notify("workspace/didChangeConfiguration", {"settings": None})
            async with asyncio.timeout(PATIENCE):
                while not any(
                    message.get("method") == method and "textDocument/completion" in str(message["params"])
                    for message in peer.received
                ):
                    await peer.next_messages()
            assert len((await complete(peer))["items"]) == (value == "always")
        assert await peer.shutdown() == 0


async def test_a_static_client_that_wants_both(adding_model: Path, home: dict[str, str]) -> None:
    capabilities = {"textDocument": {"inlineCompletion": {}, "completion": {}}}
    async with starting(environment=home) as peer:
        options = {"inlineCompletion": {"completionFallback": "always"}}
        result = await peer.initialize(capabilities=capabilities, options=options)
        assert "completionProvider" in result["capabilities"]
        assert await peer.shutdown() == 0
