"""Changes as a unified diff, for people: what would be done, line for line, with three lines around it.

It is made from the changes themselves and not by comparing texts, so it costs little for large files too. Characters
that would play tricks on a terminal or turn the order of text round are spelled out.
"""

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from harmony_ls.edits.changes import ChangeKind, FileChange
from harmony_ls.edits.text_file import Lines, split_lines

__all__ = ["unified_diff", "visible"]

_N_AROUND = 3
_NO_NEWLINE = "\\ No newline at end of file"
_TRICKS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")


def visible(text: str) -> str:
    """The text with control and direction characters, and halves of characters, spelled out; tabs and newlines stay."""
    return _TRICKS.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def unified_diff(changes: Sequence[FileChange]) -> str:
    """The changes of all files, in their order, as git would show them."""
    return "".join(_file_diff(change) for change in changes)


@dataclass(frozen=True, slots=True)
class _Block:
    """Lines ``start`` to ``end`` of the old text become lines ``new_start`` to ``new_end`` of the new one."""

    start: int
    end: int
    new_start: int
    new_end: int


def _file_diff(change: FileChange) -> str:
    old_name = "/dev/null" if change.kind is ChangeKind.CREATE else f"a/{visible(change.path)}"
    new_name = "/dev/null" if change.kind is ChangeKind.DELETE else f"b/{visible(change.final_path)}"
    lines: list[str] = []
    if change.kind is ChangeKind.RENAME:
        lines += [f"rename from {visible(change.path)}", f"rename to {visible(change.final_path)}"]
    elif not change.old_text and not change.new_text:
        lines.append(f"{change.kind} {visible(change.final_path)} (an empty file)")
    old, new = split_lines(change.old_text), split_lines(change.new_text)
    blocks = _blocks(change, old, new)
    if blocks:
        lines += [f"--- {old_name}", f"+++ {new_name}"]
    for group in _groups(blocks):
        lines += _hunk(group, old, new)
    return "".join(f"{line}\n" for line in lines)


def _blocks(change: FileChange, old: Lines, new: Lines) -> list[_Block]:
    """The changes as ranges of whole lines."""
    if change.kind is ChangeKind.DELETE:
        return [_Block(0, len(old), 0, 0)] if len(old) else []
    old_offsets, new_offsets = _offsets(old), _offsets(new)
    blocks: list[_Block] = []
    shift = 0
    for text_change in change.changes:
        new_start = text_change.start + shift
        new_end = new_start + len(text_change.text)
        shift = new_end - text_change.end
        start = min(_line_at(old_offsets, text_change.start), _line_at(new_offsets, new_start) + _difference(blocks))
        end = _line_end(old_offsets, text_change.end, start)
        new_first = start - _difference(blocks)
        new_last = len(new) - (len(old) - end) if end == len(old) else _line_end(new_offsets, new_end, new_first)
        blocks.append(_trimmed(_Block(start, end, new_first, new_last), old, new))
    return [block for block in blocks if block.end > block.start or block.new_end > block.new_start]


def _difference(blocks: Sequence[_Block]) -> int:
    """By how much a line number of the old text exceeds that of the new one, after these blocks."""
    return blocks[-1].end - blocks[-1].new_end if blocks else 0


def _offsets(lines: Lines) -> tuple[int, ...]:
    return (0, *accumulate(len(body) + len(end) for body, end in zip(lines.bodies, lines.ends, strict=True)))


def _line_at(offsets: Sequence[int], offset: int) -> int:
    """The line that contains an offset; the end of the text is behind the last line."""
    return bisect_right(offsets, offset) - 1


def _line_end(offsets: Sequence[int], offset: int, start: int) -> int:
    """The number of the line that begins at the offset or, inside a line, after it."""
    line = _line_at(offsets, offset)
    return max(line if offsets[line] == offset else line + 1, start)


def _trimmed(block: _Block, old: Lines, new: Lines) -> _Block:
    """The block without lines that are the same on both sides."""
    start, end, new_start, new_end = block.start, block.end, block.new_start, block.new_end
    while start < end and new_start < new_end and _line(old, start) == _line(new, new_start):
        start, new_start = start + 1, new_start + 1
    while start < end and new_start < new_end and _line(old, end - 1) == _line(new, new_end - 1):
        end, new_end = end - 1, new_end - 1
    return _Block(start, end, new_start, new_end)


def _line(lines: Lines, i: int) -> tuple[str, str]:
    return lines.bodies[i], lines.ends[i]


def _groups(blocks: Sequence[_Block]) -> list[list[_Block]]:
    """The blocks that share their surroundings, together."""
    groups: list[list[_Block]] = []
    for block in blocks:
        if groups and block.start - groups[-1][-1].end <= 2 * _N_AROUND:
            groups[-1].append(block)
        else:
            groups.append([block])
    return groups


def _hunk(group: Sequence[_Block], old: Lines, new: Lines) -> list[str]:
    first, last = group[0], group[-1]
    start, end = max(0, first.start - _N_AROUND), min(len(old), last.end + _N_AROUND)
    new_start, new_end = first.new_start - (first.start - start), last.new_end + (end - last.end)
    lines = [f"@@ -{_range(start, end)} +{_range(new_start, new_end)} @@"]
    position = start
    for block in group:
        lines += _marked(" ", old, position, block.start)
        lines += _marked("-", old, block.start, block.end)
        lines += _marked("+", new, block.new_start, block.new_end)
        position = block.end
    return lines + _marked(" ", old, position, end)


def _range(start: int, end: int) -> str:
    return f"{start + 1 if end > start else start},{end - start}"


def _marked(mark: str, lines: Lines, start: int, end: int) -> list[str]:
    marked: list[str] = []
    for i in range(start, end):
        marked.append(mark + visible(lines.bodies[i]))
        if not lines.ends[i]:
            marked.append(_NO_NEWLINE)
    return marked
