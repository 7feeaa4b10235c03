"""``demo`` and ``doctor`` as a person runs them: real processes, the real server, a model that follows a script."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.models import Rule

ScriptedModel = Callable[[Sequence[Rule]], Path]

PROGRAM = """import math


class Circle:
    def __init__(self, radius):
        self.radius = radius

    def area(self):
        return math.pi * self.radius ** 2
"""
USER_SETTINGS = """
trustRemoteCode = true

[inlineCompletion.fim]
prefix = "<|fim_prefix|>"
suffix = "<|fim_suffix|>"
middle = "<|fim_middle|>"
"""


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run ``harmony-ls`` with user settings of its own."""
    folder = tmp_path / "config" / "harmony-ls"
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text(USER_SETTINGS)

    def command(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-P", "-m", "harmony_ls", *arguments],
            env={**os.environ, "XDG_CONFIG_HOME": str(tmp_path / "config"), "COLUMNS": "160", "NO_COLOR": "1"},
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    return command


def test_demo_types_accepts_and_sums_up(
    run: Callable[..., subprocess.CompletedProcess[str]], scripted_model: ScriptedModel, tmp_path: Path
) -> None:
    file = tmp_path / "circle.py"
    file.write_text(PROGRAM)
    model = scripted_model([Rule(after="return math.pi", reply=" * self.radius ** 2")])
    result = run("demo", f"{file}:8", "--lines", "2", "--model", str(model))
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    assert "return math.pi * self.radius ** 2" in result.stdout
    assert "+ 19 accepted" in result.stdout
    assert "19 (" in result.stdout
    assert "vim.lsp.inline_completion.enable()" in result.stdout
    assert file.read_text() == PROGRAM


@pytest.mark.parametrize(
    ("name", "content", "place", "expected"),
    [
        ("missing.py", None, "", "cannot be read"),
        ("empty.py", b"", "", "is empty"),
        ("latin1.py", b"x = '\xe9'\n", "", "is not UTF-8"),
        ("short.py", b"x = 1\n", ":7", "there is no line 7"),
    ],
)
def test_demo_says_what_is_wrong_with_a_file(
    run: Callable[..., subprocess.CompletedProcess[str]],
    tmp_path: Path,
    name: str,
    content: bytes | None,
    place: str,
    expected: str,
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    result = run("demo", f"{name}{place}")
    assert result.returncode == 1
    assert expected in result.stdout
    assert "Traceback" not in result.stdout + result.stderr


def test_demo_names_a_model_that_cannot_be_loaded(run: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    result = run("demo", "--model", "./no-such-model")
    assert result.returncode == 1
    assert "There is no model folder ./no-such-model" in " ".join(result.stdout.split())


def test_doctor_finds_a_working_installation_healthy(
    run: Callable[..., subprocess.CompletedProcess[str]], scripted_model: ScriptedModel
) -> None:
    model = scripted_model([Rule(after="return math.pi * self.", reply="radius ** 2")])
    result = run("doctor", "--json", "--model", str(model))
    report = json.loads(result.stdout)
    checks = {check["name"]: check for check in report["checks"]}
    assert result.returncode == 0, report["checks"]
    assert report["healthy"]
    assert "return math.pi * self.[radius ** 2]" in checks["completion"]["finding"]
    assert report["report"]["status"]["state"] == "ready"


def test_doctor_says_where_a_persons_own_settings_are_or_would_be(
    run: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    file = tmp_path / "config" / "harmony-ls" / "config.toml"
    for text, expected in (
        ("inlineCompletion.enabled = false\n", f"from {file}, command line"),
        ("", f"from command line; your own file is {file}"),
        (None, f"from command line; your own file would be {file}"),
    ):
        file.unlink(missing_ok=True)
        if text is not None:
            file.write_text(text)
        report = json.loads(run("doctor", "--json", "--folder", ".").stdout)
        [check] = [check for check in report["checks"] if check["name"] == "settings"]
        assert check["finding"] == expected
        assert report["report"]["environment"]["configFile"] == {"path": str(file), "exists": text is not None}


def test_doctor_explains_what_is_broken(run: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.harmony-ls]\nmodel = "evil"\n')
    result = run("doctor", "--model", "./no-such-model")
    words = " ".join(result.stdout.split())
    assert result.returncode == 1
    assert "There is no model folder ./no-such-model" in words
    assert "model" in words
    assert "✗ settings" in words


def test_doctor_runs_no_code_of_the_folder(
    run: Callable[..., subprocess.CompletedProcess[str]], scripted_model: ScriptedModel, tmp_path: Path
) -> None:
    """A cloned repository may have modules of the same names as those that the server imports."""
    project = tmp_path / "project"
    project.mkdir()
    for name in ("typer", "pygls", "psutil", "harmony_ls"):
        (project / f"{name}.py").write_text("import pathlib\n\npathlib.Path(__file__).with_suffix('.ran').touch()\n")
    model = scripted_model([Rule(after="return math.pi * self.", reply="radius ** 2")])
    result = run("doctor", "--model", str(model), "--folder", "project")
    assert list(project.glob("*.ran")) == []
    assert result.returncode == 0, result.stdout + result.stderr


def test_doctor_says_that_completion_is_switched_off(
    run: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    """It does not wait for a model that nothing would load."""
    (tmp_path / "pyproject.toml").write_text("[tool.harmony-ls]\ninlineCompletion.enabled = false\n")
    result = run("doctor", "--json", "--folder", ".")
    report = json.loads(result.stdout)
    assert result.returncode == 1
    [check] = [check for check in report["checks"] if check["name"] == "completion"]
    assert check["ok"] is False
    assert str(tmp_path / "pyproject.toml") in check["finding"]
    assert "inlineCompletion.enabled" in check["advice"]
    assert report["report"]["status"]["state"] == "unloaded"
