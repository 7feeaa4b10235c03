"""Where hunks land: where the patch says, or nowhere. Each of these once changed another place, and said success."""

import difflib

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


STEP = "  - step:\n      image: python\n      retries: 1\n      timeout: 30\n\n"


@pytest.mark.parametrize("n_before", [2, 47, 48, 49, 50, 51, 58])
@pytest.mark.parametrize("meant", [0, 1, 30, 49, 50, 56, 59])
@pytest.mark.parametrize("context", [3, 0])
def test_the_numbers_of_a_diff_choose_among_any_number_of_like_places(n_before: int, meant: int, context: int) -> None:
    steps = [STEP] * 60
    steps.insert(n_before, "MARK = 0\n\n\n")
    old = "".join(steps)
    steps[steps.index("MARK = 0\n\n\n")] = "MARK = 1\n\n\n"
    steps[meant + (meant >= n_before)] = STEP.replace("retries: 1", "retries: 9")
    new = "".join(steps)
    diff = "".join(
        difflib.unified_diff(old.splitlines(keepends=True), new.splitlines(keepends=True), "a/f", "b/f", n=context)
    )
    (change,) = plan_changes(parse_patch(diff), {"f": old})
    assert change.new_text == new


def blocks(n: int, mark: int) -> str:
    """So many functions that are alike, a mark in front of one of them."""
    return "".join(("MARK = 0\n" if i == mark else "") + f"def f{i}():\n    retries = 1\n\n" for i in range(n))


TWO = "@@\n-MARK = 0\n+MARK = 1\n@@\n-    retries = 1\n+    retries = 9\n"


@pytest.mark.parametrize("mark", [0, 29, 48, 49, 50])
def test_of_more_places_than_are_listed_none_is_taken_for_the_last(mark: int) -> None:
    with pytest.raises(PatchError, match=r"are found (\d\d|many) times"):
        patched(blocks(60, mark), TWO)


def test_the_only_place_behind_the_hunk_before_is_taken_where_all_are_known() -> None:
    assert patched(blocks(40, 39), TWO) == blocks(40, 39).replace("MARK = 0", "MARK = 1").replace(
        "f39():\n    retries = 1", "f39():\n    retries = 9"
    )


def test_of_three_places_in_a_class_the_second_is_not_taken_when_the_first_is_changed() -> None:
    old = "class A:\n" + "".join(f"    def {name}():\n        x = 1\n" for name in "abc")
    first = "@@\n     def a():\n-        x = 1\n+        x = 2\n"
    with pytest.raises(PatchError, match="found 2 times"):
        patched(old, f"{first}@@ class A:\n-        x = 1\n+        x = 3\n")


def test_a_line_that_is_the_anchor_itself_and_stands_behind_it_too_is_not_certain() -> None:
    with pytest.raises(PatchError, match="found 2 times"):
        patched("x = 1\ny\nx = 1\n", "@@ x = 1\n-x = 1\n+x = 2\n")


@pytest.mark.parametrize(
    ("old", "hunk"),
    [
        ("def a():\n    t = 1\n\nclass B:\n    def b(self):\n        t = 1\n", "@@\n-    t = 1\n+    t = 2\n"),
        ("key = 'a'\nother\nkey = \u2018a\u2019\n", "@@\n-key = 'a'\n+key = 'b'\n"),
        ("key\nother\nkey  \n", "@@\n-key\n+kez\n"),
        ("a\nb\n\nc\n\nb\n", "@@\n a\n-b\n+B\n \n"),
    ],
)
def test_a_hunk_that_comes_twice_does_not_go_on_to_what_looks_like_its_place(old: str, hunk: str) -> None:
    with pytest.raises(PatchError, match=r"Hunk 2.*which an earlier hunk of this patch changes"):
        patched(old, hunk + hunk)


def test_hunks_that_share_a_line_of_context_are_both_placed() -> None:
    assert patched("a\nb\nc\n", "@@\n-a\n+A\n b\n@@\n b\n-c\n+C\n") == "A\nb\nC\n"


CLIENT = "class Client:\n" + "".join(
    f"    def {name}(self):\n        if self.closed:\n            raise Closed\n            retry = 1\n\n"
    for name in ("get", "post")
)
RETRY = "             raise Closed\n-            retry = 1\n+            retry = 2\n"


@pytest.mark.parametrize("outer", ["", "@@ class Client:\n", "@@ class Client\n"])
def test_an_inner_anchor_that_comes_twice_is_as_uncertain_as_one_alone(outer: str) -> None:
    with pytest.raises(PatchError, match="found 2 times"):
        patched(CLIENT, f"{outer}@@         if self.closed:\n{RETRY}")


def test_an_inner_anchor_that_comes_twice_is_chosen_by_the_one_between() -> None:
    new = patched(CLIENT, f"@@ class Client:\n@@     def post(self):\n@@         if self.closed:\n{RETRY}")
    assert new == CLIENT[::-1].replace("1 = yrter", "2 = yrter", 1)[::-1]


def test_lines_are_not_added_behind_an_inner_anchor_that_comes_twice() -> None:
    with pytest.raises(PatchError, match="found 2 times"):
        patched(CLIENT, "@@ class Client:\n@@         if self.closed:\n+            x = 1\n")


def test_an_inner_anchor_is_found_however_often_it_stands_outside() -> None:
    old = "".join(f"class A{i}:\n    def f(self):\n        x = 1\n" for i in range(1500))
    new = old.replace("A1400:\n    def f(self):\n        x = 1", "A1400:\n    def f(self):\n        x = 2")
    assert patched(old, "@@ class A1400:\n@@     def f(self):\n-        x = 1\n+        x = 2\n") == new


def test_an_anchor_that_stands_more_often_than_is_looked_at_chooses_nothing() -> None:
    old = "".join(f"def f():\n    x = {i}\n" for i in range(1200)) + "def f():\n    x = 7\n"
    with pytest.raises(PatchError, match="found 2 times"):
        patched(old, "@@ def f():\n-    x = 7\n+    x = 8\n")
    assert patched(old, "@@ def f():\n-    x = 9\n+    x = 8\n") == old.replace("x = 9\n", "x = 8\n")
    with pytest.raises(PatchError, match="found many times"):
        patched(old, "@@ def f():\n+    x = 8\n")


def test_the_line_below_an_anchor_is_not_preferred_to_others_like_it() -> None:
    """A real fault: the blank line that was meant was one further down."""
    with pytest.raises(PatchError, match="found 2 times"):
        patched("class A:\n\n    x = 1\n\n    y = 1\n", "@@ class A:\n-\n+# new\n")
    assert patched("def f():\n    x\n\ndef g():\n    x\n", "@@ def f():\n-    x\n+    y\n").startswith(
        "def f():\n    y\n"
    )
