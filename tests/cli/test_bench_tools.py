"""``harmony-ls bench tools``: the keys that are promised, and a missing engine that is told and hides nothing else."""

import json
from pathlib import Path

import pytest

from harmony_ls.cli.bench.tools.command import ToolsPlan, bench_tools
from harmony_ls.settings.models import ToolSettings


def test_without_docker_patches_are_measured_all_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = ToolSettings(docker_host=f"unix://{tmp_path}/none.sock")
    assert bench_tools(ToolsPlan(settings, n_patches=6, n_lines=2_000), as_json=True) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["locate_ms_p95"] > 0
    assert (document["python_warm_ms_p50"], document["python_cold_ms_p50"]) == (None, None)
    assert document["faults"][0].startswith("The python tool needs Docker")
