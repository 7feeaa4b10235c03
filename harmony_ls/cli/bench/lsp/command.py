"""``harmony-ls bench lsp``: its parts, each with a server of its own, and what their figures come to."""

import argparse
import statistics
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harmony_ls.cli.bench.document import bench_document
from harmony_ls.cli.bench.figures import percentile, ratio_of_medians, ratio_of_pairs
from harmony_ls.cli.bench.lsp.numbers import (
    LspRecord,
    LspSizes,
    measure_chat,
    measure_code_actions,
    measure_keys,
    measure_typing,
)
from harmony_ls.cli.bench.lsp.soak import soak
from harmony_ls.cli.bench.lsp.targets import TARGETS
from harmony_ls.cli.bench.running import Outcome, Watcher, run_bench
from harmony_ls.cli.bench.shapes import SHAPES, write_shape
from harmony_ls.cli.bench.table import print_numbers
from harmony_ls.cli.typist import CAPABILITIES, model_ready
from harmony_ls.engine.engine import Engine
from harmony_ls.engine.model import ModelSpec
from harmony_ls.errors import HarmonyLsError
from harmony_ls.lsp.client import LspClient, ResponseError, ServerGoneError
from harmony_ls.session.chat_model import load_chat_model

__all__ = ["PARTS", "LspPlan", "bench_lsp"]

PARTS = ("typing", "actions", "chat", "keys", "soak")


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
        lambda watcher: _run(plan, text, result, watcher),
        result,
        lambda: bench_document("lsp", result, TARGETS, _numbers(result.record)),
        lambda document, console: print_numbers(document, TARGETS, console),
        as_json=as_json,
    )


async def _run(plan: LspPlan, text: str, result: _Result, watcher: Watcher) -> None:
    with tempfile.TemporaryDirectory(prefix="harmony-ls-bench-") as name:
        folder = Path(name)
        watcher.begin("Making the models", None)
        async with Engine() as engine:
            for shape in ("llama", "tiny"):
                await write_shape(engine, SHAPES[shape], folder / shape)
        for part in plan.parts:
            watcher.begin(f"Measuring: {part}", None)
            try:
                await _PARTS[part](plan.sizes, folder, text, result.record, watcher)
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


async def _typing(sizes: LspSizes, folder: Path, text: str, record: LspRecord, _watcher: Watcher) -> None:
    async with _server(folder, "llama", max_tokens=30_000) as client:
        uri = "file:///bench/typing.py"
        client.open(uri, text)
        await model_ready(client)
        await measure_typing(client, uri, text, sizes, record)


async def _actions(sizes: LspSizes, folder: Path, text: str, record: LspRecord, _watcher: Watcher) -> None:
    async with _server(folder, "llama", max_tokens=30_000) as client:
        uri = "file:///bench/actions.py"
        client.open(uri, text)
        await model_ready(client)
        await measure_code_actions(client, uri, sizes, record)


async def _chat(sizes: LspSizes, folder: Path, text: str, record: LspRecord, watcher: Watcher) -> None:
    async with Engine() as engine, _server(folder, "llama", max_tokens=sizes.decode_tokens) as client:
        chat_model = await load_chat_model(engine, ModelSpec(str(folder / "llama")))
        await measure_chat(client, chat_model, text, sizes, record, watcher.advance)


async def _keys(sizes: LspSizes, folder: Path, text: str, record: LspRecord, _watcher: Watcher) -> None:
    async with _server(folder, "llama", max_tokens=30_000) as client:
        await measure_keys(client, text, sizes, record, lambda: None)


async def _soak(sizes: LspSizes, folder: Path, text: str, record: LspRecord, watcher: Watcher) -> None:
    # A prompt cache that is full before the warm-up is over: what grows then is a leak.
    async with _server(folder, "tiny", max_tokens=8, model=str(folder / "tiny"), prompt_cache_mb=16) as client:
        await soak(client, text[:4_000], sizes, record, lambda _number: watcher.advance())


_PARTS = {"typing": _typing, "actions": _actions, "chat": _chat, "keys": _keys, "soak": _soak}


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
        "chat_decode_ratio": ratio_of_pairs(record.chat_rates, record.mlx_lm_rates),
        "preempt_ratio": ratio_of_medians(record.busy_key_ms, record.idle_key_ms),
        "rss_growth": statistics.median(resident[-tenth:]) / statistics.median(resident[:tenth]) - 1
        if len(resident) > 1
        else None,
        "n_unanswered": float(record.n_unanswered) if record.n_requests else None,
        "n_surplus": float(record.n_surplus) if record.n_requests else None,
        "n_requests": float(record.n_requests) if record.n_requests else None,
    }
