"""``harmony-ls bench lsp``, with little of each: that it measures, not what."""

import json

import pytest
from typer.testing import CliRunner

from harmony_ls.cli import app
from harmony_ls.cli.bench.lsp.command import PARTS, LspPlan, bench_lsp
from harmony_ls.cli.bench.lsp.numbers import LspSizes

FEW = LspSizes(changes=8, code_actions=4, decode_pairs=1, decode_tokens=24, keys=2, requests=40, warm_up=20)


def test_every_part_is_measured_and_every_request_answered(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench_lsp(LspPlan(PARTS, FEW), as_json=True) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["faults"] == []
    assert not document["partial"]
    assert "not measured" not in document["verdicts"].values()
    assert document["n_unanswered"] == document["n_surplus"] == 0
    assert document["n_requests"] == FEW.requests + FEW.warm_up
    assert min(document["did_change_ms_p50"], document["barrier_ms_p50"]) > 0
    assert document["step_ms_p50"] > 0


def test_an_unknown_part_is_refused() -> None:
    result = CliRunner().invoke(app, ["bench", "lsp", "--only", "everything"])
    assert result.exit_code == 2
    assert "there is no part 'everything'" in result.output
