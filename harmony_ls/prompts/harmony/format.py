"""Harmony, the format of GPT-OSS, to the token: conversations are rendered by openai_harmony, message by message.

What a conversation means in Harmony is decided in `harmony_ls.prompts.harmony.messages`; what the model writes is read
by `harmony_ls.prompts.harmony.parser`. Rendering takes milliseconds for a long conversation; call it in a thread.
"""

import json
import re
import threading
from array import array
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from functools import cached_property
from itertools import groupby, takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harmony_ls.errors import ModelError
from harmony_ls.messages import Conversation, Role, ToolSpec
from harmony_ls.prompts.format import EventParser, Prompt
from harmony_ls.prompts.harmony.markers import HarmonyMarkers, markers_of
from harmony_ls.prompts.harmony.messages import (
    HarmonyMessage,
    instructions_of,
    last_user_index,
    messages_of,
    tool_message,
)
from harmony_ls.prompts.harmony.parser import HarmonyParser
from harmony_ls.prompts.harmony.text import pieces
from harmony_ls.prompts.harmony.tools import PYTHON, ToolTable, tool_table
from harmony_ls.prompts.harmony.vocabulary import N_RANKS, find_vocabulary, load_encoding
from harmony_ls.prompts.harmony.written import written_of
from harmony_ls.prompts.tokenizer import Tokenizer

if TYPE_CHECKING:
    from openai_harmony import HarmonyEncoding  # type: ignore[import-untyped]

__all__ = ["HarmonyFormat", "harmony_format"]

_MARKER_NAMES = ("start", "end", "message", "channel", "constrain", "return", "call")
_MAX_REMEMBERED_TOKENS = 2**20
# As openai_harmony writes the date, in front of everything that is not its own.
_DATE = re.compile(r"\Asystem[^#]*?^Current date: (\d{4}-\d\d-\d\d)$", re.MULTILINE)


def harmony_format(
    tokenizer: Tokenizer,
    model_folder: Path | None,
    environment: Mapping[str, str],
    *,
    vocabulary: Path | None = None,
) -> "HarmonyFormat":
    """Harmony for the model of a ``tokenizer``. The vocabulary is found as `find_vocabulary` says: it can take seconds.

    Raises ModelError where the model's vocabulary has no Harmony markers, and where the published one is not found.
    """
    path = find_vocabulary(environment, setting=vocabulary, model_folder=model_folder)
    return HarmonyFormat(tokenizer, load_encoding(path))


