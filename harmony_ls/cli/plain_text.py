"""Text of strangers, a model's or a file's, made safe for a terminal: what would move the cursor or speak to the
terminal is taken out. It styles nothing.
"""

import json
import re
from typing import Any, Final

__all__ = ["clean", "json_line"]

# Control characters but tab and newline, the marks that turn the direction of writing, and halves of characters.
_CONTROL: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def clean(text: str) -> str:
    """``text`` without control characters other than newline and tab; lines end in a newline alone."""
    return _CONTROL.sub("", text)


def json_line(value: Any) -> str:
    """``value`` as one line of JSON, readable, in which control characters are escaped."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return _CONTROL.sub(lambda match: f"\\u{ord(match.group()):04x}", text)
