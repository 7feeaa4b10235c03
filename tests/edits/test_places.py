"""Where hunks land: where the patch says, or nowhere. Each of these once changed another place, and said success."""

import pytest

from harmony_ls.edits.parse import parse_patch
from harmony_ls.edits.plan import plan_changes
from harmony_ls.edits.streaming import StreamingPatch
from harmony_ls.errors import PatchError


def patched(old: str, body: str, path: str = "f") -> str:
    """The text after a patch of one file. ``body`` stands below its header."""
    patch = f"*** Begin Patch\n*** Update File: {path}\n{body}*** End Patch\n"
    (change,) = plan_changes(parse_patch(patch), {path: old})
    streamed = StreamingPatch()
    for character in patch:
        streamed.feed(character)
    assert streamed.operations == parse_patch(patch).operations
    return change.new_text


@pytest.mark.parametrize(
    ("old", "body", "new"),
    [
        ("-- old\nb\n", "--- old\n+-- new\n b\n", "-- new\nb\n"),
        ("-- old\nb\n", "--- old\n b\n", "b\n"),
        ("a\n-- old\n", "--- old\n", "a\n"),
        ("-- old\n-- older\n", "--- old\n--- older\n+-- new\n", "-- new\n"),
        ("-- old\n", "--- old\n+++ new\n", "++ new\n"),
        ("-- f\n", "--- f\n+-- g\n", "-- g\n"),
        ("-- old\n-- f\n", "--- a/f\n+++ b/f\n--- old\n+-- new\n", "-- new\n-- f\n"),
        ("-- old\nb\nc\n", "--- old\n b\n@@\n-c\n", "b\n"),
    ],
)
def test_a_comment_of_lua_that_is_removed_first_is_no_header_of_a_diff(old: str, body: str, new: str) -> None:
    assert patched(old, body) == new


@pytest.mark.parametrize(
    "header",
    [
        "--- a/src/f\n+++ b/src/f\n",
        "--- src/f\n+++ src/f\n",
        "--- f\t2026-01-01 10:00:00\n+++ f\t2026-01-02 10:00:00\n",
        "--- /dev/null\n+++ b/src/f\n",
        "--- /home/me/src/f\n+++ /home/me/src/f\n",
    ],
)
@pytest.mark.parametrize("marker", ["@@ -1,2 +1,2 @@\n", "@@\n", ""])
def test_the_two_lines_in_which_a_diff_names_the_file_are_a_header(header: str, marker: str) -> None:
    assert patched("a\nb\n", f"{header}{marker} a\n-b\n+B\n", "src/f") == "a\nB\n"


@pytest.mark.parametrize("header", ["--- a/other\n+++ b/other\n", "--- a/src/f\n", "--- a/src/f\n+++ b/src/other\n"])
def test_what_names_another_file_or_is_half_a_header_is_sought_in_the_file(header: str) -> None:
    with pytest.raises(PatchError, match="line 3 of the patch"):
        patched("a\nb\n", f"{header}@@\n a\n-b\n+B\n", "src/f")
