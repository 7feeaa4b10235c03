"""Text as Markdown shows it to a model or a person. Nothing here reads Markdown."""

import re

__all__ = ["fenced"]

# What stands for a language in an info string. An LSP language id is whatever a client says.
_LANGUAGE = re.compile(r"[\w+#.-]+")


def fenced(text: str, language: str = "") -> str:
    """Text in a fence that it cannot close, with a line end behind it; ``language`` is left out where it is no word."""
    longest = max((len(run) for run in re.findall(r"`{3,}", text)), default=2)
    fence = "`" * (longest + 1)
    end = "" if text.endswith("\n") or not text else "\n"
    return f"{fence}{language if _LANGUAGE.fullmatch(language) else ''}\n{text}{end}{fence}\n"
