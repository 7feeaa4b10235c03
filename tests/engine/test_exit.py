"""A process that has used the engine ends as it means to: MLX aborts at exit where its streams are left open.

Importing mlx-lm costs seconds, so on Linux most runs are forks of a process that has imported it and done nothing
else. Each of them ends through the interpreter's own finalisation. A Mac's frameworks do not survive a fork.
"""

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import asyncio, os, sys
import mlx_lm
import transformers.models.auto.tokenization_auto
from harmony_ls.engine.engine import Engine
from harmony_ls.engine.models.model import ModelSpec
from harmony_ls.engine.generation.request import GenerationRequest

async def main(folder, ending):
    engine = Engine()
    model = await engine.load(ModelSpec(folder))
    request = GenerationRequest(prompt=tuple(model.tokenizer.encode("def f():")), max_tokens=4000)
    generation = engine.generate(model, request)
    for _ in range(8):
        await anext(generation)
    if ending == "cancelled":
        generation.cancel()
        await generation.ended()
    await engine.close()
    if ending == "failed":
        raise SystemExit(3)

folder, ending, n_forks = sys.argv[1], sys.argv[2], int(sys.argv[3])
codes = []
for _ in range(n_forks):
    process = os.fork()
    if not process:
        break
    codes.append(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))
else:
    print(codes)
if len(codes) < n_forks or not n_forks:
    asyncio.run(main(folder, ending))
"""


def exit_codes(folder: Path, ending: str, n_forks: int) -> list[int]:
    """The exit code of one process, or of so many forks of one."""
    # Python 3.12 and later warn of any fork beside a thread; the only other threads here are those of BLAS, at rest.
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", PROGRAM, str(folder), ending, str(n_forks)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert result.stderr == ""
    if not n_forks:
        return [result.returncode]
    assert result.returncode == 0
    return [int(code) for code in result.stdout.strip("[]\n").split(",")]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ending", "n_runs", "code"),
    [
        pytest.param("cancelled", 10, 0, id="after a cancelled generation"),
        pytest.param("closed", 17, 0, id="closed while it generates"),
        pytest.param("failed", 6, 3, id="with its own exit code"),
    ],
)
def test_processes_end_cleanly(tiny_llama: Path, ending: str, n_runs: int, code: int) -> None:
    """Thirty runs and more: without the release of the streams three of four abort."""
    codes = exit_codes(tiny_llama, ending, 0)
    if sys.platform == "linux":
        codes += exit_codes(tiny_llama, ending, n_runs - 1)
    else:
        codes += [exit_codes(tiny_llama, ending, 0)[0] for _ in range(n_runs - 1)]
    assert codes == [code] * n_runs
