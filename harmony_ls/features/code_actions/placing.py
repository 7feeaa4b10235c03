"""What a model wrote, put in its place: by the smallest changes that lead there, and never with anything hidden in it.

Whether the document still parses afterwards is looked at by whoever asks for the changes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from harmony_ls.edits.changes import LineEdit, TextChange, replace_lines
from harmony_ls.edits.line_diff import line_edits, n_same
from harmony_ls.edits.text_file import split_lines
from harmony_ls.errors import UserError
from harmony_ls.features.code_actions.answer import fitted, refuse_repeated
from harmony_ls.features.code_actions.imports import Import, import_edits, split_imports, without_imports
from harmony_ls.features.code_actions.region import Region
from harmony_ls.features.document import DocumentSnapshot
from harmony_ls.features.inline.refusal import Refusal
from harmony_ls.features.inline.safety import clean
from harmony_ls.features.line_ends import with_plain_line_ends

__all__ = ["UNCHANGED", "Rewriting", "appended", "combined", "refuse_hidden", "rewriting"]

UNCHANGED: Final = "The model would leave the code as it is."
"""The reason where an answer comes to no change."""


@dataclass(frozen=True, slots=True)
class Rewriting:
    """What becomes of a region: the edits of its lines, and the imports that its new code needs."""

    region: Region
    edits: tuple[LineEdit, ...]
    imports: tuple[Import, ...] = ()


def rewriting(
    document: DocumentSnapshot, region: Region, code: Sequence[str], is_diagnosed: Callable[[int], bool]
) -> Rewriting:
    """Code in place of a region. Raises UserError for code that repeats what stands around it.

    Lines that only differ in blanks at their end stay as they are, unless they are diagnosed: models leave such blanks
    out without being asked to.
    """
    bodies, language = region.lines.bodies, document.language_id
    imports, rest = split_imports(code, region.bodies, language)
    refuse_repeated(rest, without_imports(bodies, language) if imports else bodies, region.start, region.end)
    return Rewriting(region, tuple(_edits(region, fitted(rest, region.bodies), is_diagnosed)), tuple(imports))


def combined(document: DocumentSnapshot, rewritings: Sequence[Rewriting]) -> tuple[tuple[TextChange, ...], str]:
    """The changes of a document whose regions, apart from each other and in their order, become something else; and its
    text after them. Raises UserError where that is the same, or hides something that was not there before.

    What has to be imported goes above all of them.
    """
    first = rewritings[0].region
    imports = [each for rewriting in rewritings for each in rewriting.imports]
    edits = (
        *import_edits(first.lines.bodies, first.start, imports, document.language_id),
        *(edit for rewriting in rewritings for edit in rewriting.edits),
    )
    new_text, changes = replace_lines(document.text, first.lines, edits)
    if not changes:
        raise UserError(UNCHANGED)
    smallest = tuple(_smallest(document.text, change) for change in changes)
    for lines, letters in zip(changes, smallest, strict=True):
        try:
            refuse_hidden(lines.text, document)
        except UserError:  # what a line has held all along, such as a mark of a writing direction, may stay in it
            refuse_hidden(letters.text, document)
    return smallest, new_text


def appended(tests: str, written: Sequence[str], line_ending: str, language: str) -> tuple[tuple[TextChange, ...], str]:
    """The changes that put tests at the end of their file, and their imports where it has its own; and its text after
    them. ``line_ending`` is that of a file that is still empty."""
    if not tests.strip():
        new_text = "".join(line + line_ending for line in written)
        return (TextChange(0, len(tests), new_text),), new_text
    lines = split_lines(tests)
    n_blank = next(n for n, line in enumerate(reversed(lines.bodies)) if line.strip())
    gap = ("",) * max(0, 2 - n_blank)
    imports, rest = split_imports(written, (), language)
    edits = (
        *import_edits(lines.bodies, len(lines), imports, language),
        LineEdit(len(lines), len(lines), (*gap, *fitted(rest, ()))),
    )
    new_text, changes = replace_lines(tests, lines, edits, ends_with_newline=True)
    return changes, new_text


def refuse_hidden(text: str, document: DocumentSnapshot) -> None:
    """Raise UserError for a text of the model's that hides something from the eye, or holds marks of its own."""
    text = with_plain_line_ends(text)
    shown = clean(text, document)
    if isinstance(shown, Refusal):
        raise UserError(f"{shown.detail} It is not used.")
    if shown != text:
        raise UserError("The model's text holds control characters or marks of its own. It is not used.")


def _edits(region: Region, new: Sequence[str], is_diagnosed: Callable[[int], bool]) -> list[LineEdit]:
    """The edits of a region's lines."""
    old = [
        line if is_diagnosed(number) else _without_end_blanks(line)
        for number, line in enumerate(region.bodies, region.start)
    ]
    edits: list[LineEdit] = []
    start = region.start
    for edit in line_edits(old, [_without_end_blanks(line) for line in new], region.start):
        first = edit.start - start
        edits.append(LineEdit(edit.start, edit.end, tuple(new[first : first + len(edit.lines)])))
        start += edit.end - edit.start - len(edit.lines)
    return edits


def _without_end_blanks(line: str) -> str:
    return line.rstrip(" \t")


def _smallest(text: str, change: TextChange) -> TextChange:
    """The change without the characters that it would replace by themselves at its ends."""
    old, new = text[change.start : change.end], change.text
    n_before = n_same(old, new)
    # No place is inside a line's end.
    n_before -= any(each[n_before - 1 : n_before + 1] == "\r\n" for each in (old, new))
    n_after = n_same(old[n_before:][::-1], new[n_before:][::-1])
    n_after -= any(each[len(each) - n_after - 1 : len(each) - n_after + 1] == "\r\n" for each in (old, new))
    return TextChange(change.start + n_before, change.end - n_after, new[n_before : len(new) - n_after])
