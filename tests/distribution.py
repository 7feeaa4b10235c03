"""Which tests stay together where several processes run them (pytest-xdist), and which of them go first.

The tests of a file stay together, since they share fixtures; so do those of VS Code, which share a running one; and so
do all that use the machine's Docker, since one that looks for containers left behind must not meet those of its
neighbour. What takes long comes first, so that no process is left alone with it at the end.

pytest-xdist's own ``loadgroup`` passes the groups on in the ids of tests, and since pytest 9.2 none arrives: every test
is a group of its own there (pytest-xdist issue 1386).
"""

from functools import cache
from pathlib import PurePosixPath

import pytest
from xdist.scheduler import LoadScopeScheduling

__all__ = ["LONG_GROUPS", "GroupScheduling", "group_of", "longest_first"]

_DOCKER = "docker"
_OF_DOCKER = (
    PurePosixPath("tests/tools/python"),
    PurePosixPath("tests/cli/test_bench_tools.py"),
    PurePosixPath("tests/cli/test_chat_tools_together.py"),
)
_VSCODE = "vscode"
_OF_VSCODE = "tests/editors/test_vscode*.py"
LONG_GROUPS = (
    _DOCKER,
    _VSCODE,
    "tests/editors",
    "tests/engine/test_distributed.py",
    "tests/lsp/test_fuzz.py",
    "tests/cli/test_bench_lsp.py",
    "tests/cli/test_bench_inline.py",
    "tests/lsp/test_process.py",
    "tests/engine/test_sampling.py",
    "tests/engine/test_interleaving.py",
    "tests/engine/test_tokenizer.py",
    "tests/engine/test_draft_model.py",
    "tests/lsp/test_chat_odd.py",
)
"""Groups, and folders of such, the longest first. What is not named comes after them."""


class GroupScheduling(LoadScopeScheduling):
    """Hands whole groups to the processes, in the order in which the tests were collected."""

    def __init__(self, config: pytest.Config, log: object = None) -> None:
        config.option.loadscopereorder = False  # else the groups of most tests come first, however short those are
        super().__init__(config, log)

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid.partition("::")[0])


@cache
def group_of(file: str) -> str:
    """The group of the tests of a file, which is named from the root of the repository on, as ids of tests name it."""
    path = PurePosixPath(file)
    if any(map(path.is_relative_to, _OF_DOCKER)):
        return _DOCKER
    return _VSCODE if path.match(_OF_VSCODE) else file


def longest_first(items: list[pytest.Item]) -> None:
    """Sort tests by their groups; those of a group stay in their order."""
    items.sort(key=lambda item: _place(group_of(item.nodeid.partition("::")[0])))


@cache
def _place(group: str) -> int:
    path = PurePosixPath(group)
    named = [place for place, long in enumerate(LONG_GROUPS) if path.is_relative_to(long)]
    return named[0] if named else len(LONG_GROUPS)
