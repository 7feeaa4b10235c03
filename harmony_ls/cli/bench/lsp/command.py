"""``harmony-ls bench lsp``: its parts, each with a server of its own, and what their figures come to."""

import argparse
import operator
import statistics
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from harmony_ls.cli.bench.chat.shapes import SHAPES, write_shape
from harmony_ls.cli.bench.document import machine, versions
from harmony_ls.cli.bench.figures import percentile
from harmony_ls.cli.bench.lsp.numbers import (
    LspRecord,
    LspSizes,
    measure_chat,
    measure_code_actions,
    measure_keys,
    measure_typing,
)
from harmony_ls.cli.bench.lsp.soak import soak
from harmony_ls.cli.bench.running import Outcome, Say, run_bench
from harmony_ls.cli.typist import CAPABILITIES, model_ready
from harmony_ls.engine.engine import Engine
from harmony_ls.engine.model import ModelSpec
from harmony_ls.errors import HarmonyLsError
from harmony_ls.lsp.client import LspClient, ResponseError, ServerGoneError
from harmony_ls.session.chat_model import load_chat_model

__all__ = ["PARTS", "LspPlan", "bench_lsp"]

PARTS = ("typing", "actions", "chat", "keys", "soak")
_TARGETS: Mapping[str, tuple[str, float | None, str]] = {
    "did_change_ms_p50": ("<=", 1.0, "A change while a chat is written, to the answer behind it, median"),
    "did_change_ms_p99": ("<=", 50.0, "The same, 99th percentile"),
    "idle_change_ms_p50": ("<=", None, "The same while nothing else is done, median"),
    "barrier_ms_p50": ("<=", None, "The smallest request alone, which is part of the others, median"),
    "step_ms_p50": ("<=", None, "One token of that chat, median"),
    "code_action_ms_p95": ("<=", 10.0, "The list of code actions, 95th percentile"),
    "chat_decode_ratio": (">=", 0.95, "A chat's tokens at the client / mlx-lm alone"),
    "preempt_ratio": ("<=", 1.3, "A completion while a chat is written / while idle, of medians"),
    "rss_growth": ("<=", 0.05, "Growth of memory over the soak, after its warm-up"),
    "n_unanswered": ("<=", 0.0, "Requests of the soak that were never answered"),
    "n_surplus": ("<=", 0.0, "Answers of the soak that came to no request, or again"),
    "n_requests": (">=", None, "Requests of the soak"),
}


@dataclass(frozen=True, slots=True)
class LspPlan:
    """What is measured, and how often."""

    parts: tuple[str, ...] = PARTS
    sizes: LspSizes = field(default_factory=LspSizes)


@dataclass(slots=True)
class _Result(Outcome):
    record: LspRecord = field(default_factory=LspRecord)


def bench_lsp(plan: LspPlan, *, as_json: bool) -> int:
    """Run the bench and show its result; return the exit code."""
    result = _Result()
    # A text that is on every machine.
    text = Path(argparse.__file__).read_text(encoding="utf-8")
    return run_bench(
        lambda say: _run(plan, text, result, say), result, lambda: _document(result), _print, as_json=as_json
    )


async def _run(plan: LspPlan, text: str, result: _Result, say: Say) -> None:
    with tempfile.TemporaryDirectory(prefix="harmony-ls-bench-") as name:
        folder = Path(name)
        say("Making the models")
        async with Engine() as engine:
            for shape in ("llama", "tiny"):
                await write_shape(engine, SHAPES[shape], folder / shape)
        for part in plan.parts:
            say(f"Measuring: {part}")
            try:
                await _PARTS[part](plan.sizes, folder, text, result.record, say)
            except (HarmonyLsError, OSError, ResponseError, ServerGoneError) as error:
                result.faults.append(f"{part}: {error}")


@asynccontextmanager
async def _server(
    folder: Path, shape: str, max_tokens: int, *, model: str | None = None, prompt_cache_mb: int = 1024
) -> AsyncIterator[LspClient]:
    """A server whose chat model is a shape, and whose completions are the embedded model's by default."""
    environment = {"XDG_STATE_HOME": str(folder / "state"), "XDG_CONFIG_HOME": str(folder / "config")}
    chat = {"model": str(folder / shape), "maxTokens": max_tokens, "maxTurnTokens": 1_000_000}
    options: dict[str, Any] = {"chat": chat, **({"model": model} if model else {})}
    options["engine"] = {"promptCacheMb": prompt_cache_mb}
    async with await LspClient.start(("--log-level", "error"), environment=environment) as client:
        await client.initialize(capabilities=CAPABILITIES, options=options, name="harmony-ls bench")
        yield client
        await client.shutdown()


