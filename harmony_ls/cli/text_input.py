"""Reads a text that a command is given: all of a file or of stdin, as UTF-8, up to a limit.

What is typed at a terminal is read elsewhere, and so are files that go along with a message.
"""

import os
import sys
from pathlib import Path

from harmony_ls.errors import UserError

__all__ = ["LARGEST_MESSAGE_BYTES", "STDIN", "read_text"]

STDIN = "-"
"""The name under which commands know stdin."""

LARGEST_MESSAGE_BYTES = 64_000_000
"""More than this fits the context of no model, and would take minutes to be found too long."""


def read_text(source: str | Path, most_bytes: int, *, called: str = "") -> str:
    """The text of a file, or of stdin where ``source`` is ``STDIN``, without a byte order mark.

    ``called`` is what errors name it. Raises UserError for what cannot be read, is too large, or is not UTF-8.
    """
    is_stdin = source == STDIN
    called = called or ("What came on stdin" if is_stdin else str(source))
    try:
        if is_stdin:
            content = sys.stdin.buffer.read(most_bytes + 1)
        else:
            with open(os.path.expanduser(source), "rb") as file:
                content = file.read(most_bytes + 1)
    except OSError as error:
        raise UserError(f"{called} cannot be read: {error.strerror or error}.") from error
    if len(content) > most_bytes:
        raise UserError(
            f"{called} is too large: it has more than {most_bytes / 1e6:.3g} MB. Give only the part that matters."
        )
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{called} is not text in UTF-8: byte {error.start} is {content[error.start]:#04x}. Convert it, for "
            "example with iconv."
        ) from None
