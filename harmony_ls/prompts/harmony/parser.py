"""What a model writes in Harmony, token by token, as events and as the assistant's message.

The messages of one generation are told apart by marker tokens (openai/harmony, docs/format.md). GPT-OSS leaves some out
and writes others twice: whatever ids come, the parser raises nothing and shows what was meant. On well-formed output it
reads the same messages as openai_harmony's ``StreamableParser``, which gives up on the rest.

* *The recipient decides, the channel does not*: a message to a tool is a call on any channel. Without one, ``analysis``
  is reasoning, and ``commentary`` and ``final`` are for the person.
* A message ends where the next one begins, if its end was left out. A header without ``<|message|>`` ends where words
  come that no header has, or with the message; those words are then the text. A stray end is nothing.
* A turn of somebody else that the model makes up ends the answer.

Marker *tokens* are structure and never text, wherever they stand. A marker that is spelled with ordinary tokens is
text like any other: somebody who asks what ``<|channel|>`` means shall be told. openai_harmony draws the same line when
it encodes, so such text cannot become a marker in the next prompt either.

Nothing here stops a generation, runs a tool, or decides whether the arguments of a call are any good.
"""

import codecs
import json
import secrets
from collections.abc import Callable, Mapping, Sequence

from harmony_ls.events import Event, ReasoningDelta, TextDelta, ToolCallDelta, ToolCallFinished, ToolCallStarted
from harmony_ls.messages import Message, Role, ToolCall, ToolSpec
from harmony_ls.prompts.harmony.header import (
    CHANNELS,
    HarmonyHeader,
    PartKind,
    callable_names,
    called_tool,
    may_be_header,
    read_header,
)
from harmony_ls.prompts.harmony.markers import HarmonyMarkers, MarkerKind
from harmony_ls.prompts.harmony.open_message import OpenHeader, OpenMessage, Purpose

__all__ = ["HarmonyParser", "new_call_id"]

# A header has a dozen words at most. What is longer is a text whose <|message|> was left out.
_MAX_HEADER_BYTES = 512


def new_call_id() -> str:
    """An id for a tool call, in the form of OpenAI's."""
    return f"call_{secrets.token_hex(12)}"


