"""How a model other than GPT-OSS is spoken to: through the chat template that its makers ship with it.

What a template can do (system messages, tools, thinking or not) is found out by rendering it, never by a model's name.
Rendering so that no text becomes a marker is the tokenizer's work; `harmony_ls.prompts.chat.parser` reads the answers.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from itertools import count, takewhile

from harmony_ls.errors import ModelError
from harmony_ls.messages import Conversation, Message, Role
from harmony_ls.prompts.chat.abilities import ChatAbilities, find_abilities
from harmony_ls.prompts.chat.calls import has_calls, in_words, suited_calls
from harmony_ls.prompts.chat.messages import can_join, function_of, in_openai_form, joined
from harmony_ls.prompts.chat.parser import ChatMarkers, ChatParser
from harmony_ls.prompts.format import EventParser, Prompt
from harmony_ls.prompts.tokenizer import RenderedChat, Tokenizer

__all__ = ["ChatFormat", "ParserFactory", "chat_format"]

ParserFactory = Callable[[Prompt, Conversation], EventParser]
"""Makes the parser of one answer."""

# So near the end of a prompt a template opens the reasoning of the answer (or closes it at once).
_N_OPENING_TOKENS = 16


def chat_format(tokenizer: Tokenizer, *, parser_factory: ParserFactory | None = None) -> "ChatFormat":
    """How the model of a ``tokenizer`` is spoken to through its own chat template.

    ``parser_factory`` makes the parsers for a model that answers in a format of its own. Raises ModelError where there
    is no chat template, or where it cannot even show a question.
    """
    if not tokenizer.has_chat_template:
        raise ModelError(
            "The model has no chat template, so it cannot be talked to. Choose an instruct model, or let this one go "
            "on with a text: harmony-ls generate --raw."
        )
    return ChatFormat(tokenizer, find_abilities(tokenizer), parser_factory)


class ChatFormat:
    """A model's own chat template as a `harmony_ls.prompts.format.PromptFormat`. It may be shared between threads."""

    def __init__(
        self, tokenizer: Tokenizer, abilities: ChatAbilities, parser_factory: ParserFactory | None = None
    ) -> None:
        self._tokenizer = tokenizer
        self._abilities = abilities
        self._parser_factory = parser_factory
        self._markers = ChatMarkers(tokenizer, self.stop_tokens)
        self._last_head: tuple[object, tuple[int, ...]] = (None, ())

    @property
    def summary(self) -> str:
        """What this format is and how that is known, for people."""
        answers = self._tokenizer.answers
        parts = ["the model's own chat template"]
        if self.takes_tools:
            parts.append("with tools")
        elif self._abilities.takes_tools:
            parts.append("without tools (mlx-lm cannot read this model's calls)")
        else:
            parts.append("without tools (the template does not show them)")
        if answers.thinking_markers is not None:
            parts.append(f"reasoning between {' and '.join(answers.thinking_markers)}")
        if not self._abilities.calls.takes_calls:
            parts.append("tool calls of other models told in words")
        if not self._abilities.takes_system:
            parts.append("instructions as a part of the first question")
        return ", ".join(parts)

    @property
    def stop_tokens(self) -> frozenset[int]:
        """The tokens that end a generation: the model's, and those by which the template ends an answer."""
        if self._parser_factory is not None:
            return self._tokenizer.eos_token_ids
        return self._tokenizer.eos_token_ids | self._abilities.turn_markers

    @property
    def takes_tools(self) -> bool:
        """Whether the template shows tools, and calls of them can be read."""
        can_read_calls = self._tokenizer.answers.tool_call_markers is not None or self._parser_factory is not None
        return self._abilities.takes_tools and can_read_calls

    @property
    def takes_effort(self) -> bool:
        """Whether the template can be told how much to think."""
        return bool(self._abilities.efforts)

    def render(self, conversation: Conversation) -> Prompt:
        """The prompt of a conversation; raises ModelError with the template's own words where it fails.

        Answers whose tokens are known stand in it as these tokens, unless the template changes the text. Tool calls
        that the template refuses, such as another model's, are told in words.
        """
        try:
            return self._prompt(self._suited(conversation.messages), conversation)
        except ModelError:
            if not self._abilities.calls.takes_calls or not has_calls(conversation.messages):
                raise
            return self._prompt(self._suited(in_words(conversation.messages)), conversation)

    def _prompt(self, messages: list[Message], conversation: Conversation) -> Prompt:
        """The prompt of messages as the template takes them."""
        slots = self._slots(messages)
        rendered = self._rendered(messages, conversation, slots)
        if changed := {
            index for index, slot in slots.items() if not _is_shown(messages[index].content, slot, rendered)
        }:
            slots = {index: slot for index, slot in slots.items() if index not in changed}
            rendered = self._rendered(messages, conversation, slots)
        splices = {slot: messages[index].content_tokens or () for index, slot in slots.items()}
        tokens = tuple(rendered.encode(splices))
        return Prompt(tokens, (*self._after_instructions(tokens, conversation), *self._before_reasoning(tokens)))

    def resume(self, prompt: Prompt, generated: Sequence[int], conversation: Conversation) -> Prompt:
        """The prompt after tool calls: what was seen and written, and what the template puts after such an answer."""
        messages = conversation.messages
        last = max((index for index, message in enumerate(messages) if message.role is Role.ASSISTANT), default=-1)
        if last < 0 or not self._abilities.can_resume:
            return self.render(conversation)
        slot = _unused(_texts(messages))
        answered = self._suited([*messages[:last], Message(Role.ASSISTANT, slot), *messages[last + 1 :]])
        try:
            rendered = self._rendered(answered, conversation)
        except ModelError:
            return self.render(conversation)
        if rendered.text.count(slot) != 1:
            return self.render(conversation)
        tail, written = rendered.after(slot).encode(), list(generated)
        if written and written[-1] in self.stop_tokens:
            # The template ends the answer itself; if it does so with another token, that one holds.
            last_token = written.pop()
            if tail[:1] == [last_token]:
                written.append(tail.pop(0))
        tokens = (*prompt.tokens, *written, *tail)
        return Prompt(tokens, (*prompt.checkpoints, len(prompt.tokens), *self._before_reasoning(tokens)))

    def date_of(self, tokens: Sequence[int]) -> date | None:
        """None: a template tells whatever date it likes."""
        return None

    def parser(self, prompt: Prompt, conversation: Conversation) -> EventParser:
        """A parser for one answer to ``prompt``."""
        if self._parser_factory is not None:
            return self._parser_factory(prompt, conversation)
        in_reasoning = self._markers.opens_reasoning(prompt.tokens)
        used_ids = (call.id for message in conversation.messages for call in message.tool_calls)
        return ChatParser(
            self._markers, prompt.tokens, conversation.tools, in_reasoning=in_reasoning, used_ids=used_ids
        )

    def _rendered(
        self, messages: Sequence[Message], conversation: Conversation, slots: Mapping[int, str] | None = None
    ) -> RenderedChat:
        tools = [function_of(tool) for tool in conversation.tools]
        arguments = {**self._abilities.efforts.get(conversation.effort, {}), **conversation.template_arguments}
        shown = [
            replace(message, content=_framed(message.content, slots[index])) if slots and index in slots else message
            for index, message in enumerate(messages)
        ]
        form = in_openai_form(shown, conversation.tools, self._abilities.calls)
        return self._tokenizer.render_chat(form, tools, arguments)

    def _slots(self, messages: Sequence[Message]) -> dict[int, str]:
        """A placeholder for every answer whose tokens are known, by the index of its message."""
        known = [index for index, message in enumerate(messages) if self._are_its_tokens(message)]
        slot = _unused(_texts(messages)) if known else ""
        return {index: f"{slot}{index}z" for index in known}

    def _are_its_tokens(self, message: Message) -> bool:
        tokens = message.content_tokens
        if not tokens or message.role is not Role.ASSISTANT or not message.content.strip():
            return False
        return not any(map(self._tokenizer.is_marker, tokens)) and self._tokenizer.decode(tokens) == message.content

    def _after_instructions(self, tokens: tuple[int, ...], conversation: Conversation) -> tuple[int, ...]:
        """Where the instructions and tools end: other conversations begin with the same."""
        system = tuple(takewhile(lambda message: message.role is Role.SYSTEM, conversation.messages))
        if not system and not conversation.tools:
            return ()
        key = (system, conversation.tools, conversation.effort, dict(conversation.template_arguments))
        remembered, head = self._last_head
        if remembered != key:
            head = self._head(replace(conversation, messages=system))
            self._last_head = (key, head)
        return (len(head),) if head and tokens[: len(head)] == head else ()

    def _head(self, conversation: Conversation) -> tuple[int, ...]:
        """The tokens with which every conversation with these instructions and tools begins."""
        slot = _unused(_texts(conversation.messages))
        prompts = []
        for question in (slot, f"z{slot}"):
            messages = self._suited([*conversation.messages, Message(Role.USER, question)])
            try:
                prompts.append(self._rendered(messages, conversation).encode())
            except ModelError:
                return ()
        return tuple(a for a, _ in takewhile(lambda pair: pair[0] == pair[1], zip(*prompts, strict=False)))

    def _before_reasoning(self, tokens: tuple[int, ...]) -> tuple[int, ...]:
        """Where the template opens the reasoning: in the next turn's prompt this answer stands without it."""
        if self._tokenizer.answers.thinking is None:
            return ()
        begin = self._tokenizer.answers.thinking[0]
        first = max(0, len(tokens) - _N_OPENING_TOKENS)
        places = [place for place in range(first, len(tokens)) if tokens[place : place + len(begin)] == begin]
        return (places[-1],) if places else ()

    def _suited(self, messages: Iterable[Message]) -> list[Message]:
        """The messages as the template takes them: instructions that it would refuse go into the next question.

        Calls that it would refuse are told otherwise (`harmony_ls.prompts.chat.calls`). An answer of no words is left
        out, as in Harmony; after what a tool answered it stays, where some templates want one.
        """
        suited: list[Message] = []
        waiting: list[str] = []
        for message in suited_calls(list(messages), self._abilities.calls):
            before = suited[-1] if suited else None
            if message.role is Role.SYSTEM:
                is_first = before is None or (len(suited) == 1 and before.role is Role.SYSTEM)
                if not message.content:
                    continue
                if not (self._abilities.takes_system if is_first else self._abilities.takes_late_system):
                    waiting.append(message.content)
                elif is_first and before is not None:
                    suited[-1] = joined(before, message)
                else:
                    suited.append(message)
                continue
            if waiting and message.role is Role.USER:
                message = replace(message, content="\n\n".join([*waiting, message.content]))
                waiting = []
            if before is not None and before.role is Role.USER and _says_nothing(message):
                continue
            if before is not None and not self._abilities.takes_repeats and can_join(before, message):
                suited[-1] = joined(before, message)
            else:
                suited.append(message)
        if waiting:
            suited.append(Message(Role.USER, "\n\n".join(waiting)))
        return suited


def _says_nothing(message: Message) -> bool:
    """Whether this is an answer that was stopped before its first word: it would teach the model to say nothing."""
    return message.role is Role.ASSISTANT and not message.tool_calls and not message.content.strip()


def _framed(content: str, slot: str) -> str:
    """A placeholder with the blanks of the text that it stands for around it: a template that trims is found out."""
    start = len(content) - len(content.lstrip())
    return content[:start] + slot + content[len(content.rstrip()) :]


def _is_shown(content: str, slot: str, rendered: RenderedChat) -> bool:
    return rendered.text.count(slot) == 1 and _framed(content, slot) in rendered.text


def _texts(messages: Iterable[Message]) -> str:
    """Everything that the messages say, to find a text that is not in it."""
    parts = [
        text
        for message in messages
        for text in (
            *(message.content, message.reasoning, message.name, message.tool_call_id),
            *(text for call in message.tool_calls for text in (call.id, call.name, call.arguments)),
        )
    ]
    return "\0".join(parts)


def _unused(texts: str) -> str:
    """A word that occurs nowhere in ``texts``, and that no template changes."""
    return next(word for n in count() if (word := f"answer{n}slot") not in texts)
