"""Reads what a model with a chat template of its own writes: text, reasoning and tool calls, token by token.

Which tags divide an answer is mlx-lm's knowledge, and comes with the tokenizer; so do the parsers of tool calls. What
the prompt was, and what becomes of the events, is not decided here.
"""

import codecs
import json
import re
from array import array
from collections.abc import Iterable, Mapping, Sequence

from harmony_ls.events import (
    Event,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallFinished,
    ToolCallStarted,
)
from harmony_ls.messages import Message, Role, ToolCall, ToolSpec
from harmony_ls.prompts.chat.calls import short_id
from harmony_ls.prompts.chat.messages import function_of
from harmony_ls.prompts.tokenizer import Tokenizer

__all__ = ["ChatMarkers", "ChatParser"]

_NORMAL, _REASONING, _TOOL = "normal", "reasoning", "tool"
_NAME_IN_CALL = re.compile(r'"name"\s*:\s*"([^"\\]{1,64})"|<function=([^\s<>]{1,64})')
_NUMBER = re.compile(r"[0-9]{1,9}")


class ChatMarkers:
    """The texts that divide a model's answers, prepared for finding them. One serves many parsers.

    ``stop_tokens`` end an answer. Their texts, spelled in ordinary tokens, are left out of what a person reads.
    """

    def __init__(self, tokenizer: Tokenizer, stop_tokens: frozenset[int]) -> None:
        self.tokenizer = tokenizer
        self.stop_tokens = stop_tokens
        self.start = tokenizer.answers.start
        transitions = {part: dict(edges) for part, edges in tokenizer.answers.transitions.items()}
        edges = {text for part in transitions.values() for text in part}
        stops = {tokenizer.marker_text(token) for token in stop_tokens} - {""}
        inner = {
            text
            for token in range(tokenizer.vocabulary_size)
            if (text := tokenizer.marker_text(token)) and any(text in edge for edge in edges)
        }
        self._spelled = inner
        parts = {_NORMAL, _REASONING, self.start, *transitions}
        self.finders = {
            part: _Finder(
                {**({} if part == _TOOL else dict.fromkeys(stops | inner | edges, part)), **transitions.get(part, {})}
            )
            for part in parts
        }

    def opens_reasoning(self, prompt_tokens: Sequence[int]) -> bool:
        """Whether a prompt ends inside of reasoning that its last message began."""
        if self.tokenizer.answers.thinking is None:
            return False
        begin, end = self.tokenizer.answers.thinking
        for position in range(len(prompt_tokens), 0, -1):
            before = tuple(prompt_tokens[max(0, position - max(len(begin), len(end))) : position])
            if before[-1] in self.stop_tokens or before[-len(end) :] == end:
                return False
            if before[-len(begin) :] == begin:
                return True
        return False

    def is_spelled(self, marker: str) -> bool:
        """Whether a marker is a tag, or a piece of one that is made of several markers."""
        return marker in self._spelled


class _Finder:
    """Finds the tags of one part in its text. Each leads to a part: to another, or to the same where it is dropped."""

    def __init__(self, edges: Mapping[str, str]) -> None:
        self.edges = edges
        self.has_ways_out = len(set(edges.values())) > 1
        self.pattern = re.compile("|".join(map(re.escape, sorted(edges, key=len, reverse=True))) or "(?!)")
        self._heads = {text[:n] for text in edges for n in range(1, len(text))}
        self.longest = max(map(len, edges), default=0)

    def n_held(self, text: str) -> int:
        """How many letters at the end of ``text`` may be the beginning of a tag."""
        for n in range(min(self.longest - 1, len(text)), 0, -1):
            if text[-n:] in self._heads:
                return n
        return 0

    def may_grow(self, text: str) -> bool:
        """Whether ``text``, which begins with a tag, may be the beginning of a longer one."""
        return text in self._heads


