"""How ``--help`` looks: paragraphs fill the width of the terminal, and flags are not said to take a value.

What it says stands with the commands and their options.
"""

import re
from typing import Any

from typer.core import TyperCommand

__all__ = ["ReadableCommand"]

# A line end inside of a paragraph, which Typer would keep.
_LINE_END = re.compile(r"(?<!\n)\n[ \t]*(?!\s)")


class ReadableCommand(TyperCommand):
    """A command as Typer makes it, with help that reads well at any width."""

    def __init__(self, *args: Any, help: str | None = None, epilog: str | None = None, **options: Any) -> None:
        super().__init__(*args, help=_flowing(help), epilog=_flowing(epilog), **options)

    def get_params(self, ctx: Any) -> list[Any]:
        """The parameters, in which a flag has no type: after ``--no-tools <bool>`` people write a value."""
        params = super().get_params(ctx)
        for param in params:
            if getattr(param, "is_flag", False) and param.metavar is None:
                param.metavar = ""
        return params


def _flowing(text: str | None) -> str | None:
    return None if text is None else _LINE_END.sub(" ", text)