class HarmonyFormat:
    """How a model that knows Harmony is spoken to. It may be shared between conversations and threads.

    The ``encoding`` is openai_harmony's, over the published vocabulary. Where the model's ``tokenizer`` has another,
    markers are translated by name, and texts are encoded by the tokenizer itself.
    """

    def __init__(self, tokenizer: Tokenizer, encoding: "HarmonyEncoding") -> None:
        markers = markers_of(tokenizer)
        if markers is None:
            raise ModelError("The model cannot be spoken to in Harmony: its vocabulary lacks markers of Harmony.")
        self._tokenizer = tokenizer
        self._encoding = encoding
        self._markers: HarmonyMarkers = markers
        self._remembered = _RememberedTexts()
        self._frames: dict[HarmonyMessage, tuple[tuple[int, ...], int]] = {}

    @property
    def summary(self) -> str:
        """What this format is and how that is known, for people."""
        vocabulary = "the published vocabulary" if self._is_published else "a vocabulary of the model's own"
        return f"Harmony (its markers are in the model's vocabulary), with {vocabulary}"

    @cached_property
    def stop_tokens(self) -> frozenset[int]:
        """``<|return|>``, ``<|call|>`` and ``<|endoftext|>``, whether the model's configuration names them or not.

        Older conversions of GPT-OSS lack ``<|call|>``. A marker that the format itself needs is never among them.
        """
        markers = self._markers
        structure = {markers.start, markers.end, markers.message, markers.channel, markers.constrain}
        return markers.stop_tokens | (self._tokenizer.eos_token_ids - structure)

    @property
    def takes_tools(self) -> bool:
        """Always."""
        return True

    @property
    def takes_effort(self) -> bool:
        """Always: the system message tells it."""
        return True

    def render(self, conversation: Conversation) -> Prompt:
        """The prompt of a whole conversation. An assistant's answer at its end is left open: the model goes on with it.

        Checkpoints are the end of what all conversations with these tools and instructions share, the place before the
        last question (which may be asked again), and the one where its answer begins.
        """
        table = tool_table(conversation.tools)
        instructions, n_leading = instructions_of(conversation.messages)
        messages = conversation.messages[n_leading:]
        tokens = [*self._system_tokens(conversation, table), *self._developer_tokens(instructions, table)]
        checkpoints = {len(tokens)}
        question = last_user_index(messages)
        is_open = False
        for index, message in messages_of(messages, table):
            if index == question:
                checkpoints.add(len(tokens))
            tokens += self._message_tokens(message)
            if index == question:
                checkpoints.add(len(tokens) + len(self._opening))
            is_open = message.is_open
        if not is_open:
            tokens += self._opening
        return Prompt(tuple(tokens), tuple(sorted(position for position in checkpoints if position < len(tokens))))

    def resume(self, prompt: Prompt, generated: Sequence[int], conversation: Conversation) -> Prompt:
        """The next prompt inside a turn: the prompt, what was written after it, the tools' answers, and the opening."""
        table = tool_table(conversation.tools)
        goes_on = not self._is_opened(prompt)
        written = written_of(generated, self._markers, self._tokenizer.token_bytes, goes_on=goes_on)
        tokens = [*prompt.tokens, *written.tokens]
        if not written.tokens:
            # Nothing was said: an opening that nothing follows would be no message.
            tokens = [*tokens, self._markers.end] if goes_on else tokens[: -len(self._opening)]
        assistants = [index for index, message in enumerate(conversation.messages) if message.role is Role.ASSISTANT]
        last = assistants[-1] if assistants else -1
        earlier, later = conversation.messages[: last + 1], conversation.messages[last + 1 :]
        calls = {call.id: call for message in earlier for call in message.tool_calls}
        new_calls = earlier[-1].tool_calls if earlier else ()
        channels: dict[str, str] = {}
        if len(new_calls) == len(written.call_channels):
            pairs = zip(new_calls, written.call_channels, strict=True)
            channels = {call.id: channel for call, channel in pairs if channel}
        for message in later:
            if message.role is Role.TOOL:
                tokens += self._message_tokens(tool_message(message, calls, table, channels))
            else:
                for _, other in messages_of((message,), table):
                    tokens += self._message_tokens(other)
        checkpoints = prompt.checkpoints
        if not any(message.role is Role.TOOL for message in earlier[-2:-1]):
            # The answer to the person's question began here; once the turn is over its reasoning goes, and the next
            # turn shares no more of this prompt.
            checkpoints = (*checkpoints, len(prompt.tokens))
        return Prompt((*tokens, *self._opening), checkpoints)

    def date_of(self, tokens: Sequence[int]) -> date | None:
        """The date in the system message with which every prompt begins."""
        first = takewhile(lambda token: token != self._markers.end, tokens)
        match = _DATE.search(b"".join(map(self._tokenizer.token_bytes, first)).decode("utf-8", "replace"))
        try:
            return None if match is None else date.fromisoformat(match[1])
        except ValueError:
            return None

    def parser(self, prompt: Prompt, conversation: Conversation) -> EventParser:
        """A parser for one generation; it starts inside the answer where the prompt ends inside it."""
        return HarmonyParser(
            self._markers,
            self._tokenizer.token_bytes,
            conversation.tools,
            told_names=tool_table(conversation.tools).original_names,
            channel=None if self._is_opened(prompt) else "final",
        )

    def _is_opened(self, prompt: Prompt) -> bool:
        """Whether the prompt ends where a message of the assistant begins, and not inside one."""
        return prompt.tokens[-len(self._opening) :] == tuple(self._opening)

    # What openai_harmony renders

    def _system_tokens(self, conversation: Conversation, table: ToolTable) -> list[int]:
        import openai_harmony as library

        content = library.SystemContent.new()
        content.with_reasoning_effort(library.ReasoningEffort(conversation.effort.value.capitalize()))
        if conversation.started is not None:
            content.with_conversation_start_date(conversation.started.isoformat())
        # Told of a commentary channel without a tool to use it for, the model puts answers there.
        channels = ["analysis", "final"] if table.is_empty else ["analysis", "commentary", "final"]
        content.with_required_channels(channels)
        if table.python is not None:
            description = table.python.description or library.ToolNamespaceConfig.python().description
            content.with_tools(_namespace(PYTHON, _clean(description), []))
        if table.browser:
            # As the model was trained on it: what the tool does is made to agree with these texts.
            known = library.ToolNamespaceConfig.browser()
            names = {spec.name.removeprefix("browser.") for spec in table.browser}
            tools = [tool for tool in known.tools if tool.name in names]
            content.with_tools(_namespace(known.name, known.description, tools))
        message = library.Message.from_role_and_content(library.Role.SYSTEM, content)
        options = library.RenderOptions(conversation_has_function_tools=bool(table.functions))
        return self._in_own_vocabulary(self._encoding.render(message, options))

    def _developer_tokens(self, instructions: str, table: ToolTable) -> list[int]:
        parts = [f"# Instructions\n\n{instructions}"] if instructions else []
        if table.functions:
            parts.append(self._declarations(table.functions))
        return self._message_tokens(HarmonyMessage("developer", "\n\n".join(parts))) if parts else []

    def _declarations(self, functions: Mapping[str, ToolSpec]) -> str:
        """The declarations of functions in the words of openai_harmony."""
        import openai_harmony as library

        described = [
            library.ToolDescription.new(told, _clean(spec.description), parameters=_parameters(spec))
            for told, spec in functions.items()
        ]
        content = library.DeveloperContent.new().with_function_tools(described)
        message = library.Message.from_role_and_content(library.Role.DEVELOPER, content)
        try:
            tokens = self._encoding.render(message)
        except (RuntimeError, ValueError) as error:
            names = ", ".join(spec.name for spec in functions.values())
            raise ModelError(f"The tools cannot be declared to the model ({names}): {error}") from error
        start = tokens.index(self._published_ids["message"]) + 1
        return str(self._encoding.decode_utf8(tokens[start:-1]))

    def _message_tokens(self, message: HarmonyMessage) -> list[int]:
        head, end = self._frame(message)
        content: Iterable[int] = message.content_tokens or ()
        if not self._spells(message.content_tokens, message.content):
            content = self._encode(message.content)
        return [*head, *content] if message.is_open else [*head, *content, end]

    def _frame(self, message: HarmonyMessage) -> tuple[tuple[int, ...], int]:
        """The tokens before the content of a message, and the one behind it."""
        import openai_harmony as library

        key = replace(message, content="", content_tokens=None, is_open=False)
        known = self._frames.get(key)
        if known is not None:
            return known
        role = library.Role.TOOL if message.is_tool else library.Role(message.author)
        empty = library.Message(
            author=library.Author(role=role, name=message.author if message.is_tool else None),
            content=[library.TextContent(text="")],
            channel=message.channel,
            recipient=message.recipient,
            content_type=message.content_type,
        )
        tokens = self._in_own_vocabulary(self._encoding.render(empty))
        frame = tuple(tokens[:-1]), tokens[-1]
        # Tools that a model makes up have names of its own: there is no end to them.
        if len(self._frames) < 1000:
            self._frames[key] = frame
        return frame

    @cached_property
    def _opening(self) -> list[int]:
        """What every message of the assistant begins with."""
        return self._in_own_vocabulary([self._published_ids["start"], *self._encoding.encode("assistant")])

    # Texts and vocabularies

    def _spells(self, tokens: tuple[int, ...] | None, text: str) -> bool:
        """Whether these are tokens of plain text, and of this one: what comes out of a file may be neither."""
        if not tokens:
            return False
        spelled = [self._tokenizer.token_bytes(token) for token in tokens]
        is_text = all(spelled)
        return is_text and b"".join(spelled).decode("utf-8", "replace") == text

    def _encode(self, text: str) -> Iterable[int]:
        """The tokens of plain text; a marker that stands in it stays text."""
        known = self._remembered.get(text)
        if known is None:
            known = array("I")
            for piece in pieces(text):
                if self._is_published:
                    known.extend(self._encoding.encode(piece, disallowed_special=()))
                else:
                    known.extend(self._tokenizer.encode(piece))
            self._remembered.put(text, known)
        return known

    @cached_property
    def _is_published(self) -> bool:
        """Whether every token of the published vocabulary means the same to the model.

        Each one's bytes are compared. What the model's tokenizer would make of a text does not matter then.
        """
        tokenizer, ids = self._tokenizer, self._published_ids
        if tokenizer.vocabulary_size < N_RANKS or any(tokenizer.token_id(f"<|{name}|>") != ids[name] for name in ids):
            return False
        separated = [token for rank in range(N_RANKS) for token in (rank, ids["end"])]
        text = self._encoding.decode(separated, errors="surrogateescape")
        published: list[bytes] = text.encode("utf-8", "surrogateescape").split(b"<|end|>")[:-1]
        return published == [tokenizer.token_bytes(rank) for rank in range(N_RANKS)]

    @cached_property
    def _published_ids(self) -> dict[str, int]:
        """The markers in the published vocabulary, by name."""
        return {name: self._encoding.encode(f"<|{name}|>", allowed_special="all")[0] for name in _MARKER_NAMES}

    @cached_property
    def _own_ids(self) -> dict[int, int]:
        """The model's id for each marker of the published vocabulary."""
        own = {name: self._tokenizer.token_id(f"<|{name}|>") for name in _MARKER_NAMES}
        return {self._published_ids[name]: token for name, token in own.items() if token is not None}

    def _in_own_vocabulary(self, tokens: Sequence[int]) -> list[int]:
        """Tokens of the published vocabulary as the model has them.

        The role is encoded by itself, so that the opening of a message is the same whatever follows it.
        """
        if self._is_published:
            return list(tokens)
        own = self._own_ids
        translated: list[int] = []
        for is_marker, group in groupby(tokens, own.__contains__):
            run = list(group)
            if is_marker:
                translated += [own[token] for token in run]
                continue
            follows_start = translated[-1:] == [self._markers.start]
            for part in (run[:1], run[1:]) if follows_start else (run,):
                translated += self._tokenizer.encode(self._encoding.decode(part))
        return translated


