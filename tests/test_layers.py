"""The architecture holds: imports only go down, each big library has one owner, and nothing heavy is imported early."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def run_python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, cwd=ROOT, env=os.environ | {"NO_COLOR": "1"}, capture_output=True, text=True)


def test_import_contracts() -> None:
    """The contracts of ``pyproject.toml``; ``lint-imports`` shows the same on a terminal."""
    code = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    result = run_python(code, "--no-cache", "--no-logo")
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_command_line_starts_without_mlx_lm() -> None:
    """Editors wait for ``initialize``: mlx-lm takes a second to import, so it waits for the first model."""
    code = (
        "import importlib, sys; importlib.import_module('harmony_ls.cli');"
        "print([name for name in ('mlx_lm', 'transformers', 'tokenizers', 'numpy') if name in sys.modules])"
    )
    result = run_python(code)
    assert (result.returncode, result.stdout.strip()) == (0, "[]"), result.stdout + result.stderr
