"""What a terminal shows after a program has written to it: enough of a terminal for what rich writes."""

import re

__all__ = ["Screen"]

_PART = re.compile(r"\x1b\[([0-9;?]*)([a-zA-Z])|\r|\n|[^\x1b\r\n]+")


class Screen:
    """Lines that grow downwards without end. ``feed`` it, then look at ``text``.

    Raises ValueError for a sequence that it does not know, so that nothing unexpected goes unnoticed.
    """

    def __init__(self) -> None:
        self._lines = [""]
        self._row = self._column = 0
        self.n_moves_up = 0

    @property
    def text(self) -> str:
        """What is there, without blanks at the ends of lines and empty lines at the end."""
        return "\n".join(line.rstrip() for line in self._lines).rstrip("\n")

    def feed(self, output: str) -> None:
        """Take in what was written."""
        position = 0
        while position < len(output):
            part = _PART.match(output, position)
            if part is None:
                raise ValueError(f"an unknown sequence: {output[position : position + 20]!r}")
            position = part.end()
            match part.group(), part[2]:
                case "\r", _:
                    self._column = 0
                case "\n", _:
                    self._column = 0
                    self._row += 1
                    if self._row == len(self._lines):
                        self._lines.append("")
                case _, "m" | "h" | "l":
                    pass
                case _, "A":
                    self.n_moves_up += int(part[1] or 1)
                    self._row -= int(part[1] or 1)
                    assert self._row >= 0
                case _, "K":
                    assert part[1] == "2"
                    self._lines[self._row] = ""
                case text, None:
                    line = self._lines[self._row].ljust(self._column)
                    self._lines[self._row] = line[: self._column] + text + line[self._column + len(text) :]
                    self._column += len(text)
                case text, _:
                    raise ValueError(f"an unknown sequence: {text!r}")
