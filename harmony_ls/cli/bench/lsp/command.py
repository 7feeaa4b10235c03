"""``harmony-ls bench lsp``: its parts, each with servers of its own, and the document that comes of them."""

import argparse
import asyncio
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harmony_ls.cli.bench.document import bench_document
from harmony_ls.cli.bench.lsp.editing import EDITING_CAPABILITIES, EditingHand
from harmony_ls.cli.bench.lsp.models import NOTES, write_models
from harmony_ls.cli.bench.lsp.numbers import measure_chat, measure_code_actions, measure_keys, measure_typing
from harmony_ls.cli.bench.lsp.record import LspRecord, LspSizes
from harmony_ls.cli.bench.lsp.soak import soak
from harmony_ls.cli.bench.lsp.summary import intervals, numbers, samples
from harmony_ls.cli.bench.lsp.targets import TARGETS
from harmony_ls.cli.bench.running import Outcome, Watcher, run_bench
from harmony_ls.cli.bench.table import print_numbers
from harmony_ls.cli.typist import model_ready
from harmony_ls.engine.engine import Engine
from harmony_ls.engine.models.model import ModelSpec
from harmony_ls.errors import HarmonyLsError
from harmony_ls.lsp.client import LspClient, ResponseError, ServerGoneError
from harmony_ls.session.chat_model import load_chat_model

__all__ = ["PARTS", "LspPlan", "bench_lsp"]

# Nobody's own settings count; and no container is looked for or started, which would take time and memory of its own.
_SETTINGS = '[tools]\npython = "off"\n'
_NO_END = 1_000_000


@dataclass(frozen=True, slots=True)
class LspPlan:
    """What is measured, and how often."""

    parts: tuple[str, ...]
    sizes: LspSizes = field(default_factory=LspSizes)


@dataclass(slots=True)
class _Result(Outcome):
    record: LspRecord = field(default_factory=LspRecord)


@dataclass(frozen=True, slots=True)
class _Place:
    """What the parts have in common: where the models and the workspace lie, and a text to type into."""

    folder: Path
    text: str
    sizes: LspSizes
    record: LspRecord
    watcher: Watcher

    @property
    def notes(self) -> Path:
        """The file that the chats change."""
        return self.folder / "project" / "notes.py"


def bench_lsp(plan: LspPlan, *, as_json: bool) -> int:
    """Run the bench and show its result; return the exit code."""
    result = _Result()
    return run_bench(
        lambda watcher: _run(plan, result, watcher),
        result,
        lambda: _document(result),
        lambda document, console: print_numbers(document, TARGETS, console),
        as_json=as_json,
    )


def _document(result: _Result) -> dict[str, Any]:
    record = result.record
    return bench_document("lsp", result, TARGETS, numbers(record), samples=samples(record), intervals=intervals(record))


def _prepared(folder: Path, plan: LspPlan, record: LspRecord, watcher: Watcher) -> _Place:
    """A folder with the files that the servers find there."""
    # A text that is on every machine.
    text = Path(argparse.__file__).read_text(encoding="utf-8")
    place = _Place(folder.resolve(), text, plan.sizes, record, watcher)
    settings = place.folder / "config" / "harmony-ls" / "config.toml"
    for file, content in ((place.notes, NOTES), (settings, _SETTINGS)):
        file.parent.mkdir(parents=True)
        file.write_text(content, encoding="utf-8")
    return place


async def _run(plan: LspPlan, result: _Result, watcher: Watcher) -> None:
    with tempfile.TemporaryDirectory(prefix="harmony-ls-bench-") as name:
        place = await asyncio.to_thread(_prepared, Path(name), plan, result.record, watcher)
        watcher.begin("Making the models", None)
        async with Engine() as engine:
            await write_models(engine, {model for part in plan.parts for model in _PARTS[part].models}, place.folder)
        for name in plan.parts:
            part = _PARTS[name]
            watcher.begin(f"Measuring: {name}", part.n_steps(plan.sizes))
            try:
                await part.measure(place)
            except (HarmonyLsError, OSError, ResponseError, ServerGoneError) as error:
                result.faults.append(f"{name}: {error}")


