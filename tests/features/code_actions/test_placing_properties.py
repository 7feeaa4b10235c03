"""What must hold for any code in place of any region: made with hypothesis, from few lines, so that they repeat."""

from itertools import pairwise

from hypothesis import assume, given
from hypothesis import strategies as st

from harmony_ls.edits.changes import TextChange, apply_text_changes
from harmony_ls.edits.text_file import split_lines
from harmony_ls.errors import UserError
from harmony_ls.features.code_actions.answer import fitted
from harmony_ls.features.code_actions.placing import combined, rewriting
from harmony_ls.features.code_actions.region import Region
from harmony_ls.features.document import DocumentSnapshot
from harmony_ls.lsp.documents.edits import range_of, text_edits
from harmony_ls.lsp.documents.text import Position, PositionEncoding, Text

LINES = st.sampled_from(["a", "b", "", "  a", "  ", "a  ", "\tb", "aéa", "🙂a🙂", "}", "import a", "x\x0cy"])
ENDINGS = st.sampled_from(["\n", "\r\n", "\r"])


@st.composite
def texts(draw: st.DrawFn) -> str:
    """Also with line ends of several kinds, and without one at the end."""
    ending = draw(ENDINGS)
    pieces = [line + draw(st.sampled_from([ending] * 4 + ["\n", "\r\n"])) for line in draw(st.lists(LINES, min_size=1))]
    text = "".join(pieces)
    return text if draw(st.booleans()) else text.rstrip("\r\n")


@given(st.data(), st.sampled_from(PositionEncoding))
def test_code_takes_the_place_of_its_region_alone(data: st.DataObject, encoding: PositionEncoding) -> None:
    text = data.draw(texts())
    lines = split_lines(text)
    assume(len(lines))
    start = data.draw(st.integers(0, len(lines) - 1))
    region = Region(lines, start, data.draw(st.integers(start + 1, len(lines))))
    code = data.draw(st.lists(LINES))
    document = DocumentSnapshot("file:///code/a", None, "plaintext", 1, text)
    try:
        changes, new_text = combined(document, [rewriting(document, region, code, lambda _line: False)])
    except UserError:
        return

    assert apply_text_changes(text, changes) == new_text
    assert all(one.end <= other.start for one, other in pairwise(changes))
    new_lines = split_lines(new_text).bodies
    n_behind = len(lines) - region.end
    assert new_lines[: region.start] == lines.bodies[: region.start]
    written = fitted(code, region.bodies)
    assert [line.rstrip(" \t") for line in new_lines[region.start : len(new_lines) - n_behind]] in (
        [line.rstrip(" \t") for line in written],
        [line.rstrip(" \t") for line in written][:-1],  # at the end of a text without one, an empty line is none
    )
    if n_behind:
        assert new_lines[len(new_lines) - n_behind :] == lines.bodies[region.end :]
    for change in changes:
        old = text[change.start : change.end]
        assert old != change.text
        if "\r" not in old + change.text:
            assert not old or not change.text or old[0] != change.text[0]
            assert not old or not change.text or old[-1] != change.text[-1]

    edited = Text(text, encoding)
    for edit in reversed(text_edits(edited, changes)):
        first, last = edit.range.start, edit.range.end
        edited.replace(Position(first.line, first.character), Position(last.line, last.character), edit.new_text)
    assert str(edited) == new_text


@given(texts(), st.sampled_from(PositionEncoding))
def test_ranges_are_places_of_the_text(text: str, encoding: PositionEncoding) -> None:
    whole = Text(text, encoding)
    end = range_of(whole, TextChange(0, len(text), "")).end
    assert whole.offset_at(Position(end.line, end.character)) == len(text)