async def _typing(sizes: LspSizes, folder: Path, text: str, record: LspRecord, _say: Say) -> None:
    async with _server(folder, "llama", max_tokens=30_000) as client:
        uri = "file:///bench/typing.py"
        client.open(uri, text)
        await model_ready(client)
        await measure_typing(client, uri, text, sizes, record)


async def _actions(sizes: LspSizes, folder: Path, text: str, record: LspRecord, _say: Say) -> None:
    async with _server(folder, "llama", max_tokens=30_000) as client:
        uri = "file:///bench/actions.py"
        client.open(uri, text)
        await model_ready(client)
        await measure_code_actions(client, uri, sizes, record)


async def _chat(sizes: LspSizes, folder: Path, text: str, record: LspRecord, say: Say) -> None:
    async with Engine() as engine, _server(folder, "llama", max_tokens=sizes.decode_tokens) as client:
        chat_model = await load_chat_model(engine, ModelSpec(str(folder / "llama")))
        await measure_chat(client, chat_model, text, sizes, record, lambda: say("One more pair"))


async def _keys(sizes: LspSizes, folder: Path, text: str, record: LspRecord, _say: Say) -> None:
    async with _server(folder, "llama", max_tokens=30_000) as client:
        await measure_keys(client, text, sizes, record, lambda: None)


async def _soak(sizes: LspSizes, folder: Path, text: str, record: LspRecord, say: Say) -> None:
    # A prompt cache that is full before the warm-up is over: what grows then is a leak.
    async with _server(folder, "tiny", max_tokens=8, model=str(folder / "tiny"), prompt_cache_mb=16) as client:
        await soak(client, text[:4_000], sizes, record, lambda number: say(f"{number:,} requests"))


_PARTS = {"typing": _typing, "actions": _actions, "chat": _chat, "keys": _keys, "soak": _soak}


def _document(result: _Result) -> dict[str, Any]:
    numbers = _numbers(result.record)
    return {
        "bench": "lsp",
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "partial": result.is_partial,
        "faults": result.faults,
        "machine": machine(),
        "versions": versions(),
        **{key: None if value is None else round(value, 4) for key, value in numbers.items()},
        "verdicts": {key: _verdict(key, value) for key, value in numbers.items()},
    }


def _numbers(record: LspRecord) -> dict[str, float | None]:
    """The numbers under their keys; None for what was not measured."""
    resident = record.resident_bytes
    tenth = max(1, len(resident) // 10)
    return {
        "did_change_ms_p50": percentile(record.change_ms, 50),
        "did_change_ms_p99": percentile(record.change_ms, 99),
        "idle_change_ms_p50": percentile(record.idle_change_ms, 50),
        "barrier_ms_p50": percentile(record.barrier_ms, 50),
        "step_ms_p50": percentile(record.token_ms, 50),
        "code_action_ms_p95": percentile(record.code_action_ms, 95),
        "chat_decode_ratio": _ratio_of_pairs(record.chat_rates, record.mlx_lm_rates),
        "preempt_ratio": _ratio_of_medians(record.busy_key_ms, record.idle_key_ms),
        "rss_growth": statistics.median(resident[-tenth:]) / statistics.median(resident[:tenth]) - 1
        if len(resident) > 1
        else None,
        "n_unanswered": float(record.n_unanswered) if record.n_requests else None,
        "n_surplus": float(record.n_surplus) if record.n_requests else None,
        "n_requests": float(record.n_requests) if record.n_requests else None,
    }


def _ratio_of_pairs(ours: list[float], theirs: list[float]) -> float | None:
    pairs = list(zip(ours, theirs, strict=False))
    return statistics.median(one / other for one, other in pairs) if pairs else None


def _ratio_of_medians(ours: list[float], theirs: list[float]) -> float | None:
    return statistics.median(ours) / statistics.median(theirs) if ours and theirs else None


def _verdict(key: str, value: float | None) -> str:
    comparison, bound, _ = _TARGETS[key]
    if value is None:
        return "not measured"
    if bound is None:
        return "not promised"
    return "met" if (operator.le if comparison == "<=" else operator.ge)(value, bound) else "missed"


def _print(document: dict[str, Any], console: Console) -> None:
    table = Table(title="harmony-ls bench lsp" + (" (partial)" if document["partial"] else ""), title_justify="left")
    for column in ("number", "what it is", "measured", "target", "verdict"):
        table.add_column(column)
    for key, verdict in document["verdicts"].items():
        value, (comparison, bound, meaning) = document[key], _TARGETS[key]
        style = {"met": "green", "missed": "bold red"}.get(verdict, "yellow")
        target = "" if bound is None else f"{comparison} {bound:g}"
        table.add_row(key, meaning, "-" if value is None else f"{value:g}", target, verdict, style=style)
    console.print(table)
