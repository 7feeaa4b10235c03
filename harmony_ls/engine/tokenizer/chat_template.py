"""A model's own chat template, rendered so that no text of a caller can speak for the template, and how it answers.

Templates see the real texts, so that they may trim, split and escape them; only the markers that stand in a text are
replaced by placeholders, and encoded as plain text afterwards. What mlx-lm knows of a model's reasoning tags and tool
calls is given as plain values. What a conversation is made of, and what an answer means, is decided in `prompts`.
"""

import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any, Protocol

from harmony_ls.engine.tokenizer.marker_texts import MarkerTexts, any_of
from harmony_ls.errors import ModelError

__all__ = ["AnswerSyntax", "Encoder", "RenderedChat", "answer_syntax", "parse_tool_call", "render"]


class Encoder(Protocol):
    """What a rendered template needs of the tokenizer whose it is."""

    marker_texts: MarkerTexts

    def encode(self, text: str) -> list[int]:
        """The tokens of plain text."""

    def encode_marked(self, text: str, *, is_start: bool) -> list[int]:
        """The tokens of text whose markers are meant; ``is_start``: it begins a prompt."""


@dataclass(frozen=True, slots=True)
class RenderedChat:
    """A rendered chat template. In ``text`` markers are the template's own; ``plain`` names the placeholders of others.

    A placeholder of ``plain`` stands for text that is to be encoded as text, whatever it looks like.
    """

    text: str
    tokenizer: Encoder = field(repr=False)
    plain: Mapping[str, str] = field(default_factory=dict)
    is_start: bool = True

    def after(self, slot: str) -> "RenderedChat":
        """What follows the first ``slot``; nothing where it does not occur."""
        return replace(self, text=self.text.partition(slot)[2], is_start=False)

    def encode(self, splices: Mapping[str, Sequence[int]] | None = None) -> list[int]:
        """The tokens of the whole; ``splices`` are texts of the caller's that stand for tokens."""
        tokens_of = {slot: self.tokenizer.encode(text) for slot, text in self.plain.items()}
        tokens_of |= {slot: list(tokens) for slot, tokens in (splices or {}).items()}
        tokens: list[int] = []
        position = 0
        for match in any_of(tokens_of).finditer(self.text):
            tokens += self._encode_between(position, match.start())
            tokens += tokens_of[match.group()]
            position = match.end()
        return tokens + self._encode_between(position, len(self.text))

    def _encode_between(self, start: int, end: int) -> list[int]:
        is_start = self.is_start and start == 0
        return self.tokenizer.encode_marked(self.text[start:end], is_start=is_start) if end > start else []


def render(
    tokenizer: Encoder,
    wrapper: Any,
    messages: Sequence[Mapping[str, Any]],
    tools: Sequence[Mapping[str, Any]],
    arguments: Mapping[str, Any],
    *,
    opens_answer: bool,
) -> RenderedChat:
    """Render the template of mlx-lm's ``wrapper`` over messages and tools in OpenAI's form.

    ``arguments`` go to the template as they are. ``opens_answer``: the assistant's next message is begun. Raises
    ModelError with the template's own words where it fails.
    """

    def apply(messages: Any) -> str:
        try:
            return str(
                wrapper.apply_chat_template(
                    messages, tools=guarded_tools, add_generation_prompt=opens_answer, tokenize=False, **arguments
                )
            )
        except Exception as error:
            # Templates are programs of the model's makers: they raise what they like.
            cause = " ".join(str(error).split()) or type(error).__name__
            raise ModelError(f"The model's chat template fails: {cause}") from error

    markers = tokenizer.marker_texts
    everything = "\0".join([*_strings(messages), *_strings(tools)])
    nonce = next(nonce for n in count() if (nonce := f"marker{n}slot") not in everything)
    literals = sorted({match.group() for match in markers.pattern.finditer(everything)})
    slots = {literal: f"{nonce}{index}z" for index, literal in enumerate(literals)}

    def guard(text: str) -> str:
        return markers.pattern.sub(lambda match: slots[match.group()], text)

    guarded = _mapped(messages, guard) if slots else [dict(message) for message in messages]
    guarded_tools = (_mapped(tools, guard) if slots else list(tools)) or None
    text = apply(guarded)
    plain = {slot: literal for literal, slot in slots.items()}
    if any(markers.may_join(text) for message in guarded for text in _texts(message)):
        # Two texts, or a text and the template, may spell a marker together. Fenced in they cannot.
        fence = f"{nonce}fence"
        fenced = apply([_changed(message, lambda text: _fenced(text, fence)) for message in guarded])
        if markers.n_in(fenced) != markers.n_in(text):
            text, plain = fenced, {**plain, fence: ""}
    return RenderedChat(text, tokenizer, plain)


def _changed(message: Mapping[str, Any], change: Callable[[str], str]) -> dict[str, Any]:
    """The message with its texts changed: contents and the values of arguments, but no roles, names and ids."""
    changed = dict(message)
    for key in ("content", "reasoning_content"):
        if isinstance(message.get(key), str):
            changed[key] = change(message[key])
    if "tool_calls" in message:
        functions = [(call, call["function"]) for call in message["tool_calls"]]
        changed["tool_calls"] = [
            {**call, "function": {**function, "arguments": _mapped(function["arguments"], change, keys=False)}}
            for call, function in functions
        ]
    return changed


