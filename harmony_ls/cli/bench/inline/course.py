"""The course of ``harmony-ls bench inline``: which parts run, in which order, and what is kept when one is cut short.

The parts that need the engine in this process run first; then the model is freed, and the replay starts the real server
and mlx_lm.server as processes of their own, so that no more than two copies of a model are in memory.
"""

import asyncio
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from harmony_ls.cli.bench.inline import summary
from harmony_ls.cli.bench.inline.cases import Case, draw_code_cases, draw_finished_cases
from harmony_ls.cli.bench.inline.corpus import SourceFile, installed_packages, package_versions, read_sources
from harmony_ls.cli.bench.inline.engine_numbers import EngineRecord, EngineSizes, measure_engine
from harmony_ls.cli.bench.inline.quality import CaseRecord, ask_about_cases
from harmony_ls.cli.bench.inline.replay import Comparison, KeyRecord, choose_compared, replay
from harmony_ls.cli.bench.inline.rival import MlxLmServer
from harmony_ls.cli.bench.inline.subject import ModelFacts, Subject, load_subject
from harmony_ls.cli.bench.inline.typing_blocks import Block, draw_blocks
from harmony_ls.cli.bench.running import Outcome, Watcher
from harmony_ls.cli.typist import CAPABILITIES
from harmony_ls.engine.measuring import measure
from harmony_ls.errors import HarmonyLsError, UserError
from harmony_ls.lsp.client import LspClient, ResponseError, ServerGoneError
from harmony_ls.settings.models import Settings

__all__ = ["BenchResult", "Part", "Plan", "measure_inline"]


class Part(StrEnum):
    """A part of the bench that can be asked for alone."""

    QUALITY = "quality"
    ENGINE = "engine"
    REPLAY = "replay"
    RIVAL = "rival"


@dataclass(frozen=True, slots=True)
class Plan:
    """What is asked for. ``sizes`` is how thorough the engine's part is."""

    model: str | None = None
    parts: frozenset[Part] = frozenset(Part)
    n_lines: int = 200
    n_compared_lines: int = 6
    n_cases: int = 300
    n_quiet_cases: int = 150
    seed: int = 1
    sizes: EngineSizes = field(default_factory=EngineSizes)
    packages: dict[str, Path] = field(default_factory=installed_packages)


@dataclass(slots=True)
class BenchResult(Outcome):
    """Everything that was measured. ``seconds`` says how long each part took."""

    plan: Plan = field(default_factory=Plan)
    facts: ModelFacts | None = None
    packages: dict[str, str] = field(default_factory=dict)
    blocks: list[Block] = field(default_factory=list)
    keys: list[KeyRecord] = field(default_factory=list)
    cases: list[CaseRecord] = field(default_factory=list)
    engine: EngineRecord = field(default_factory=EngineRecord)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def numbers(self) -> dict[str, Any]:
        """All numbers by their keys, with the intervals and the sample sizes of all parts in one place each."""
        parts = [
            summary.replay_numbers(self.keys, self.plan.seed) if self.keys else {},
            summary.engine_numbers(self.engine),
            summary.quality_numbers(self.cases) if self.cases else {},
        ]
        intervals: dict[str, Any] = {}
        samples: dict[str, int] = {}
        merged: dict[str, Any] = {}
        for part in parts:
            intervals |= part.pop("intervals", {})
            samples |= part.pop("samples", {})
            merged |= part
        return merged | {"intervals": intervals, "samples": samples}


async def measure_inline(plan: Plan, result: BenchResult, watcher: Watcher) -> None:
    """Run the parts of the plan. What was measured before a fault or a cancellation stays in ``result``.

    Raises UserError when nothing can be measured at all.
    """
    watcher.begin("Reading the packages", None)
    result.packages = package_versions(plan.packages)
    files = await asyncio.to_thread(read_sources, plan.packages)
    settings = Settings(model=plan.model)
    with tempfile.TemporaryDirectory(prefix="harmony-ls-bench-") as name:
        folder = Path(name)
        watcher.begin("Loading the model", None)
        async with load_subject(settings) as subject:
            result.facts = subject.facts
            if Part.QUALITY in plan.parts:
                await _guarded(result, "quality", _quality(plan, subject, files, result, watcher))
            if Part.ENGINE in plan.parts:
                await _guarded(result, "engine", _engine(plan, subject, files, result, watcher))
            rival_folder = subject.facts.folder
            if Part.RIVAL in plan.parts and subject.facts.precision == "float32":
                rival_folder = folder / "model"
                await measure.save_resident_copy(subject.engine, subject.completion.model, rival_folder)
        if plan.parts & {Part.REPLAY, Part.RIVAL}:
            await _guarded(
                result,
                "replay",
                _replay(plan, settings, files, result, watcher, result.facts, folder, rival_folder),
            )