class _RememberedTexts:
    """The tokens of the texts that were encoded last: most of a conversation is what it was in the turn before."""

    def __init__(self) -> None:
        self._texts: OrderedDict[str, array[int]] = OrderedDict()
        self._n_tokens = 0
        self._lock = threading.Lock()

    def get(self, text: str) -> "array[int] | None":
        with self._lock:
            if text in self._texts:
                self._texts.move_to_end(text)
            return self._texts.get(text)

    def put(self, text: str, tokens: "array[int]") -> None:
        with self._lock:
            if text in self._texts:
                return
            self._texts[text] = tokens
            self._n_tokens += len(tokens)
            while self._n_tokens > _MAX_REMEMBERED_TOKENS:
                self._n_tokens -= len(self._texts.popitem(last=False)[1])


def _namespace(name: str, description: str, tools: list[Any]) -> Any:
    import openai_harmony as library

    return library.ToolNamespaceConfig(name=name, description=description, tools=tools)


def _parameters(spec: ToolSpec) -> dict[str, Any] | None:
    """The schema as openai_harmony takes it; None for a tool without arguments, as the model knows such tools."""
    schema = spec.parameters
    if schema.get("type", "object") == "object" and not schema.get("properties"):
        return None
    try:
        copied: dict[str, Any] = json.loads(_clean(json.dumps(schema, ensure_ascii=False, allow_nan=False)))
    except (TypeError, ValueError, RecursionError) as error:
        raise ModelError(f"The parameters of the tool {spec.name} are no JSON schema: {error}") from error
    return copied


def _clean(text: str) -> str:
    """The text without lone surrogates, which no encoding has."""
    return text.encode("utf-8", "replace").decode("utf-8")