def _texts(message: Mapping[str, Any]) -> list[str]:
    texts: list[str] = []

    def keep(text: str) -> str:
        texts.append(text)
        return text

    _changed(message, keep)
    return texts


def _fenced(text: str, fence: str) -> str:
    """``text`` between two fences, which stand inside the blanks at its ends, so that a template may trim it."""
    core = text.strip()
    return text.replace(core, f"{fence}{core}{fence}", 1) if core else text


def _strings(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield value
        case Mapping():
            for key, item in value.items():
                yield from _strings(key)
                yield from _strings(item)
        case list() | tuple():
            for item in value:
                yield from _strings(item)


def _mapped(value: Any, change: Callable[[str], str], *, keys: bool = True) -> Any:
    """The same structure with every string changed."""
    match value:
        case str():
            return change(value)
        case Mapping():
            return {
                change(key) if keys and isinstance(key, str) else key: _mapped(item, change, keys=keys)
                for key, item in value.items()
            }
        case list() | tuple():
            return [_mapped(item, change, keys=keys) for item in value]
        case _:
            return value


@dataclass(frozen=True, slots=True)
class AnswerSyntax:
    """How a model's answers are divided into parts, in the words of mlx-lm's server.

    An answer begins in the part ``start``. ``transitions`` give for each part the texts that end it and the part that
    follows: ``normal`` is what a person reads, ``reasoning`` and ``tool`` say what they are, the text of any other part
    is dropped. ``thinking`` are the tokens that begin and end reasoning. A tool call begins with the first of
    ``tool_call_markers`` and ends with the second, or with the generation where that is empty.
    """

    start: str = "normal"
    transitions: Mapping[str, tuple[tuple[str, str], ...]] = field(default_factory=dict)
    thinking: tuple[tuple[int, ...], tuple[int, ...]] | None = None
    thinking_markers: tuple[str, str] | None = None
    tool_call_markers: tuple[str, str] | None = None


def answer_syntax(wrapper: Any) -> AnswerSyntax:
    """What mlx-lm's ``wrapper`` of a tokenizer knows of the model's answers.

    A tag that ends what has not begun leads nowhere, and is no text either.
    """
    edges: dict[str, dict[str, str]] = {"normal": {}, "reasoning": {}, "tool": {}}
    tool_call_markers = None
    if wrapper.has_tool_calling:
        start, end = tool_call_markers = wrapper.tool_call_start, wrapper.tool_call_end
        if end:
            edges["normal"][end] = "normal"
            edges["tool"][end] = "normal"
        edges["normal"][start] = edges["reasoning"][start] = "tool"
    thinking = thinking_markers = None
    if wrapper.has_thinking:
        start, end = thinking_markers = wrapper.think_start, wrapper.think_end
        thinking = tuple(wrapper.think_start_tokens), tuple(wrapper.think_end_tokens)
        edges["normal"] |= {end: "normal", start: "reasoning"}
        edges["reasoning"] |= {start: "reasoning", end: "normal"}
    edges["normal"] |= dict.fromkeys(wrapper.structural_markers, "normal")
    for part, transitions in wrapper.response_transitions.items():
        edges.setdefault(part, {}).update(transitions)
    return AnswerSyntax(
        wrapper.response_initial_state or "normal",
        {part: tuple(transitions.items()) for part, transitions in edges.items()},
        thinking,
        thinking_markers,
        tool_call_markers,
    )


def parse_tool_call(
    parser: Callable[[str, Any], Any] | None, text: str, tools: Sequence[Mapping[str, Any]]
) -> list[tuple[str, str, str]]:
    """What one of mlx-lm's tool parsers makes of ``text``: name, arguments as text, and the id that the model gave.

    Raises ValueError for what it cannot read.
    """
    if parser is None:
        raise ValueError("mlx-lm has no parser for this model's tool calls")
    try:
        with warnings.catch_warnings():
            # Some parsers read Python literals, which warn of odd escapes.
            warnings.simplefilter("ignore")
            parsed = parser(text, list(tools))
    except Exception as error:
        # Each syntax has a parser of its own, and each fails in its own way.
        raise ValueError(str(error)) from error
    calls = parsed if isinstance(parsed, list) else [parsed]
    if not calls:
        raise ValueError("there is no call")
    return [_call(call) for call in calls]


def _call(call: Any) -> tuple[str, str, str]:
    if not isinstance(call, Mapping) or not isinstance(call.get("name"), str):
        raise ValueError("a call needs a name")
    arguments = call.get("arguments", call.get("parameters", {}))
    if not isinstance(arguments, str):
        arguments = json.dumps(arguments, ensure_ascii=False, default=str)
    given_id = call.get("id")
    return call["name"], arguments, given_id if isinstance(given_id, str) else ""
