"""What a model wrote, for the tests of the Harmony parser: texts to tokens, and tokens through a parser.

In a text a marker is written as it is spelled. ``<\\|`` stands for the same sign in ordinary tokens, and ``<#200013>``
for the token with that id.
"""

import functools
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from harmony_ls.events import Event, ReasoningDelta, TextDelta
from harmony_ls.messages import Message, ToolSpec
from harmony_ls.prompts.harmony.markers import HarmonyMarkers, markers_of
from harmony_ls.prompts.harmony.parser import HarmonyParser
from tests.harmony_vocabulary import SPECIAL_TOKENS, PublishedTokenizer, published_encoding, published_ranks

__all__ = [
    "MARKERS",
    "Parsed",
    "ParsedMessage",
    "joined",
    "numbered_calls",
    "parse",
    "parsed_messages",
    "parser",
    "token_bytes",
    "tokens_of",
]

_MARKERS = markers_of(PublishedTokenizer())
assert _MARKERS is not None
MARKERS: HarmonyMarkers = _MARKERS

_SPECIAL = re.compile(r"(<#-?\d+>|<\|[a-z]+\|>)")


@dataclass(frozen=True)
class ParsedMessage:
    """One message as the model wrote it, before anything is made of it.

    ``author`` is the name of the tool where the role is ``tool``. ``content_type`` is spelled as openai_harmony spells
    it.
    """

    role: str
    author: str
    recipient: str | None
    channel: str | None
    content_type: str | None
    text: str


@dataclass(frozen=True)
class Parsed:
    """What came of a generation."""

    events: tuple[Event, ...]
    message: Message
    parsed_messages: tuple[ParsedMessage, ...]
    is_over: bool

    @property
    def text(self) -> str:
        """What a person was shown."""
        return joined(self.events, TextDelta)

    @property
    def reasoning(self) -> str:
        """What a person was shown of the reasoning."""
        return joined(self.events, ReasoningDelta)


def tokens_of(text: str) -> list[int]:
    """The tokens of a text with markers, as the model would write them."""
    tokens: list[int] = []
    for piece in _SPECIAL.split(text):
        if piece.startswith("<#"):
            tokens.append(int(piece[2:-1]))
        elif piece in SPECIAL_TOKENS:
            tokens.append(SPECIAL_TOKENS[piece])
        else:
            tokens += _ordinary_tokens(piece.replace("<\\|", "<|"))
    return tokens


@functools.lru_cache(maxsize=4096)
def _ordinary_tokens(text: str) -> tuple[int, ...]:
    return tuple(published_encoding().encode(text, disallowed_special=())) if text else ()


def token_bytes(token: int) -> bytes:
    """The bytes of a token; empty for markers and for ids that the vocabulary does not know."""
    ranks = published_ranks()
    return ranks[token] if 0 <= token < len(ranks) else b""


def numbered_calls() -> Callable[[], str]:
    """Ids of calls that are the same each time."""
    numbers = count(1)
    return lambda: f"call_{next(numbers)}"


def parser(tools: Sequence[str] = (), **options: Any) -> HarmonyParser:
    """A parser over the published vocabulary. ``tools`` are names."""
    specs = [ToolSpec(name, "") for name in tools]
    return HarmonyParser(MARKERS, token_bytes, specs, new_call_id=numbered_calls(), **options)


def parse(
    generated: str | Iterable[int], tools: Sequence[str] = (), *, complete: bool = True, **options: Any
) -> Parsed:
    """Parse a whole generation."""
    tokens = tokens_of(generated) if isinstance(generated, str) else generated
    parsing = parser(tools, **options)
    events = [event for token in tokens for event in parsing.feed(token)]
    events += parsing.finish(complete=complete)
    return Parsed(tuple(events), parsing.message(), parsed_messages(parsing), parsing.is_over)


def parsed_messages(parsing: HarmonyParser) -> tuple[ParsedMessage, ...]:
    """All messages so far as they were written, those that nothing is made of included."""
    return tuple(
        ParsedMessage(header.role, header.author, header.recipient, header.channel, header.content_type, message.text)
        for message in parsing._messages
        for header in (message.header,)
    )


def joined(events: Iterable[Event], kind: type[TextDelta] | type[ReasoningDelta]) -> str:
    """The text of all deltas of a kind."""
    return "".join(event.text for event in events if isinstance(event, kind))
