"""Files that go along with a message, as fenced text under their path. A person names them; nothing is read unasked."""

import os
import shlex
from pathlib import Path

from harmony_ls.errors import UserError
from harmony_ls.features.markdown import fenced

__all__ = ["attachment", "paths_of", "with_attachments"]

# Larger files fill the context of most models, and reading them takes minutes.
_LARGEST_BYTES = 1_000_000


def paths_of(argument: str) -> list[Path]:
    """The paths that a person typed, with quotes where a path has blanks.

    Raises UserError for an open quote, and for a character that no path has.
    """
    if "\0" in argument:
        raise UserError("A path has no NUL character. Type it again without.")
    try:
        words = shlex.split(argument)
    except ValueError as error:
        raise UserError(
            f"{argument} cannot be read as paths: {error}. Close the quote, or put a \\ before it."
        ) from error
    return [Path(os.path.expanduser(word)) for word in words]


def attachment(path: Path) -> str:
    """A file as the model is shown it. Raises UserError for what is missing, too large, or no text."""
    try:
        if path.is_dir():
            raise UserError(f"{path} is a folder. Name the files in it.")
        if not path.is_file() and path.exists():
            raise UserError(f"{path} is not a regular file.")
        size = path.stat().st_size
        if size > _LARGEST_BYTES:
            raise UserError(
                f"{path} is too large: it has {size / 1e6:.1f} MB, and {_LARGEST_BYTES / 1e6:g} MB is the limit. "
                "Attach the part that matters."
            )
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}.") from error
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{path} is not text in UTF-8.") from None
    if "\0" in text:
        raise UserError(f"{path} is binary: it holds NUL characters.")
    return f"{path}:\n{fenced(text, path.suffix.removeprefix('.'))}"


def with_attachments(message: str, attachments: list[str]) -> str:
    """The message with files before it: what is asked stands last, and the files can be kept in a cache."""
    return "\n".join([*attachments, message])
