"""What a model has written in Harmony, as a piece of the next prompt: ended as a history ends it, else token for token.

This is no parser (`harmony_ls.prompts.harmony.parser` is): it looks at the headers of whole messages only.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from harmony_ls.prompts.harmony.markers import HarmonyMarkers

__all__ = ["Written", "written_of"]

_RECIPIENT = re.compile(r"\bto=\s*\S")
_CHANNELS = ("analysis", "commentary", "final")


@dataclass(frozen=True, slots=True)
class Written:
    """``tokens`` end with the end of a message, or are empty where the model has said nothing.

    ``call_channels`` are the channels of the calls among them, in their order.
    """

    tokens: tuple[int, ...]
    call_channels: tuple[str, ...]


def written_of(
    generated: Sequence[int],
    markers: HarmonyMarkers,
    token_bytes: Callable[[int], bytes],
    *,
    goes_on: bool,
) -> Written:
    """The tokens that were generated, made fit to be followed by another message.

    ``<|return|>`` and ``<|endoftext|>`` end a generation and are in no history. A message without an end gets one, and
    one with two loses one. A header that was never finished is left out, and so is what the model wrote in another's
    name (an answer that it made up for a tool). ``goes_on``: the prompt ended inside a message, so that ``generated``
    starts with content.
    """
    tokens = list(generated)
    ends = (markers.end, markers.call)
    while tokens and tokens[-1] in (markers.return_, markers.end_of_text):
        tokens.pop()
    while len(tokens) > 1 and tokens[-1] in ends and tokens[-2] in ends:
        tokens.pop()
    messages = list(_messages(tokens, markers, token_bytes, goes_on=goes_on))
    while messages and not messages[-1].is_said:
        del tokens[messages.pop().start :]
    if messages and tokens[-1] not in ends:
        tokens.append(markers.call if messages[-1].is_call else markers.end)
    return Written(tuple(tokens), tuple(message.channel for message in messages if message.is_call))


@dataclass(frozen=True, slots=True)
class _Written:
    """A message by its header; ``start`` is the position of its first token."""

    start: int
    is_said: bool
    is_call: bool
    channel: str


def _messages(
    tokens: Sequence[int], markers: HarmonyMarkers, token_bytes: Callable[[int], bytes], *, goes_on: bool
) -> Iterator[_Written]:
    if not tokens:
        return
    starts = [0, *(index for index, token in enumerate(tokens) if token == markers.start and index > 0)]
    for start, end in zip(starts, [*starts[1:], len(tokens)], strict=True):
        if goes_on and start == 0:
            yield _Written(0, is_said=True, is_call=False, channel="final")
            continue
        message = tokens[start:end]
        has_content = markers.message in message
        header = message[: message.index(markers.message)] if has_content else message
        # A zero byte stands for the marker of the channel, the last of which counts; none is in any header.
        spelled = (b"\0" if token == markers.channel else token_bytes(token) for token in header)
        text = b"".join(spelled).decode("utf-8", "replace")
        channel = text.rpartition("\0")[2].strip() if "\0" in text else ""
        is_said = has_content and (tokens[start] != markers.start or text.startswith("assistant"))
        yield _Written(
            start,
            is_said=is_said,
            is_call=is_said and _RECIPIENT.search(text) is not None,
            channel=next((name for name in _CHANNELS if channel.startswith(name)), ""),
        )