async def _guarded(result: BenchResult, name: str, part: Any) -> None:
    """Run one part; a fault of it is noted and leaves the others alone."""
    started = time.perf_counter()
    try:
        await part
    except (HarmonyLsError, ResponseError, ServerGoneError, TimeoutError) as error:
        result.faults.append(f"{name}: {error}")
    finally:
        result.seconds[name] = round(time.perf_counter() - started, 1)


async def _quality(
    plan: Plan, subject: Subject, files: Sequence[SourceFile], result: BenchResult, watcher: Watcher
) -> None:
    watcher.begin("Drawing cases", None)
    cases: list[Case] = await asyncio.to_thread(draw_code_cases, files, plan.n_cases, plan.seed)
    cases += await asyncio.to_thread(draw_finished_cases, files, plan.n_quiet_cases, plan.seed)
    watcher.begin("Completing held-out code", len(cases))
    await ask_about_cases(subject, cases, result.cases, watcher.advance)


async def _engine(
    plan: Plan, subject: Subject, files: Sequence[SourceFile], result: BenchResult, watcher: Watcher
) -> None:
    watcher.begin("Measuring the engine", plan.sizes.n_measurements)
    file = max(files, key=lambda file: (min(len(file.text), 20_000), file.path))
    await measure_engine(subject, file, plan.sizes, plan.seed, result.engine, watcher.advance)


async def _replay(
    plan: Plan,
    settings: Settings,
    files: Sequence[SourceFile],
    result: BenchResult,
    watcher: Watcher,
    facts: ModelFacts,
    folder: Path,
    rival_folder: Path,
) -> None:
    watcher.begin("Choosing files to type", None)
    blocks = result.blocks = await asyncio.to_thread(draw_blocks, files, plan.n_lines, plan.seed)
    if not blocks:
        raise UserError("none of the packages has a file of 200 lines to type into")
    async with AsyncExitStack() as stack:
        comparison = None
        if Part.RIVAL in plan.parts:
            watcher.begin("Starting mlx_lm.server", None)
            comparison = await _start_rival(plan, settings, facts, rival_folder, blocks, result, stack)
        if comparison is None and Part.REPLAY not in plan.parts:
            return
        watcher.begin("Starting harmony-ls lsp", None)
        with (folder / "server.log").open("wb") as log:
            # An empty folder for configuration: nobody's own settings shall change the figures.
            environment = {"XDG_CONFIG_HOME": str(folder / "config")}
            client = await LspClient.start(environment=environment, stderr=log.fileno())
            await stack.enter_async_context(client)
            # All settings said: nobody's own may change the figures.
            options = settings.model_dump(mode="json", by_alias=True)
            await client.initialize(capabilities=CAPABILITIES, options=options, name="harmony-ls bench")
            watcher.begin("Typing", sum(1 for block in blocks for _ in block.keystrokes()))
            compared_only = Part.REPLAY not in plan.parts
            await replay(client, blocks, result.keys, watcher.advance, comparison, compared_only=compared_only)
            await client.shutdown()


async def _start_rival(
    plan: Plan,
    settings: Settings,
    facts: ModelFacts,
    folder: Path,
    blocks: Sequence[Block],
    result: BenchResult,
    stack: AsyncExitStack,
) -> Comparison | None:
    """The rival, warmed up; None if it cannot be had, which is noted as a fault and leaves the replay alone."""
    max_tokens = settings.inline_completion.max_tokens
    try:
        rival = await stack.enter_async_context(MlxLmServer(folder, facts.blas_library))
        await rival.complete("def ", max_tokens=2)
    except HarmonyLsError as error:
        result.faults.append(f"mlx_lm.server: {error}")
        return None
    return Comparison(rival, facts, max_tokens, choose_compared(blocks, plan.n_compared_lines))
