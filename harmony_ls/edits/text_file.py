"""A text file as bytes and as lines: encoding, byte order mark, line endings and the final newline are all kept.

Only ``\\n``, ``\\r\\n`` and ``\\r`` end a line here. ``str.splitlines`` knows eight more (form feed, U+2028, …), which
are ordinary characters to editors and compilers. No file is opened here.
"""

import codecs
import re
from dataclasses import dataclass
from enum import StrEnum

from harmony_ls.errors import WorkspaceError

__all__ = ["Encoding", "Lines", "TextFile", "decode", "split_lines"]

_LINE_END = re.compile(r"(\r\n|\r|\n)")


class Encoding(StrEnum):
    """The encodings that can be told from the bytes without guessing."""

    UTF_8 = "utf-8"
    UTF_8_WITH_MARK = "utf-8 with byte order mark"
    UTF_16_LE = "utf-16-le"
    UTF_16_BE = "utf-16-be"

    def to_bytes(self, text: str) -> bytes:
        """The bytes of a file with this text. Raises UnicodeEncodeError for half a surrogate pair."""
        mark, codec = _CODECS[self]
        return mark + text.encode(codec)


_CODECS = {
    Encoding.UTF_8: (b"", "utf-8"),
    Encoding.UTF_8_WITH_MARK: (codecs.BOM_UTF8, "utf-8"),
    Encoding.UTF_16_LE: (codecs.BOM_UTF16_LE, "utf-16-le"),
    Encoding.UTF_16_BE: (codecs.BOM_UTF16_BE, "utf-16-be"),
}


@dataclass(frozen=True, slots=True)
class TextFile:
    """The text of a file, without a byte order mark, and how it is written down."""

    text: str
    encoding: Encoding = Encoding.UTF_8


def decode(data: bytes, name: str) -> TextFile:
    """The text of a file called ``name``. Raises WorkspaceError where the bytes are no text that can be written back
    to the same bytes."""
    encoding = next((e for e, (mark, _) in _CODECS.items() if mark and data.startswith(mark)), Encoding.UTF_8)
    mark, codec = _CODECS[encoding]
    try:
        text = data[len(mark) :].decode(codec)
    except UnicodeDecodeError as error:
        raise WorkspaceError(
            f"{name} is not UTF-8 text (byte {error.start + len(mark)}). It is left alone, since other encodings "
            "cannot be told apart for certain; convert it to UTF-8 to have it changed."
        ) from error
    if "\0" in text:
        raise WorkspaceError(f"{name} is a binary file: it contains NUL characters. It is left alone.")
    return TextFile(text, encoding)


@dataclass(frozen=True, slots=True)
class Lines:
    """A text cut into lines: what each says, and what ends it. Only the last may have the empty ending."""

    bodies: tuple[str, ...]
    ends: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.bodies)

    @property
    def line_ending(self) -> str:
        """The ending that new lines get: the first of the file."""
        return self.ends[0] if self.ends and self.ends[0] else "\n"

    @property
    def has_final_newline(self) -> bool:
        """Whether the last line is ended. An empty file counts as ended: what is put into it will be."""
        return not self.ends or self.ends[-1] != ""


def split_lines(text: str) -> Lines:
    """The lines of a text; joining bodies and ends gives the text again."""
    if "\r" not in text:
        bodies = text.split("\n")
        ends = ["\n"] * (len(bodies) - 1)
    else:
        parts = _LINE_END.split(text)
        bodies, ends = parts[::2], parts[1::2]
    if bodies[-1]:
        ends.append("")
    else:
        bodies.pop()
    return Lines(tuple(bodies), tuple(ends))
