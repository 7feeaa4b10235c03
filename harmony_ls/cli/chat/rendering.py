"""How single things look in the chat: figures, diffs, what tools answer. It keeps no state and prints nothing."""

from rich.text import Text

from harmony_ls.cli.plain_text import clean
from harmony_ls.events import TurnFinished, Usage
from harmony_ls.messages import FinishReason

__all__ = ["SENSITIVE", "arguments_text", "diff_text", "ending_text", "result_text", "shortened", "usage_text"]

SENSITIVE = "Look closely: this is asked each time, whatever was allowed before."
"""What is said of a request that is asked whatever was allowed before."""

_MOST_RESULT_LINES = 8
_LONGEST_RESULT_LINE = 200
_DIFF_STYLES = (
    ("***", "bold"),
    ("+++", "bold"),
    ("---", "bold"),
    ("@@", "cyan"),
    ("+", "green"),
    ("-", "red"),
)


def usage_text(usage: Usage, seconds: float) -> str:
    """The figures of a turn in one line: ``41 tokens · 38 tokens/s · 96 of 1,204 prompt tokens computed · 3.2 s``."""
    parts = [_count(usage.generated_tokens, "token")]
    if usage.generated_tokens > 1 and usage.decode_seconds > 0:
        # The time from the first token to the last is that of all tokens but the first.
        parts.append(f"{(usage.generated_tokens - 1) / usage.decode_seconds:,.0f} tokens/s")
    if usage.reasoning_tokens:
        parts.append(f"{usage.reasoning_tokens:,} of them thinking")
    parts.append(f"{usage.computed_tokens:,} of {_count(usage.prompt_tokens, 'prompt token')} computed")
    parts.append(f"{seconds:.1f} s")
    return " · ".join(parts)


def ending_text(finished: TurnFinished) -> str:
    """What a person must be told of how a turn ended; empty where it ended as it should, or was told already."""
    return "Stopped. What was written is kept." if finished.reason is FinishReason.CANCELLED else ""


def diff_text(text: str) -> Text:
    """A diff or a patch in its colours."""
    drawn = Text()
    for index, line in enumerate(clean(text).expandtabs(4).split("\n")):
        style = next((style for start, style in _DIFF_STYLES if line.startswith(start)), "dim")
        drawn.append("\n" if index else "")
        drawn.append(line, style)
    return drawn


def arguments_text(arguments: str) -> Text:
    """What a tool is called with: a patch as a patch, anything else as it is."""
    if arguments.lstrip().startswith(("*** Begin Patch", "--- ", "diff ")):
        return diff_text(arguments)
    return Text(clean(arguments), "dim")


def result_text(content: str, *, is_error: bool) -> Text:
    """What a tool answered, in a few lines; the model has all of it."""
    return Text(shortened(clean(content)), "red" if is_error else "dim")


def shortened(text: str) -> str:
    """The first lines of a text, with a note of how many were left out."""
    lines = text.strip("\n").split("\n")
    shown = [line if len(line) <= _LONGEST_RESULT_LINE else f"{line[:_LONGEST_RESULT_LINE]}…" for line in lines]
    if len(shown) <= _MOST_RESULT_LINES + 1:
        return "\n".join(shown)
    n_left_out = len(shown) - _MOST_RESULT_LINES
    return "\n".join([*shown[:_MOST_RESULT_LINES], f"… {n_left_out:,} more lines"])


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"
