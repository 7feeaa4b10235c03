"""Starts the processes of one group over loopback, as ``mlx.launch`` starts them on several machines.

    ranks = run_ranks(tmp_path, "compare", spec, spec)      how each of them ended, by rank

Ports are those that the system gives. A rank that does not end is killed, and that fails the test.
"""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["PATIENCE_SECONDS", "Rank", "run_ranks", "started"]

ROOT = Path(__file__).parent.parent.parent
PATIENCE_SECONDS = 200


@dataclass(frozen=True)
class Rank:
    """How one process ended."""

    code: int
    output: str
    errors: str


@contextmanager
def started(folder: Path, scenario: str, *specs: dict[str, Any]) -> Iterator[list["subprocess.Popen[str]"]]:
    """A process for each spec, in one group; ``folder`` takes the file that names their addresses."""
    with ExitStack() as stack:
        listeners = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in specs]
        hosts = [[f"127.0.0.1:{listener.getsockname()[1]}"] for listener in listeners]
    file = folder / "hosts.json"
    file.write_text(json.dumps(hosts))
    task = json.dumps({"scenario": scenario, "specs": specs})
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.engine.rank_program", task],
            cwd=ROOT,
            env=os.environ | {"MLX_HOSTFILE": str(file), "MLX_RANK": str(rank)},
            stdin=subprocess.PIPE if rank == 0 else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(len(specs))
    ]
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    stream.close()


def run_ranks(folder: Path, scenario: str, *specs: dict[str, Any]) -> list[Rank]:
    """Run a scenario of `tests.engine.rank_program` to its end."""
    with started(folder, scenario, *specs) as processes:
        outputs = [process.communicate(timeout=PATIENCE_SECONDS) for process in processes]
    return [Rank(process.returncode, *output) for process, output in zip(processes, outputs, strict=True)]