class HarmonyParser:
    """Parses one generation; fulfils `harmony_ls.prompts.format.EventParser`.

    It starts behind the ``<|start|>assistant`` at the end of a prompt, or inside the text of ``channel`` where the
    prompt has opened a message there. ``token_bytes`` gives the bytes of a token, none for a marker or an unknown id.
    ``told_names`` are names that were changed for the model, with the tools' own. One parser belongs to one thread.
    """

    def __init__(
        self,
        markers: HarmonyMarkers,
        token_bytes: Callable[[int], bytes],
        tools: Sequence[ToolSpec] = (),
        *,
        told_names: Mapping[str, str] | None = None,
        channel: str | None = None,
        new_call_id: Callable[[], str] = new_call_id,
    ) -> None:
        self._markers = markers.kinds
        self._token_bytes = token_bytes
        self._names = callable_names(tools, told_names or {})
        self._new_call_id = new_call_id
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._messages: list[OpenMessage] = []
        self._shown: set[Purpose] = set()
        self._n_calls = 0
        self._is_over = False
        # At any time the parser is inside a message, or inside a header, or between two messages.
        self._message: OpenMessage | None = None
        self._header: OpenHeader | None = None
        if channel is None:
            self._header = OpenHeader.of(PartKind.OPENING)
        else:
            self._begin(HarmonyHeader(channel=channel))

    @property
    def is_over(self) -> bool:
        """Whether the generation has ended, or goes on with a turn that is not the assistant's."""
        return self._is_over

    @property
    def in_reasoning(self) -> bool:
        """Whether the token that was fed last belongs to the reasoning."""
        return self._message is not None and self._message.purpose is Purpose.REASONING

    def feed(self, token: int) -> list[Event]:
        """The events that ``token`` completes.

        Bytes of an unfinished character are held back; so is a text on ``commentary`` that looks like the arguments of
        a call whose recipient was left out, until its end tells what it is.
        """
        marker = self._markers.get(token)
        if marker is not None:
            return self._feed_marker(marker)
        data = self._token_bytes(token)
        message = self._message
        if message is None:
            return self._feed_header(token, data)
        if not data:
            message.is_exact = False
            return []
        message.tokens.append(token)
        text = self._decoder.decode(data)
        return self._write(message, text) if text else []

    def finish(self, *, complete: bool) -> list[Event]:
        """The events at the end.

        Where the answer was cut short, an open call stays unfinished, a header yields nothing, and half a character is
        left out; text that was held back is shown.
        """
        if complete:
            return self._end()
        message, self._message, self._header = self._message, None, None
        if message is None:
            return []
        message.is_exact &= not self._decoder.getstate()[0]
        return self._settle(message, Purpose.TEXT)

    def message(self) -> Message:
        """The assistant's message so far.

        Several texts for the person are one content, parted by blank lines, and so is the reasoning.
        ``content_tokens`` are known where the content is the text of one message, and of ordinary tokens alone.
        """
        texts = self._written(Purpose.TEXT)
        return Message(
            Role.ASSISTANT,
            content="\n\n".join(message.text for message in texts),
            reasoning="\n\n".join(message.text for message in self._written(Purpose.REASONING)),
            tool_calls=tuple(message.call for message in self._messages if message.call is not None),
            content_tokens=self._exact_tokens(texts[0]) if len(texts) == 1 else None,
        )

    def _written(self, purpose: Purpose) -> list[OpenMessage]:
        return [message for message in self._messages if message.purpose is purpose and message.pieces]

    def _exact_tokens(self, message: OpenMessage) -> tuple[int, ...] | None:
        is_half = message is self._message and bool(self._decoder.getstate()[0])
        return tuple(message.tokens) if message.is_exact and not is_half else None

    # Markers

    def _feed_marker(self, marker: MarkerKind) -> list[Event]:
        match marker:
            case MarkerKind.START:
                events = self._end(is_cut=True) if self._message is not None else []
                self._header = OpenHeader.of(PartKind.START)
                return events
            case MarkerKind.CHANNEL:
                events = self._end(is_cut=True) if self._message is not None else []
                self._header = self._header or OpenHeader.of(PartKind.IMPLIED)
                self._header.add_part(PartKind.CHANNEL)
                return events
            case MarkerKind.CONSTRAIN:
                if self._message is not None:
                    self._message.is_exact = False
                    return []
                self._header = self._header or OpenHeader.of(PartKind.IMPLIED)
                self._header.add_part(PartKind.CONSTRAIN)
                return []
            case MarkerKind.MESSAGE:
                return self._feed_message_marker()
            case MarkerKind.END:
                return self._end()
            case MarkerKind.CALL:
                events = self._end(is_call=True)
            case MarkerKind.RETURN | MarkerKind.END_OF_TEXT:
                events = self._end()
        self._is_over = True
        return events

    def _feed_message_marker(self) -> list[Event]:
        """The text begins. Inside a text it parts it in two; arguments stay one, lest half of them are run."""
        message = self._message
        if message is None:
            header = self._header or OpenHeader.of(PartKind.IMPLIED)
            return self._begin(read_header(header.parts, self._names))
        if not message.tokens:
            return []
        if message.purpose is Purpose.CALL:
            message.is_exact = False
            return []
        events = self._end()
        return [*events, *self._begin(message.header, message.purpose)]

    # Headers

    def _feed_header(self, token: int, data: bytes) -> list[Event]:
        if not data:
            return []
        header = self._header = self._header or OpenHeader.of(PartKind.IMPLIED)
        header.add(token, data)
        if header.n_bytes <= _MAX_HEADER_BYTES and (len(header.texts) > 1 or may_be_header(header.text, header.kind)):
            return []
        return self._begin_unmarked(header)

    def _begin_unmarked(self, header: OpenHeader) -> list[Event]:
        """Begin a text whose ``<|message|>`` was left out with the words that belong to no header."""
        read = self._read_unmarked(header)
        # Too long for a header, and nothing says where arguments would begin: whatever this is, it must not be run.
        events = self._begin(read, Purpose.REASONING if self._is_call(read) else None)
        return [*events, *self._write_rest(header, read.rest)]

    def _end_unmarked(self, header: OpenHeader, *, is_call: bool) -> list[Event]:
        """The events of a message that ended before any ``<|message|>``."""
        read = self._read_unmarked(header)
        names_call = self._is_call(read) and is_call
        if read.role == "assistant" and not read.rest.strip() and not names_call:
            return []
        events = self._begin(read, Purpose.REASONING if self._is_call(read) and not is_call else None)
        return [*events, *self._write_rest(header, read.rest), *self._end(is_call=is_call)]

    def _read_unmarked(self, header: OpenHeader) -> HarmonyHeader:
        read = read_header(header.parts, self._names)
        if header.kind is PartKind.OPENING and len(header.texts) == 1 and read.recipient is None:
            # The model has used no marker at all: every word of this is its answer, "final" and "to" included.
            return HarmonyHeader(rest=header.text)
        return read

    def _write_rest(self, header: OpenHeader, rest: str) -> list[Event]:
        message = self._message
        if message is None:
            return []
        message.is_exact = len(header.texts) == 1 and rest == header.text
        message.tokens.extend(header.tokens)
        text = self._decoder.decode(rest.encode("utf-8", "surrogateescape"))
        return self._write(message, text) if text else []

    def _is_call(self, header: HarmonyHeader) -> bool:
        return header.role == "assistant" and called_tool(header.recipient, self._names) is not None

    # Messages

    def _begin(self, header: HarmonyHeader, purpose: Purpose | None = None) -> list[Event]:
        """Begin a message, for the ``purpose`` that its header tells unless one is given."""
        self._header = None
        self._is_over = self._is_over or header.role != "assistant"
        if self._is_over:
            purpose = Purpose.OTHER
        message = self._message = OpenMessage(header, purpose or self._purpose_of(header))
        self._messages.append(message)
        self._decoder.reset()
        if message.purpose is not Purpose.CALL:
            return []
        message.index, message.tool = self._n_calls, called_tool(header.recipient, self._names) or ""
        self._n_calls += 1
        return [ToolCallStarted(message.index, message.tool)]

    def _purpose_of(self, header: HarmonyHeader) -> Purpose:
        if self._is_call(header):
            return Purpose.CALL
        if header.channel == "analysis":
            return Purpose.REASONING
        if header.channel == "commentary":
            if header.is_misaddressed:
                return Purpose.REASONING
            return Purpose.ARGUMENTS if header.content_type else Purpose.UNDECIDED
        is_first = not self._messages
        is_unknown = header.channel is not None and header.channel not in CHANNELS
        return Purpose.REASONING if is_unknown and is_first else Purpose.TEXT

    def _write(self, message: OpenMessage, text: str) -> list[Event]:
        message.pieces.append(text)
        match message.purpose:
            case Purpose.TEXT | Purpose.REASONING:
                return self._show(message.purpose, text, is_first=len(message.pieces) == 1)
            case Purpose.CALL:
                return [ToolCallDelta(message.index, text)]
            case Purpose.UNDECIDED if first := text.lstrip()[:1]:
                # Arguments of functions begin with a brace, and a preamble hardly ever does.
                if first != "{":
                    return self._settle(message, Purpose.TEXT)
                message.purpose = Purpose.ARGUMENTS
        return []

    def _show(self, purpose: Purpose, text: str, *, is_first: bool) -> list[Event]:
        """The event for a piece of text; a message that is not the first of its purpose begins with a blank line."""
        if is_first and purpose in self._shown:
            text = f"\n\n{text}"
        self._shown.add(purpose)
        return [TextDelta(text) if purpose is Purpose.TEXT else ReasoningDelta(text)]

    def _settle(self, message: OpenMessage, purpose: Purpose) -> list[Event]:
        """Make text that was held back a text for ``purpose``, and show it."""
        if message.purpose not in (Purpose.UNDECIDED, Purpose.ARGUMENTS):
            return []
        message.purpose = purpose
        return self._show(purpose, message.text, is_first=True) if message.pieces else []

    def _end(self, *, is_call: bool = False, is_cut: bool = False) -> list[Event]:
        """End the message or the header that is open, if one is.

        ``is_call``: it was ended as a call is. ``is_cut``: another message began inside it; a call is finished then
        only if its arguments are whole, which can be told of JSON alone.
        """
        message, header = self._message, self._header
        self._header = None
        if header is not None:
            return self._end_unmarked(header, is_call=is_call)
        if message is None:
            return []
        tail = self._decoder.decode(b"", final=True)
        events = self._write(message, tail) if tail else []
        self._message = None
        if message.purpose is Purpose.CALL and is_cut and not _is_json_object(message.text):
            return events
        if message.purpose is Purpose.CALL:
            message.call = ToolCall(self._new_call_id(), message.tool, message.text)
            return [*events, ToolCallFinished(message.index, message.call)]
        return [*events, *self._settle(message, Purpose.REASONING if is_call else Purpose.TEXT)]


def _is_json_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False
