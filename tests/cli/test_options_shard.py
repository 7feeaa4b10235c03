"""``--shard``: the processes that were started together share a model, and one of them talks."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest
from typer.testing import CliRunner

from harmony_ls.cli import app

PATIENCE_SECONDS = 200


@pytest.mark.slow
@pytest.mark.parametrize("command", [["chat", "--no-tools"], ["generate"]])
def test_rank_0_talks_and_the_others_follow(
    command: list[str], tiny_llama: Path, own_environment: Mapping[str, str], tmp_path: Path
) -> None:
    arguments = [*command, "--model", str(tiny_llama), "--temperature", "0", "--max-tokens", "8"]
    alone = CliRunner().invoke(app, arguments, input="Hello")
    assert alone.exit_code == 0
    with ExitStack() as stack:
        listeners = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2)]
        hosts = [[f"127.0.0.1:{listener.getsockname()[1]}"] for listener in listeners]
    file = tmp_path / "hosts.json"
    file.write_text(json.dumps(hosts))
    shared = {**os.environ, **own_environment, "MLX_HOSTFILE": str(file), "OPENBLAS_NUM_THREADS": "1"}
    with ExitStack() as stack:
        processes: list[subprocess.Popen[str]] = []
        for rank in ("0", "1"):
            process = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-m", "harmony_ls", *arguments, "--shard", "tensor"],
                    env={**shared, "MLX_RANK": rank},
                    stdin=subprocess.PIPE if rank == "0" else subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
            stack.callback(process.kill)
            processes.append(process)
        said = [
            process.communicate(message, timeout=PATIENCE_SECONDS)
            for process, message in zip(processes, ("Hello", None), strict=True)
        ]
    assert [process.returncode for process in processes] == [0, 0], said
    assert [out for out, _ in said] == [alone.stdout, ""]


def test_a_process_that_was_started_alone_cannot_share(
    tiny_llama: Path, own_environment: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MLX_RANK", "OMPI_COMM_WORLD_RANK", "PMI_RANK"):
        monkeypatch.delenv(name, raising=False)
    for command in ("chat", "generate"):
        result = CliRunner().invoke(app, [command, "--model", str(tiny_llama), "--shard", "tensor"], input="Hello")
        assert (result.exit_code, result.stdout) == (1, "")
        assert "needs several processes" in result.stderr
