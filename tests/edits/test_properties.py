"""What must hold for any file and any patch: made with hypothesis, from small alphabets, so that lines repeat."""

import contextlib
import difflib
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from harmony_ls.edits.changes import FileChange, LineEdit, apply_text_changes, replace_lines
from harmony_ls.edits.diff import unified_diff
from harmony_ls.edits.file_index import FileIndex, Rung, fold
from harmony_ls.edits.parse import parse_patch
from harmony_ls.edits.plan import plan_changes
from harmony_ls.edits.text_file import Encoding, decode, split_lines
from harmony_ls.errors import PatchError

LINES = st.sampled_from(
    ["a", "b", "", "  a", "    a", "\tb", "a  ", "c \u2013 d", "c - d", "}", "def f():", "x\x0cy\u2028z"]
)
ENDINGS = st.sampled_from(["\n", "\r\n", "\r"])


@st.composite
def texts(draw: st.DrawFn, endings: st.SearchStrategy[str] = ENDINGS) -> str:
    bodies = draw(st.lists(LINES, max_size=14))
    ending = draw(endings)
    text = "".join(body + ending for body in bodies)
    return text if draw(st.booleans()) or not bodies or not bodies[-1] else text.removesuffix(ending)


@st.composite
def line_edits(draw: st.DrawFn, n_lines: int) -> list[LineEdit]:
    cuts = sorted(draw(st.lists(st.integers(0, n_lines), max_size=6)))
    pairs = zip(cuts[::2], cuts[1::2], strict=False)
    return [LineEdit(start, end, tuple(draw(st.lists(LINES, max_size=3)))) for start, end in pairs]


@given(st.data())
def test_lines_are_replaced_and_all_others_keep_their_bytes(data: st.DataObject) -> None:
    text = data.draw(texts())
    lines = split_lines(text)
    assert "".join(body + end for body, end in zip(lines.bodies, lines.ends, strict=True)) == text
    edits = data.draw(line_edits(len(lines)))

    new_text, changes = replace_lines(text, lines, edits)

    assert apply_text_changes(text, changes) == new_text
    assert all(first.end <= second.start for first, second in pairwise(changes))
    expected, position = [], 0
    for edit in edits:
        expected += [*lines.bodies[position : edit.start], *edit.lines]
        position = edit.end
    expected += lines.bodies[position:]
    new_lines = split_lines(new_text)
    assert list(new_lines.bodies) == expected
    if expected and expected[-1]:
        assert new_lines.has_final_newline == lines.has_final_newline


@given(st.data())
def test_a_true_diff_leads_to_its_target(data: st.DataObject) -> None:
    """Any two texts: the diff between them, with its numbers, applied to the first gives the second."""
    old = data.draw(texts(st.just("\n")))
    new = data.draw(texts(st.just("\n")))
    assume(old != new and old)
    diff = "".join(
        line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"
        for line in difflib.unified_diff(_kept_ends(old), _kept_ends(new), "a/f", "b/f")
    )
    (change,) = plan_changes(parse_patch(diff), {"f": old})
    assert change.new_text == new
    assert apply_text_changes(old, change.changes) == new


def _kept_ends(text: str) -> list[str]:
    lines = split_lines(text)
    return [body + end for body, end in zip(lines.bodies, lines.ends, strict=True)]


@given(st.data())
def test_the_diff_that_is_shown_is_the_change(data: st.DataObject) -> None:
    """What a person sees, applied like a patch, is what happens."""
    old = data.draw(texts(st.just("\n")).filter(lambda text: text.isprintable() or not set(text) & {"\x0c", "\u2028"}))
    lines = split_lines(old)
    edits = data.draw(line_edits(len(lines)))
    assume(all(not set(line) & {"\x0c", "\u2028"} for edit in edits for line in edit.lines))
    new, changes = replace_lines(old, lines, edits)
    assume(new != old and old and new)
    shown = unified_diff([FileChange("update", "f", old, new, changes)])  # type: ignore[arg-type]
    patched = _patched_by_numbers(old, shown)
    assert patched == new, shown


def _patched_by_numbers(old: str, diff: str) -> str:
    """A strict patch of the plainest kind: numbers are believed, lines are checked."""
    lines, result, position = _kept_ends(old), [], 0
    body = diff.split("\n")[2:-1]
    i = 0
    while i < len(body):
        assert body[i].startswith("@@ -"), diff
        start, count = map(int, body[i].split()[1].lstrip("-").split(","))
        start = start - 1 if count else start
        result += lines[position:start]
        position = start
        i += 1
        while i < len(body) and not body[i].startswith("@@ -"):
            line = body[i]
            ending = "" if body[i + 1 : i + 2] == ["\\ No newline at end of file"] else "\n"
            match line[:1]:
                case " ":
                    assert lines[position] == line[1:] + ending
                    result.append(lines[position])
                    position += 1
                case "-":
                    assert lines[position] == line[1:] + ending
                    position += 1
                case "+":
                    result.append(line[1:] + ending)
            i += 1
    return "".join(result + lines[position:])


