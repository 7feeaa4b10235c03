"""What a model answers, as the text that takes a region's place. It is read strictly: no guess becomes an edit."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from harmony_ls.edits.diff import visible
from harmony_ls.edits.indentation import indentation_of
from harmony_ls.errors import UserError
from harmony_ls.features.line_ends import GrowingLines

__all__ = ["Answer", "fitted", "refuse_repeated"]

_FENCE = re.compile(r"(?P<indentation> {0,3})(?P<fence>`{3,}|~{3,})(?P<info>[^\r\n]*)")
_LONGEST_QUOTE = 300
# A shorter line (`else:`, `pass`, `end`) may well be written again.
_TELLING = 6


@dataclass(slots=True)
class _Block:
    indentation: int
    fence: str
    lines: list[str]


class Answer:
    """An answer while it is written. Its code is one fenced block; prose around it is passed over.

    ``region`` is what the code takes the place of: a block that is the same only quotes it. ``wanted`` matches a line
    that the code has to have, where that is known, such as the header of the function that is rewritten: a block with
    it is the code whatever others there are, and nothing after it matters.
    """

    def __init__(self, region: Sequence[str] = (), wanted: re.Pattern[str] | None = None) -> None:
        self._region = _stripped(region)
        self._wanted = wanted
        self._pieces: list[str] = []
        self._text = GrowingLines()
        self._blocks: list[_Block] = []
        self._current: _Block | None = None
        self._code: _Block | None = None

    def feed(self, piece: str) -> None:
        """Take what the model wrote next."""
        self._pieces.append(piece)
        for line in self._text.feed(piece):
            self._take(line)

    @property
    def is_whole(self) -> bool:
        """Whether the code is there, whatever may still be written."""
        return self._code is not None

    @property
    def is_quoted(self) -> bool:
        """Whether there is code so far, all of it the region's own."""
        if self._current is not None or not self._region:
            return False
        return bool(self._blocks) and all(_stripped(block.lines) == self._region for block in self._blocks)

    def code(self) -> list[str]:
        """The lines of the code, once all has been written.

        Raises UserError, fit for the person who asked, where there is none, where it never ends, and where it cannot
        be told which of several blocks it is.
        """
        self._take(self._text.take_rest())
        if not self._blocks:
            raise UserError(f"The model made no edit. {_quoted(''.join(self._pieces))}")
        if self._code is not None:
            return self._code.lines
        if self._current is not None:
            raise UserError("The model's answer breaks off inside its code. Nothing was changed; try again.")
        blocks = [block for block in self._blocks if _stripped(block.lines) != self._region] or self._blocks[:1]
        if len(blocks) > 1:
            raise UserError(
                f"The model answered with {len(blocks)} pieces of code instead of one. Nothing was changed; try again."
            )
        return blocks[0].lines

    def _is_wanted(self, block: _Block) -> bool:
        if self._wanted is None:
            return False
        return any(map(self._wanted.match, block.lines)) and _stripped(block.lines) != self._region

    def _take(self, line: str) -> None:
        """Read the next line of Markdown, fences as CommonMark has them."""
        fence = _FENCE.fullmatch(line)
        current = self._current
        if current is None:
            if fence and not (fence["fence"].startswith("`") and "`" in fence["info"]):
                self._current = _Block(len(fence["indentation"]), fence["fence"], [])
                self._blocks.append(self._current)
        elif fence and fence["fence"].startswith(current.fence) and not fence["info"].strip():
            self._current = None
            if self._code is None and self._is_wanted(current):
                self._code = current
        else:
            n_off = min(current.indentation, len(line) - len(line.lstrip(" ")))
            current.lines.append(line[n_off:])


def fitted(lines: Sequence[str], region: Sequence[str]) -> tuple[str, ...]:
    """The lines that take the place of those of a region: indented as they are, with as many blank lines around."""
    inner = lines[_n_blank(lines) : len(lines) - _n_blank(lines[::-1])]
    if not inner:
        return ()
    n_before = _n_blank(region)
    n_after = _n_blank(region[::-1]) if n_before < len(region) else 0
    indented = _indented(_in_blanks_of(region, inner), region)
    return (*region[:n_before], *indented, *region[len(region) - n_after :])


def refuse_repeated(code: Sequence[str], lines: Sequence[str], start: int, end: int) -> None:
    """Raise UserError for code that holds, besides a region of ``lines``, what stands around it: it would stand twice.

    Told by two lines that say something, at the code's beginning or end: those next to the region, or the first or last
    ones of the document. The header of the block that the region lies in tells it alone.
    """
    written, region = _telling(code), _telling(lines[start:end])
    before, after = _telling(lines[:start]), _telling(lines[end:])
    edges = [
        (written[:2], region[:2], (before[:2], before[-2:])),
        (written[-2:], region[-2:], (after[:2], after[-2:])),
    ]
    is_repeated = any(len(edge) == 2 and edge != usual and edge in around for edge, usual, around in edges)
    if before and before[-1].endswith((":", "{")) and written[:1] == before[-1:] != region[:1]:
        is_repeated = True
    if is_repeated:
        raise UserError("The model repeated code that stands around the region. Nothing was changed; try again.")


def _telling(lines: Sequence[str]) -> list[str]:
    """The lines that are more than brackets and the like, without their indentation."""
    return [line.strip() for line in lines if len(line.strip()) >= _TELLING and any(map(str.isalnum, line))]


def _stripped(lines: Sequence[str]) -> list[str]:
    return [line.strip() for line in lines if line.strip()]


def _in_blanks_of(region: Sequence[str], lines: Sequence[str]) -> Sequence[str]:
    """The lines indented by tabs where the region is, and by spaces where that is, if it is clear how many one is."""
    wanted, given = _indentations(region), _indentations(lines)
    if not wanted or not given:
        return lines
    if all(set(each) == {"\t"} for each in wanted) and all(set(each) == {" "} for each in given):
        width = math.gcd(*map(len, given))
        return lines if width == 1 else [_levels(line, " " * width) * "\t" + line.lstrip(" ") for line in lines]
    if all(set(each) == {" "} for each in wanted) and all(set(each) == {"\t"} for each in given):
        width = math.gcd(*map(len, wanted))
        return lines if width == 1 else [_levels(line, "\t") * (width * " ") + line.lstrip("\t") for line in lines]
    return lines


def _indentations(lines: Sequence[str]) -> set[str]:
    return {indentation_of(line) for line in lines if line.strip()} - {""}


def _levels(line: str, unit: str) -> int:
    return len(indentation_of(line)) // len(unit)


def _indented(lines: Sequence[str], region: Sequence[str]) -> Sequence[str]:
    """The lines moved right where the model began at the margin and the region did not.

    Many models only leave out the blanks that the code begins with: then all other lines stand deeper than the region.
    """
    wanted = indentation_of(next((line for line in region if line.strip()), ""))
    given = indentation_of(lines[0])
    if given == wanted or not wanted.endswith(given):
        return lines
    extra = wanted[: len(wanted) - len(given)]
    others = [indentation_of(line) for line in lines[1:] if line.strip()]
    if others and all(other.startswith(wanted) and other != wanted for other in others):
        return (extra + lines[0], *lines[1:])
    return [extra + line if line.strip() else line for line in lines]


def _n_blank(lines: Sequence[str]) -> int:
    return next((index for index, line in enumerate(lines) if line.strip()), len(lines))


def _quoted(answer: str) -> str:
    said = " ".join(visible(answer).split())
    if not said:
        return "It said nothing."
    return f"It said: {said if len(said) <= _LONGEST_QUOTE else f'{said[:_LONGEST_QUOTE].rstrip()}…'}"
