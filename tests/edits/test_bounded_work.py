"""No patch of a megabyte keeps a thread busy for long, whatever it and the file hold: such work cannot be cancelled.

The worst of these took many minutes before work was counted. The limit is one for slow machines.
"""

import contextlib
import time

import pytest

from harmony_ls.edits.parse import parse_patch
from harmony_ls.edits.plan import plan_changes
from harmony_ls.errors import PatchError

N_HUNKS = 2000
MOST_SECONDS = 8.0
ANCHOR = "@@ def f():\n"


def hunks(pattern: str, n: int = N_HUNKS) -> str:
    return "".join(pattern.replace("#", str(i)) for i in range(n))


def lines(pattern: str, n: int) -> str:
    return hunks(pattern, n)


SLIPS = "".join("a" * 300 + f"{i}\n" for i in range(40))
SLIPPED = "".join(f" {'a' * (300 - (i % 5 == 0))}{'b' * (i % 5 == 0)}{i}\n" for i in range(39))
HOSTILE = {
    "one long block": ("def f():\n" + lines(" x#\n", 60_000), hunks(ANCHOR + "- x#\n+ y#\n")),
    "far from many anchors": (
        "def f():\n" * 1000 + "z\n" * 100_000 + lines(" t#\n", N_HUNKS), hunks(ANCHOR + "- t#\n+y\n")
    ),
    "many places and many hunks": (
        "def f():\n x\n" * 1000,
        "".join(f"@@ -{2 * i + 2},1 +1,1 @@\n{ANCHOR}- x\n+ y\n" for i in range(1000)),
    ),
    "loose": ("x\n" * 200_000 + lines("#\u2013\n", N_HUNKS), hunks("@@\n-#-\n+y\n")),
    "nearly periodic": ("a b " * 200_000 + "\n" + lines("a b #\n", N_HUNKS), hunks("@@\n-a b #\n+y\n")),
    "slips in repeats": (SLIPS * 40, f"@@\n{SLIPPED}-{'a' * 300}39\n"),
    "nearest lines": (lines("w " + "a" * 398 + "\n", 2000), "@@\n-w " + "a" * 397 + "b\n+y\n"),
    "equal lines behind anchors": ("x\n" * 100_000, "@@ x\n" + " x\n" * 8000 + "-y\n"),
    "lines in another order": ("z\n" * 100_000 + lines("t#\n", 30_000), "@@\n" + lines("-t#\n", 30_000)[:-9] + "-z\n"),
    "blank lines at the end": ("x\n" * 100_000, "@@\n-q\n" + " \n" * 300_000),
    "beginnings of lines": ("z\n" * 100_000 + lines("def f#(x):\n t\n", 900), hunks("@@ def f#\n- t\n+ u\n", 900)),
    "anchors inside anchors": (lines("if a:\n b\n", 50_000), hunks("@@ if a:\n" * 8 + "- c\n+ d\n", 500)),
    "many places inside an anchor": (
        "def f():\n" * 900 + " x\n" * 90_000, hunks("@@ def f():\n- x\n+ y\n")
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hunks_are_placed_or_refused_in_bounded_time(name: str) -> None:
    file, written = HOSTILE[name]
    patch = parse_patch(f"*** Begin Patch\n*** Update File: a\n{written}*** End Patch\n")
    start = time.thread_time()
    with contextlib.suppress(PatchError):
        [change] = plan_changes(patch, {"a": file})
        assert change.new_text != file
    assert time.thread_time() - start < MOST_SECONDS


def test_many_hunks_of_a_usual_size_are_no_trouble() -> None:
    file = lines("def f#():\n    return #\n", 5_000)
    written = "".join(f"@@ def f{i}():\n-    return {i}\n+    return -{i}\n" for i in range(0, 5_000, 20))
    [change] = plan_changes(parse_patch(f"*** Begin Patch\n*** Update File: a\n{written}*** End Patch\n"), {"a": file})
    assert change.new_text == "".join(
        f"def f{i}():\n    return {'-' if i % 20 == 0 else ''}{i}\n" for i in range(5_000)
    )


@pytest.mark.parametrize(
    "text",
    [
        "apply_patch <<EOF\nx\nEOF" + " " * 200_000 + "x",
        "*** Begin Patch" + " " * 200_000 + "x",
        "~~~a\n" * 100_000,
        "```\n" + "~~~a\n" * 100_000,
        "--- a\n+++ b\n@@ -1 +1 @@\n-a\n+b\n*** End Patch" + " " * 200_000 + "x",
    ],
    ids=["heredoc", "marker", "fences", "fences in a fence", "end of a diff"],
)
def test_wrappers_are_looked_for_in_linear_time(text: str) -> None:
    start = time.thread_time()
    with contextlib.suppress(PatchError):
        parse_patch(text)
    assert time.thread_time() - start < MOST_SECONDS
