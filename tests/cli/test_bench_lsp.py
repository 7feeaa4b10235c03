"""``harmony-ls bench lsp``, with little of each: that it measures what it says, not how much comes of it."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from harmony_ls.cli import app
from harmony_ls.cli.bench.lsp.command import PARTS, LspPlan, bench_lsp
from harmony_ls.cli.bench.lsp.editing import EDITING_CAPABILITIES, EditingHand
from harmony_ls.cli.bench.lsp.models import NOTES, write_models
from harmony_ls.cli.bench.lsp.record import LspRecord, LspSizes, TypingRecord
from harmony_ls.cli.bench.lsp.running_chat import chat_running
from harmony_ls.cli.bench.lsp.summary import intervals, numbers, samples
from harmony_ls.cli.bench.lsp.targets import TARGETS
from harmony_ls.cli.bench.targets import judge
from harmony_ls.engine.engine import Engine
from harmony_ls.lsp.client import LspClient

FEW = LspSizes(
    changes=8,
    blocks=2,
    idle_changes=4,
    burst_changes=20,
    code_actions=4,
    decode_pairs=1,
    decode_tokens=24,
    keys=2,
    requests=60,
    warm_up=20,
)


def test_every_part_is_measured_and_every_request_answered(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench_lsp(LspPlan(PARTS, FEW), as_json=True) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["faults"] == []
    assert not document["partial"]
    assert "not measured" not in document["verdicts"].values()
    assert document["verdicts"].keys() == document["meanings"].keys() == {target.key for target in TARGETS}
    assert document["n_unanswered"] == document["n_surplus"] == 0
    assert document["n_requests"] == FEW.requests + FEW.warm_up
    assert document["verdicts"]["n_requests"] == "missed", "so few requests are no soak"
    assert min(document["did_change_round_trip_ms_p50"], document["request_ms_p50"]) > 0
    assert document["samples"]["did_change_ms_p50"] == document["samples"]["deep_did_change_ms_p50"] == FEW.changes
    assert document["step_ms"] < document["deep_step_ms"]
    assert document["n_tool_calls"] >= document["samples"]["preempt_ratio"] == FEW.keys


def test_what_a_change_adds_is_told_pair_by_pair() -> None:
    busy = TypingRecord([1.0, 2.0, 4.0, 9.0], [1.5, 2.75, 6.0], steps_ms=[10.0, 12.0], cpu_seconds=3.0, seconds=2.0)
    deep = TypingRecord([1.0, 3.0, 4.0], [2.0, 3.5, 9.0], steps_ms=[44.0])
    record = LspRecord(busy=busy, busy_deep=deep)
    found = numbers(record)
    assert busy.added_ms == [0.5, 0.75, 2.0], "half of a pair has no difference"
    assert found["did_change_ms_p50"] == 0.75
    assert found["did_change_round_trip_ms_p50"] == 2.75
    assert found["did_change_ms_p99"] == pytest.approx(5.935), "of the whole round trip"
    assert found["did_change_step_ratio"] == pytest.approx(3.5 / 2.75)
    assert (found["step_ms"], found["deep_step_ms"], found["steps_ratio"]) == (11.0, 44.0, 4.0)
    assert found["server_cores"] == 1.5
    assert samples(record)["did_change_ms_p50"] == 3
    assert intervals(record)["did_change_ms_p50"].low == 0.5


def test_a_server_that_waits_for_steps_would_miss_the_target() -> None:
    """Half a step at the median: beside steps that are five times as long, changes take nearly five times as long."""
    [target] = [target for target in TARGETS if target.key == "did_change_step_ratio"]
    waits = {length: [0.5 + length * moment / 100 for moment in range(100)] for length in (10, 50)}
    record = LspRecord(busy=TypingRecord([], waits[10]), busy_deep=TypingRecord([], waits[50]))
    assert numbers(record)["did_change_step_ratio"] == pytest.approx(4.6, abs=0.1)
    assert judge(target, numbers(record)) == "missed"


def test_steps_that_are_alike_are_told_to_show_nothing() -> None:
    [target] = [target for target in TARGETS if target.key == "steps_ratio"]
    record = LspRecord(busy=TypingRecord(steps_ms=[10.0]), busy_deep=TypingRecord(steps_ms=[12.0]))
    assert judge(target, numbers(record)) == "missed"


def test_growth_is_that_of_the_last_samples_over_the_first() -> None:
    resident = [100] * 3 + [500] * 24 + [104] * 3
    assert numbers(LspRecord(resident_bytes=resident))["rss_growth"] == pytest.approx(0.04)
    assert numbers(LspRecord(resident_bytes=[100]))["rss_growth"] is None


def test_an_unknown_part_is_refused() -> None:
    result = CliRunner().invoke(app, ["bench", "lsp", "--only", "everything"])
    assert result.exit_code == 2
    assert "there is no part 'everything'" in result.output


async def test_a_chat_with_tools_changes_a_file_of_the_client_again_and_again(tmp_path: Path) -> None:
    async with Engine() as engine:
        await write_models(engine, {"calls"}, tmp_path)
    folder = tmp_path / "project"
    folder.mkdir()
    notes = folder / "notes.py"
    notes.write_text(NOTES, encoding="utf-8")
    environment = {"XDG_STATE_HOME": str(tmp_path / "state"), "XDG_CONFIG_HOME": str(tmp_path / "config")}
    options = {"chat": {"model": str(tmp_path / "calls")}, "inlineCompletion": {"enabled": False}}
    asked: list[list[str]] = []

    def allow(titles: Any) -> str:
        asked.append(list(titles))
        return "Allow for this session"

    async with await LspClient.start(("--log-level", "error"), environment=environment) as client:
        await client.initialize(capabilities=EDITING_CAPABILITIES, folder=folder, options=options)
        hand = EditingHand(client, allow)
        client.open(notes.as_uri(), NOTES)
        async with chat_running(client, "Write it down.") as chat:
            await chat.until(lambda: len(chat.result_times) >= 2)
        assert chat.step_ms is not None
        assert chat.step_ms > 0
        added = '    "one more",\n'
        assert str(client.text(notes.as_uri())) == NOTES.replace("\n", "\n" + added * hand.n_edits, 1)
        assert hand.n_edits >= 2
        assert len(asked) == 1
        assert await client.request("harmony/chat/sessions", {}) == [], "the session was deleted"
        await client.shutdown()
    assert notes.read_text(encoding="utf-8") == NOTES, "neither server nor client writes files"
