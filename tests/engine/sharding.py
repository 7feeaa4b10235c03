"""Starts the processes of one group over loopback, as ``mlx.launch`` starts them on several machines.

    ranks = run_ranks(tmp_path, Case("compare", (spec, spec)))      how each of them ended, by rank

Ports are those that the system gives. A rank that does not end is killed, and that fails the test.
"""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

__all__ = ["PATIENCE_SECONDS", "Case", "Rank", "run_ranks", "started"]

ROOT = Path(__file__).parent.parent.parent
PATIENCE_SECONDS = 200


@dataclass(frozen=True)
class Case:
    """A scenario of `tests.engine.rank_program`, and the spec of each rank."""

    scenario: str
    specs: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class Rank:
    """How one process ended."""

    code: int
    output: str
    errors: str


@contextmanager
def started(folder: Path, *cases: Case) -> Iterator[list["subprocess.Popen[str]"]]:
    """The processes of one group, which take the cases in turn; ``folder`` takes the file of their addresses."""
    n_ranks = len(cases[0].specs)
    with ExitStack() as stack:
        listeners = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(n_ranks)]
        hosts = [[f"127.0.0.1:{listener.getsockname()[1]}"] for listener in listeners]
    file = folder / "hosts.json"
    file.write_text(json.dumps(hosts))
    task = json.dumps([asdict(case) for case in cases])
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.engine.rank_program", task],
            cwd=ROOT,
            env=os.environ | {"MLX_HOSTFILE": str(file), "MLX_RANK": str(rank), "OPENBLAS_NUM_THREADS": "1"},
            stdin=subprocess.PIPE if rank == 0 else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(n_ranks)
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


def run_ranks(folder: Path, *cases: Case) -> list[Rank]:
    """Run cases to their end, in one group."""
    with started(folder, *cases) as processes:
        outputs = [process.communicate(timeout=PATIENCE_SECONDS) for process in processes]
    return [Rank(process.returncode, *output) for process, output in zip(processes, outputs, strict=True)]
