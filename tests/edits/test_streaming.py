"""A patch fed in pieces: nothing incomplete is shown, nothing is taken back, and in the end it is the whole patch."""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmony_ls.edits.operations import UpdateFile
from harmony_ls.edits.parse import parse_patch
from harmony_ls.edits.streaming import StreamingPatch
from harmony_ls.errors import PatchError
from tests.edits.patch_fixtures import FOLDER, read_fixture

if TYPE_CHECKING:
    from _typeshed import TraceFunction

PATCH = """*** Begin Patch
*** Add File: new.py
+print("héllo \\n")
+
*** Update File: old.py
*** Move to: older.py
@@ class A:
@@     def f(self):
     one
-    two
+    2
@@
 last
+line
*** End of File
*** Delete File: gone.py
*** End Patch
"""


def cut(text: str, places: list[int]) -> list[str]:
    places = sorted({place % (len(text) + 1) for place in places})
    return [text[start:end] for start, end in zip([0, *places], [*places, len(text)], strict=True)]


@pytest.mark.parametrize("written", [PATCH, json.dumps({"patch": PATCH}), json.dumps(PATCH), f"Look:\n{PATCH}Done.\n"])
@given(places=st.lists(st.integers(0, 10_000), max_size=30))
def test_in_pieces_it_is_the_same_patch(written: str, places: list[int]) -> None:
    patch = StreamingPatch()
    for piece in cut(written, places):
        patch.feed(piece)
    assert patch.operations == parse_patch(PATCH).operations
    assert patch.fault == ""


@pytest.mark.parametrize("written", [PATCH, json.dumps({"patch": PATCH})])
def test_character_by_character_it_only_grows(written: str) -> None:
    patch = StreamingPatch()
    n_hunks = n_operations = 0
    shown: list[str] = []
    for character in written:
        grew = patch.feed(character)
        assert patch.n_hunks >= n_hunks
        assert len(patch.operations) >= n_operations
        n_hunks, n_operations = patch.n_hunks, len(patch.operations)
        lines = [
            line.text
            for operation in patch.operations
            if isinstance(operation, UpdateFile)
            for hunk in operation.hunks
            for line in hunk.lines
        ]
        assert lines[: len(shown)] == shown, "what was shown stays"
        assert grew or lines == shown, "nothing changes inside a line"
        shown = lines
    assert (n_hunks, n_operations) == (4, 3)


@pytest.mark.parametrize("wrap", [str, json.dumps, lambda text: json.dumps({"patch": text, "more": "x"})])
@pytest.mark.parametrize("end", ["*** End Patch\n", "*** End Patch", ""], ids=["whole", "no newline", "no end"])
@pytest.mark.parametrize("body", [" a\n-b\n+B", ' a\n-b\n+"\\\té\U0001f600'], ids=["plain", "escapes"])
def test_a_last_line_without_its_end_counts_when_the_text_is_over(
    wrap: Callable[[str], str], end: str, body: str
) -> None:
    text = f"*** Begin Patch\n*** Update File: a.txt\n@@\n{body}" + (f"\n{end}" if end else "")
    patch = StreamingPatch()
    patch.feed(wrap(text))
    shown = patch.operations
    assert patch.finish() == (end == "")
    assert patch.operations == parse_patch(text).operations
    assert patch.fault == ""
    assert (shown == patch.operations) == (end != "")
    assert not patch.finish()
    assert not patch.feed("*** Add File: b\n+x\n")
    assert patch.operations == parse_patch(text).operations


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.md")), ids=lambda path: path.stem)
def test_in_the_end_the_preview_of_every_fixture_shows_what_was_understood_or_says_why_not(path: Path) -> None:
    written = read_fixture(path).patch
    patch = StreamingPatch()
    patch.feed(written)
    shown = patch.operations
    patch.finish()
    assert len(patch.operations) >= len(shown)
    try:
        understood = parse_patch(written).operations
    except PatchError:
        return
    if patch.fault == "":
        assert [type(operation) for operation in patch.operations] == [type(operation) for operation in understood]
    else:
        assert "preview" in patch.fault or "--- a/" in written, "only diffs are understood without being shown"


def test_text_that_is_over_before_a_patch_began_has_no_preview() -> None:
    for text in ("", "*** Begin Pa", "--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n"):
        patch = StreamingPatch()
        patch.feed(text)
        assert not patch.finish()
        assert patch.operations == ()
        assert "no preview" in patch.fault


def test_a_fault_ends_the_preview_and_keeps_what_was_shown() -> None:
    patch = StreamingPatch()
    patch.feed("*** Begin Patch\n*** Add File: a\n+one\ntwo\n+three\n")
    assert [operation.path for operation in patch.operations] == ["a"]
    assert "line 4" in patch.fault
    assert not patch.feed("+four\n")


def test_text_without_a_patch_is_not_kept_for_ever() -> None:
    patch = StreamingPatch()
    patch.feed("no patch " * 1000)
    assert patch.fault
    assert patch.operations == ()


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.md")), ids=lambda path: path.stem)
def test_every_cut_of_every_fixture_is_the_same_in_the_end(path: Path) -> None:
    """Nothing is raised on the way, whatever the patch is wrapped in and however wrong it is."""
    written = read_fixture(path).patch
    whole, by_characters = StreamingPatch(), StreamingPatch()
    whole.feed(written)
    seen = [by_characters.operations for character in written if by_characters.feed(character)]
    assert by_characters.operations == whole.operations
    assert by_characters.fault == whole.fault
    assert seen == sorted(seen, key=len), "no file is taken back"
    for place in range(len(written)):
        patch = StreamingPatch()
        patch.feed(written[:place])
        patch.feed(written[place:])
        assert patch.operations == whole.operations


@pytest.mark.parametrize("wrap", [str, lambda text: json.dumps({"patch": text})], ids=["plain", "json"])
def test_a_whole_patch_in_one_piece_takes_time_linear_in_it(wrap: Callable[[str], str]) -> None:
    patch = StreamingPatch()
    start = time.thread_time()
    patch.feed(wrap("*** Begin Patch\n*** Add File: a\n" + "+x\n" * 200_000))
    assert time.thread_time() - start < 8.0
    assert len(patch.operations) == 1


@pytest.mark.parametrize("wrap", [str, lambda text: json.dumps({"patch": text})], ids=["plain", "json"])
def test_a_long_line_costs_no_more_for_each_piece_the_longer_it_gets(wrap: Callable[[str], str]) -> None:
    """Counted in lines of Python that are run: time would depend on the machine."""
    text = wrap("*** Begin Patch\n*** Add File: a\n+" + "x\\" * 20_000 + "\n*** End Patch\n")
    patch = StreamingPatch()
    counts: list[int] = []

    def count(frame: FrameType, event: str, argument: object) -> "TraceFunction":
        counts[-1] += event == "line"
        return count

    before = sys.gettrace()
    for start in range(0, len(text) // 4 * 4 - 200, 4):
        counts.append(0)
        sys.settrace(count)
        patch.feed(text[start : start + 4])
        sys.settrace(before)
    patch.feed(text[start + 4 :])
    assert max(counts[1000:]) <= max(counts[:1000])
    assert patch.operations == parse_patch(text).operations


def test_blanks_behind_the_first_marker_are_not_kept_for_ever() -> None:
    patch = StreamingPatch()
    patch.feed("*** Begin Patch" + " " * 5000)
    assert "no preview" in patch.fault
