"""What a model is told when a hunk does not fit: which hunk, what it asked for, and the real lines with their numbers.

One look must be enough to mend the patch, so every message ends with what to do.
"""

from collections.abc import Sequence

from harmony_ls.edits.file_index import FileIndex, Rung
from harmony_ls.edits.nearest import first_difference, numbered, similar_place
from harmony_ls.edits.operations import Hunk
from harmony_ls.errors import PatchError

__all__ = [
    "ambiguous",
    "ambiguous_anchor",
    "anchor_not_found",
    "indentation",
    "insertion_by_number",
    "not_found",
    "overlap",
]

_N_SHOWN_OLD_LINES = 12
_N_SHOWN_PLACES = 6
_MANY = 100
_LONGEST_SHOWN = 160


def not_found(file: FileIndex, hunk: Hunk, anchors: Sequence[int] | None, number: int) -> PatchError:
    """The old lines are nowhere, or not where the anchors and ``*** End of File`` say."""
    old_lines = hunk.old_lines
    elsewhere = next((place for rung in Rung for place in file.find_all(old_lines, rung, 1)), None)
    if elsewhere is not None and (anchors or hunk.at_end):
        return PatchError(f"{_head(file, hunk, number)} {_misplaced(file, hunk, anchors or (), elsewhere)}")
    text = [f"{_head(file, hunk, number)} Failed to find expected lines in {file.path}:", *_shown(old_lines)]
    if difference := first_difference(file, old_lines):
        text.append(f"No line of the file is {_cut(difference)!r}.")
    if len(file) == 0:
        text.append("The file is empty. Add lines with '+' alone.")
    elif (near := similar_place(file, old_lines)) is not None:
        text += ["The nearest lines are:", numbered(file, *near)]
    else:
        text += ["No line of the file comes near. It begins:", numbered(file, 0, _N_SHOWN_OLD_LINES)]
    text.append(
        "Copy the lines that stay and the lines to remove exactly as they are in the file, and send the patch again."
    )
    return PatchError("\n".join(text))


def _misplaced(file: FileIndex, hunk: Hunk, anchors: Sequence[int], elsewhere: int) -> str:
    shown = numbered(file, elsewhere, elsewhere + len(hunk.old_lines))
    if hunk.at_end:
        return (
            f"The lines are not at the end of {file.path}, as '*** End of File' says, but at line {elsewhere + 1}:\n"
            f"{shown}\nLeave '*** End of File' out, or give the last lines of the file."
        )
    return (
        f"The lines are not behind {_anchors(hunk.anchors)} (line {anchors[0] + 1} of {file.path}) in a way that "
        f"leaves no doubt; they are at line {elsewhere + 1}:\n{shown}\nName the line of the file that opens the place, "
        "or give more lines of context."
    )


def ambiguous(file: FileIndex, hunk: Hunk, found: Sequence[int], number: int, *, are_all: bool) -> PatchError:
    """More than one place would do: those ``found`` at least, which are all or not."""
    how_often = f"{len(found)} times" if are_all else "many times"
    return PatchError(
        f"{_head(file, hunk, number)} Its lines are found {how_often} in {file.path}, so it is not certain "
        f"which are meant:\n{_places(file, found, len(hunk.old_lines))}\n"
        "Give more lines of context, or name the class or function by a line '@@ ' in front of the hunk."
    )


def ambiguous_anchor(file: FileIndex, hunk: Hunk, found: Sequence[int], number: int) -> PatchError:
    """Lines shall be added behind an anchor that the file has more than once."""
    how_often = f"{len(found)} times" if len(found) < _MANY else "many times"
    return PatchError(
        f"{_head(file, hunk, number)} {_anchors(hunk.anchors)} is found {how_often} in {file.path}:\n"
        f"{_places(file, found, 1)}\nGive the line in front of which, or after which, the new lines belong as context."
    )


def anchor_not_found(file: FileIndex, hunk: Hunk, depth: int, number: int) -> PatchError:
    """The file does not have the line of an anchor, or not inside the anchors before it."""
    anchor = hunk.anchors[depth]
    near = similar_place(file, (anchor,))
    shown = f"\nThe nearest lines are:\n{numbered(file, *near)}" if near is not None else ""
    inside = f" inside {_anchors(hunk.anchors[:depth])}" if depth else ""
    return PatchError(
        f"{_head(file, hunk, number)} Failed to find context {_cut(anchor)!r} in {file.path}{inside}.{shown}\n"
        "After '@@' give a line of the file exactly as it is, or nothing."
    )


def indentation(file: FileIndex, hunk: Hunk, start: int, number: int) -> PatchError:
    """The lines match but for their indentation, which differs from line to line."""
    return PatchError(
        f"{_head(file, hunk, number)} Its lines match {file.path} only without their indentation, and no single shift "
        f"leads from the one to the other, so the new lines cannot be indented. The real lines are:\n"
        f"{numbered(file, start, start + len(hunk.old_lines))}\nSend the patch again with the indentation of the file."
    )


def insertion_by_number(file: FileIndex, hunk: Hunk, number: int) -> PatchError:
    """A diff without context says by a number alone where its lines go."""
    line = hunk.line_hint or 0
    return PatchError(
        f"{_head(file, hunk, number)} It only adds lines and says by a number where (line {line}), which is not "
        f"certain enough. There the file has:\n{numbered(file, line - 2, line + 2)}\n"
        "Give at least one line of context before or after the new lines."
    )


def overlap(file: FileIndex, hunk: Hunk, place: int, number: int) -> PatchError:
    """The place lies inside what an earlier hunk changes."""
    return PatchError(
        f"{_head(file, hunk, number)} The lines are at line {place + 1} of {file.path}, which an earlier hunk of this "
        f"patch changes:\n{numbered(file, place, place + max(len(hunk.old_lines), 1))}\nPut both changes into one hunk."
    )


def _head(file: FileIndex, hunk: Hunk, number: int) -> str:
    where = f" (line {hunk.patch_line} of the patch)" if hunk.patch_line else ""
    return f"Hunk {number} of {file.path}{where} cannot be applied."


def _anchors(anchors: Sequence[str]) -> str:
    return ", ".join(repr(_cut(f"@@ {anchor.strip()}")) for anchor in anchors)


def _places(file: FileIndex, found: Sequence[int], n_lines: int) -> str:
    shown = [numbered(file, place, place + min(n_lines, 3)) for place in found[:_N_SHOWN_PLACES]]
    return "\n…\n".join(shown) + ("\n…" if len(found) > _N_SHOWN_PLACES else "")


def _shown(lines: Sequence[str]) -> list[str]:
    shown = [_cut(line) for line in lines[:_N_SHOWN_OLD_LINES]]
    return shown + ([f"… and {len(lines) - len(shown)} more"] if len(lines) > len(shown) else [])


def _cut(line: str) -> str:
    return line if len(line) <= _LONGEST_SHOWN else f"{line[:_LONGEST_SHOWN]}…"