class ChatParser:
    """Turns the tokens of one answer into events; see `harmony_ls.prompts.format.EventParser`.

    ``used_ids`` are those of earlier calls: some models name their calls themselves, and not always anew.
    """

    def __init__(
        self,
        markers: ChatMarkers,
        prompt_tokens: Sequence[int],
        tools: Sequence[ToolSpec],
        *,
        in_reasoning: bool,
        used_ids: Iterable[str] = (),
    ) -> None:
        self._markers = markers
        self._tokenizer = markers.tokenizer
        self._prompt_tokens = prompt_tokens
        self._tools = tools
        self._used_ids = set(used_ids)
        self._utf8 = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._part = _REASONING if in_reasoning else markers.start
        self._drops_space = self._tokenizer.adds_space
        self._buffer = ""
        # The end of what was given out of each part: no marker may come about where two pieces meet.
        self._given = dict.fromkeys(markers.finders, "")
        # Line breaks that follow a tag belong to it, as long as nothing of the part was shown.
        self._drops_line_breaks = self._part == _REASONING
        self._content: list[str] = []
        self._reasoning: list[str] = []
        self._call_text: list[str] = []
        self._calls: list[ToolCall] = []
        self._text_tokens: list[int] = []
        self._is_over = False
        self._is_finished = False

    @property
    def is_over(self) -> bool:
        """Whether the model ended its answer."""
        return self._is_over

    @property
    def in_reasoning(self) -> bool:
        """Whether the token that was fed last belongs to the reasoning."""
        return self._part == _REASONING and not self._is_over

    def feed(self, token: int) -> list[Event]:
        """The events that ``token`` completes."""
        if self._is_over or self._is_finished:
            return []
        if token in self._markers.stop_tokens:
            self._is_over = True
            return []
        if self._tokenizer.is_marker(token):
            text = self._utf8.decode(b"", final=True)
            self._utf8.reset()
            marker = self._tokenizer.marker_text(token)
            # The syntaxes of tool calls have markers of their own, which only their parsers know.
            if self._part == _TOOL or self._markers.is_spelled(marker):
                text += marker
        else:
            text = self._utf8.decode(self._tokenizer.token_bytes(token))
            if self._part == _NORMAL:
                self._text_tokens.append(token)
        if self._drops_space and text:
            self._drops_space = False
            text = text.removeprefix(" ")
        return self._read(text) if text else []

    def finish(self, *, complete: bool) -> list[Event]:
        """The events at the end; a call is finished by the end of a complete answer, and by nothing else."""
        if self._is_finished:
            return []
        events = self._read(self._utf8.decode(b"", final=True))
        self._is_finished = True
        if self._part != _TOOL:
            return events + self._take(self._buffer)
        if complete:
            self._call_text.append(self._buffer)
            events += self._close_call()
        return events

    def message(self) -> Message:
        """The assistant's message so far."""
        content = "".join(self._content)
        return Message(
            Role.ASSISTANT,
            content,
            "".join(self._reasoning),
            tuple(self._calls),
            content_tokens=self._tokens_of(content),
        )

    def _tokens_of(self, content: str) -> tuple[int, ...] | None:
        """The tokens that the model wrote ``content`` with, where they are just that and the line breaks around it."""
        if not content:
            return None
        for end in range(len(self._text_tokens), max(0, len(self._text_tokens) - 2), -1):
            for start in range(min(3, end)):
                tokens = self._text_tokens[start:end]
                if self._tokenizer.decode(tokens) == content:
                    return tuple(tokens)
        return None

    def _read(self, text: str) -> list[Event]:
        events: list[Event] = []
        text = self._buffer + text
        while True:
            part, finder = self._part, self._markers.finders[self._part]
            match = finder.pattern.search(text)
            if match is None or finder.may_grow(text[match.start() :]):
                end = len(text) - finder.n_held(text) if match is None else match.start()
                if part != _TOOL and finder.has_ways_out:
                    # Line breaks before a tag belong to it.
                    end = len(text[:end].rstrip("\n"))
                self._buffer = text[end:]
                return events + self._take(text[:end])
            before, text = text[: match.start()], text[match.end() :]
            following = finder.edges[match.group()]
            events += self._take(before if following == part or part == _TOOL else before.rstrip("\n"))
            if following == part:
                continue
            if part == _TOOL:
                events += self._close_call()
            self._part = following
            shown = {_NORMAL: self._content, _REASONING: self._reasoning}
            self._drops_line_breaks = following in shown and not shown[following]

    def _take(self, text: str) -> list[Event]:
        """Give out text of the current part."""
        part = self._part
        if part == _TOOL:
            self._call_text.append(text)
            return []
        if self._drops_line_breaks:
            text = text.lstrip("\n")
        text = self._clean(part, text)
        if not text:
            return []
        self._drops_line_breaks = False
        if part == _NORMAL:
            self._content.append(text)
            return [TextDelta(text)]
        if part == _REASONING:
            self._reasoning.append(text)
            return [ReasoningDelta(text)]
        return []

    def _clean(self, part: str, text: str) -> str:
        """``text`` without what would be a marker, alone or together with what was given out before."""
        given, finder = self._given[part], self._markers.finders[part]
        while (match := finder.pattern.search(given + text)) is not None:
            text = text[: max(0, match.start() - len(given))] + text[match.end() - len(given) :]
        given += text
        self._given[part] = given[max(0, len(given) - finder.longest) :]
        return text

    def _close_call(self) -> list[Event]:
        text = "".join(self._call_text)
        self._call_text = []
        functions = [function_of(tool) for tool in self._tools]
        try:
            parsed = self._tokenizer.parse_tool_call(text, functions)
        except ValueError:
            # Whoever runs the tools tells the model in-band what is wrong. A tool that takes any text would run this.
            name = self._name_in(text)
            parsed = [("" if self._takes_plain_text(name) else name, text, "")]
        events: list[Event] = []
        for name, arguments, given_id in parsed:
            index = len(self._calls)
            name = self._shown(name)
            call = ToolCall(self._free_id(given_id, index), name, self._arguments_for(name, arguments))
            self._calls.append(call)
            events += [ToolCallStarted(index, name), ToolCallDelta(index, call.arguments)]
            events.append(ToolCallFinished(index, call))
        return events

    def _name_in(self, text: str) -> str:
        """The name of the tool that a broken call seems to mean; empty where it cannot be told."""
        match = _NAME_IN_CALL.search(text)
        if match is not None:
            return str(match.group(match.lastindex or 0))
        named = [tool.name for tool in self._tools if re.search(rf"\b{re.escape(tool.name)}\b", text)]
        return named[0] if named else ""

    def _shown(self, name: str) -> str:
        """A name without markers: people see it."""
        pattern = self._markers.finders[_NORMAL].pattern
        while pattern.search(name):
            name = pattern.sub("", name)
        return name

    def _arguments_for(self, name: str, arguments: str) -> str:
        """Arguments as the tool takes them: plain text is taken out of the object around it."""
        if not self._takes_plain_text(name):
            return arguments
        try:
            values = json.loads(arguments)
        except (ValueError, RecursionError):
            return arguments
        if isinstance(values, dict) and len(values) == 1:
            values = next(iter(values.values()))
        return values if isinstance(values, str) else arguments

    def _takes_plain_text(self, name: str) -> bool:
        return any(tool.name == name and tool.takes_text for tool in self._tools)

    def _free_id(self, given: str, index: int) -> str:
        """The id that the model gave to a call, or the next one of its kind where another call has that."""
        free = given or self._new_id(index)
        while free in self._used_ids:
            # Models that count their calls ("functions.read:0") read the name of the tool out of the id.
            name, colon, number = free.rpartition(":")
            free = f"{name}:{int(number) + 1}" if colon and _NUMBER.fullmatch(number) else self._new_id(index)
            index += 1
        self._used_ids.add(free)
        return free

    def _new_id(self, index: int) -> str:
        """An id that no other call of the conversation has, and that is the same if the answer is read again."""
        return short_id(array("q", self._prompt_tokens).tobytes() + index.to_bytes(4, "little"))
