"""That tests which must stay together do, and that what is named as long is there."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.distribution import LONG_GROUPS, group_of

ROOT = Path(__file__).parent.parent
FILES = ("tests/features/inline/test_trim.py", "tests/features/inline/test_gates.py", "tests/prompts/test_fim.py")
_RAN = re.compile(r"^\[(gw\d+)\].* (tests/[^:]+)::", re.MULTILINE)


def test_the_tests_of_a_file_run_in_one_process() -> None:
    command = [sys.executable, "-m", "pytest", "-v", "--numprocesses=2", "--dist=loadgroup", *FILES]
    own = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    result = subprocess.run(command, cwd=ROOT, env=own, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stdout + result.stderr
    pairs = set(_RAN.findall(result.stdout))
    assert sorted(file for _, file in pairs) == sorted(FILES)
    assert len({worker for worker, _ in pairs}) == 2


def test_what_uses_docker_is_one_group() -> None:
    files = [path.relative_to(ROOT).as_posix() for path in (ROOT / "tests/tools/python").glob("test_*.py")]
    assert len(files) > 5
    assert {group_of(file) for file in (*files, "tests/cli/test_chat_tools_together.py")} == {"docker"}
    assert group_of("tests/tools/test_toolbox.py") == "tests/tools/test_toolbox.py"


def test_what_uses_vscode_is_one_group() -> None:
    files = [path.relative_to(ROOT).as_posix() for path in (ROOT / "tests/editors").glob("test_*.py")]
    assert len([file for file in files if group_of(file) == "vscode"]) > 1
    assert [file for file in files if (group_of(file) == "vscode") != ("vscode" in file)] == []


def test_every_long_group_is_there() -> None:
    assert LONG_GROUPS[:2] == ("docker", "vscode")
    assert [group for group in LONG_GROUPS[2:] if not (ROOT / group).exists()] == []