@asynccontextmanager
async def _server(
    place: _Place,
    chat: Mapping[str, Any],
    *,
    settings: Mapping[str, Any] | None = None,
    has_folder: bool = False,
) -> AsyncIterator[LspClient]:
    """A server with these settings, ``chat.model`` by its name in the folder. Completions are the embedded model's
    by default. With a folder there are files to change, so that the model is offered the tool for it."""
    environment = {"XDG_STATE_HOME": str(place.folder / "state"), "XDG_CONFIG_HOME": str(place.folder / "config")}
    limits = {"maxTurnTokens": _NO_END, "maxTokens": _NO_END, "maxToolCalls": 10_000}
    options = {"chat": {**limits, **chat, "model": str(place.folder / chat["model"])}, **(settings or {})}
    async with await LspClient.start(("--log-level", "error"), environment=environment) as client:
        await client.initialize(
            capabilities=EDITING_CAPABILITIES,
            folder=place.notes.parent if has_folder else None,
            options=options,
            name="harmony-ls bench",
        )
        yield client
        await client.shutdown()


async def _typing(place: _Place) -> None:
    async with (
        _server(place, {"model": "chat"}) as client,
        _server(place, {"model": "deep-chat"}) as deep_client,
    ):
        uri = "file:///bench/typing.py"
        for each in (client, deep_client):
            each.open(uri, place.text)
            await model_ready(each)
        await measure_typing(client, deep_client, uri, place.text, place.sizes, place.record, place.watcher.advance)


async def _actions(place: _Place) -> None:
    async with _server(place, {"model": "chat"}) as client:
        uri = "file:///bench/actions.py"
        client.open(uri, place.text)
        await model_ready(client)
        await measure_code_actions(client, uri, place.sizes, place.record)


async def _chat(place: _Place) -> None:
    chat = {"model": "chat", "maxTokens": place.sizes.decode_tokens}
    async with Engine() as engine, _server(place, chat) as client:
        chat_model = await load_chat_model(engine, ModelSpec(str(place.folder / "chat")))
        await measure_chat(client, chat_model, place.text, place.sizes, place.record, place.watcher.advance)


async def _keys(place: _Place) -> None:
    settings = {"tools": {"applyPatch": "allow"}}
    async with _server(place, {"model": "calls"}, settings=settings, has_folder=True) as client:
        EditingHand(client)
        client.open(place.notes.as_uri(), NOTES)
        await measure_keys(client, place.text, place.sizes, place.record, place.watcher.advance)


async def _soak(place: _Place) -> None:
    # A prompt cache that is full before the warm-up is over: what grows then is a leak. Short prompts, so that the time
    # goes into requests. One call is carried out; the next is refused, and ends the turn: the model knows nothing else.
    settings = {
        "model": str(place.folder / "soak-completion"),
        "engine": {"promptCacheMb": 16},
        "inlineCompletion": {"prefixTokens": 256, "suffixTokens": 64},
    }
    async with _server(place, {"model": "soak-chat", "maxToolCalls": 1}, settings=settings, has_folder=True) as client:
        client.open(place.notes.as_uri(), NOTES)
        await soak(client, place.text, place.sizes, place.record, place.watcher.advance)


@dataclass(frozen=True, slots=True)
class _Part:
    """A part of the bench that can be asked for alone; ``n_steps`` is how often it advances."""

    measure: Callable[[_Place], Awaitable[None]]
    models: tuple[str, ...]
    n_steps: Callable[[LspSizes], int | None]


_PARTS = {
    "typing": _Part(_typing, ("chat", "deep-chat"), lambda sizes: sizes.idle_changes + 2 * sizes.changes),
    "actions": _Part(_actions, ("chat",), lambda _sizes: None),
    "chat": _Part(_chat, ("chat",), lambda sizes: sizes.decode_pairs),
    "keys": _Part(_keys, ("calls",), lambda sizes: sizes.keys),
    "soak": _Part(_soak, ("soak-chat", "soak-completion"), lambda sizes: sizes.warm_up + sizes.requests),
}

PARTS = tuple(_PARTS)
"""The names of the parts, in the order in which they are measured."""