@given(st.data())
def test_a_patch_in_the_grammar_hits_its_target_or_nothing(data: st.DataObject) -> None:
    """One place of a file is changed, with the context that there is: the result is the target, or a refusal."""
    bodies = data.draw(st.lists(LINES.filter(lambda line: "\x0c" not in line), min_size=1, max_size=14))
    start = data.draw(st.integers(0, len(bodies) - 1))
    end = data.draw(st.integers(start, len(bodies)))
    added = data.draw(st.lists(LINES, max_size=3))
    n_context = data.draw(st.integers(0, 3))
    assume(bodies[start:end] != added)
    before, after = bodies[max(0, start - n_context) : start], bodies[end : end + n_context]
    assume(before or after or bodies[start:end])
    hunk = [f" {line}" for line in before]
    hunk += [f"-{line}" for line in bodies[start:end]]
    hunk += [f"+{line}" for line in added]
    hunk += [f" {line}" for line in after]
    patch = "\n".join(("*** Begin Patch", "*** Update File: f", "@@", *hunk, "*** End Patch"))
    old = "".join(f"{line}\n" for line in bodies)
    new = "".join(f"{line}\n" for line in (*bodies[:start], *added, *bodies[end:]))
    n_exact = len(FileIndex("f", old).find_all([*before, *bodies[start:end], *after], Rung.EXACT, 10))
    if n_exact > 1:
        with pytest.raises(PatchError, match="found"):
            plan_changes(parse_patch(patch), {"f": old})
    else:
        (change,) = plan_changes(parse_patch(patch), {"f": old})
        assert change.new_text == new


@given(st.data())
def test_a_changed_line_of_context_is_noticed(data: st.DataObject) -> None:
    bodies = [f"line number {i} of the file" for i in range(data.draw(st.integers(3, 12)))]
    changed = data.draw(st.integers(0, len(bodies) - 1))
    removed = data.draw(st.integers(0, len(bodies) - 1).filter(lambda i: i != changed))
    other = data.draw(st.text(st.characters(categories=["L", "N", "P"]), min_size=8, max_size=30))
    lines = [f"{'-' if i == removed else ' '}{other if i == changed else body}" for i, body in enumerate(bodies)]
    patch = "\n".join(("*** Begin Patch", "*** Update File: f", "@@", *lines, "*** End Patch"))
    with pytest.raises(PatchError, match="cannot be applied"):
        plan_changes(parse_patch(patch), {"f": "\n".join(bodies) + "\n"})


@given(texts(), st.lists(LINES, min_size=1, max_size=3), st.sampled_from(Rung), st.integers(0, 15))
def test_lines_are_found_as_by_comparing_one_by_one(text: str, wanted: list[str], rung: Rung, start: int) -> None:
    file = FileIndex("f", text)
    key = {Rung.EXACT: str, Rung.TRAILING_BLANKS: str.rstrip, Rung.INDENTATION: str.strip, Rung.PUNCTUATION: fold}[rung]
    bodies = file.lines.bodies
    places = [
        place
        for place in range(len(bodies) - len(wanted) + 1)
        if all(key(bodies[place + i]) == key(line) for i, line in enumerate(wanted))
    ]
    assert file.find_all(wanted, rung, 100) == places
    assert file.find(wanted, rung, start) == next((place for place in places if place >= start), -1)
    assert [place for place in range(len(bodies) + 1) if file.stands_at(wanted, rung, place)] == places


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\ufeff")), st.sampled_from(Encoding))
def test_every_encoding_is_read_back(text: str, encoding: Encoding) -> None:
    text_file = decode(encoding.to_bytes(text), "f")
    assert (text_file.text, text_file.encoding.to_bytes(text)) == (text, encoding.to_bytes(text))


BODIES = st.sampled_from([["a = 1", "b = 2", "return a"], ["a = 1", "return a"], ["", "a = 1", "", "return a"]])


@given(st.data())
def test_a_patch_that_names_the_class_and_the_function_hits_its_target_or_nothing(data: st.DataObject) -> None:
    """Functions that are alike, called alike, in classes that are: names and context are true, but may be too few."""
    lines: list[str] = []
    opened_by: dict[int, list[str]] = {}
    for number in range(data.draw(st.integers(1, 3))):
        lines.append(f"class C{number}:")
        for name in data.draw(st.lists(st.sampled_from("fgh"), min_size=1, max_size=3)):
            anchors = [f"class C{number}:", f"    def {name}(self):"]
            lines.append(anchors[1])
            for body in data.draw(BODIES):
                opened_by[len(lines)] = anchors
                lines.append(f"        {body}" if body else "")
            lines.append("")
    meant = data.draw(st.sampled_from(sorted(opened_by)))
    anchors = opened_by[meant][data.draw(st.integers(0, 2)) :]
    anchors = [anchor.strip() for anchor in anchors] if data.draw(st.booleans()) else anchors
    after = lines[meant + 1 : meant + 1 + data.draw(st.integers(0, 2))]
    hunk = [f"-{lines[meant]}", "+        new()", *(f" {line}" for line in after)]
    marks = [f"@@ {anchor}" for anchor in anchors] or ["@@"]
    patch = "\n".join(("*** Begin Patch", "*** Update File: f", *marks, *hunk, "*** End Patch"))
    with contextlib.suppress(PatchError):
        (change,) = plan_changes(parse_patch(patch), {"f": "\n".join(lines) + "\n"})
        assert change.new_text.split("\n") == [*lines[:meant], "        new()", *lines[meant + 1 :], ""]
