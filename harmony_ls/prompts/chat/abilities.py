"""What a chat template can do, found out by rendering it over texts that only show what becomes of them.

No model's name is looked at. How conversations are rendered is decided in `harmony_ls.prompts.chat.format`.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

from harmony_ls.errors import ModelError
from harmony_ls.messages import Message, ReasoningEffort, Role, ToolCall, ToolSpec
from harmony_ls.prompts.chat.calls import CallForm, suited_calls
from harmony_ls.prompts.chat.messages import function_of, in_openai_form
from harmony_ls.prompts.tokenizer import RenderedChat, Tokenizer

__all__ = ["ChatAbilities", "find_abilities"]

_QUESTION = Message(Role.USER, "probequestion")
_ANSWER = Message(Role.ASSISTANT, "probeanswer")
_RULE = Message(Role.SYSTEM, "proberule")
_TOOL = ToolSpec("probetool", "probedescription")
# Mistral's templates insist on nine letters and digits.
_CALL = ToolCall("a1b2c3d4e", _TOOL.name, "{}")
_RESULT = Message(Role.TOOL, "proberesult", tool_call_id=_CALL.id, name=_TOOL.name)
# As another model may have made them: two at once, with ids of another kind.
_CALLS = (
    ToolCall("call_probeid1", "probefirst", '{"probename": "probevalue"}'),
    ToolCall("call_probeid2", "probesecond", '{"probename": "probeother"}'),
)
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class ChatAbilities:
    """What one chat template takes.

    ``takes_late_system``: instructions after the first question. ``takes_repeats``: two questions without an answer
    between them. ``can_resume``: what the template puts after an answer does not depend on whether it knows of the
    calls in it. ``efforts`` are the arguments by which it is told how much to think; where there are none for an
    effort, it is left as it is. ``turn_markers`` are what it puts between an answer and the next question.
    ``calls`` is what it takes of the calls of earlier turns and models.
    """

    takes_system: bool = True
    takes_late_system: bool = True
    takes_repeats: bool = True
    takes_tools: bool = False
    calls: CallForm = field(default_factory=CallForm)
    can_resume: bool = False
    efforts: Mapping[ReasoningEffort, Mapping[str, Any]] = field(default_factory=dict)
    turn_markers: frozenset[int] = frozenset()


def find_abilities(tokenizer: Tokenizer) -> ChatAbilities:
    """What the tokenizer's chat template takes. Raises ModelError where it cannot even show a question."""
    plain = tokenizer.render_chat(in_openai_form([_QUESTION])).text
    if _QUESTION.content not in plain:
        raise ModelError("The model's chat template does not show what is asked. Choose another model.")
    with_tool = _render(tokenizer, [_QUESTION], tools=[_TOOL])
    takes_tools = with_tool is not None and _TOOL.name in with_tool.text
    calls = _call_form(tokenizer, [_TOOL] if takes_tools else [])
    return ChatAbilities(
        takes_system=_shows(tokenizer, [_RULE, _QUESTION], _RULE),
        takes_late_system=_shows(tokenizer, [_QUESTION, _ANSWER, _RULE, _QUESTION], _RULE),
        takes_repeats=_shows(tokenizer, [_QUESTION, _QUESTION], _QUESTION),
        takes_tools=takes_tools,
        calls=calls,
        can_resume=takes_tools and calls.takes_calls and _can_resume(tokenizer, calls),
        efforts=_efforts(tokenizer, plain),
        turn_markers=_turn_markers(tokenizer, plain),
    )


def _render(
    tokenizer: Tokenizer,
    messages: Sequence[Message],
    *,
    tools: Sequence[ToolSpec] = (),
    call_form: CallForm | None = None,
    arguments: Mapping[str, Any] | None = None,
    opens_answer: bool = True,
) -> RenderedChat | None:
    """The rendered template; None where it fails."""
    functions = [function_of(tool) for tool in tools]
    form = in_openai_form(messages, call_form=call_form)
    try:
        return tokenizer.render_chat(form, functions, arguments, opens_answer=opens_answer)
    except ModelError:
        return None


def _shows(tokenizer: Tokenizer, messages: Sequence[Message], message: Message) -> bool:
    rendered = _render(tokenizer, messages)
    return rendered is not None and rendered.text.count(message.content) >= messages.count(message)


def _call_form(tokenizer: Tokenizer, tools: Sequence[ToolSpec]) -> CallForm:
    """The form, closest to how calls are made, in which the template shows them while their turn runs.

    Of turns that are over it may leave them out, as its makers want it, but must not fail.
    """

    def shows(form: CallForm, *calls: ToolCall) -> bool:
        results = [Message(Role.TOOL, f"{_RESULT.content}{call.id}", "", (), call.id, call.name) for call in calls]
        running = suited_calls([_QUESTION, Message(Role.ASSISTANT, tool_calls=calls), *results], form)
        rendered = _render(tokenizer, running, tools=tools, call_form=form)
        told = [text for call in calls for text in (call.name, _WORD.findall(call.arguments)[-1])]
        told += [result.content for result in results]
        if rendered is None or not all(text in rendered.text for text in told):
            return False
        return _render(tokenizer, [*running, _ANSWER, _QUESTION], tools=tools, call_form=form) is not None

    flags = (True, False)
    forms = (
        CallForm(takes_several=several, takes_any_id=any_id, takes_objects=objects, takes_no_words=no_words)
        for no_words, objects, any_id, several in product(flags, flags, flags, flags)
    )
    form = next((form for form in forms if shows(form, *_CALLS)), None)
    if form is None:
        return CallForm(takes_calls=False)
    return replace(form, takes_text=shows(form, replace(_CALL, arguments="probearguments")))


def _efforts(tokenizer: Tokenizer, plain: str) -> dict[ReasoningEffort, dict[str, Any]]:
    """Levels where the template knows all three, else to think or not to think."""

    def texts(arguments: Iterable[Mapping[str, Any]]) -> list[str]:
        rendered = [_render(tokenizer, [_QUESTION], arguments=given) for given in arguments]
        return [chat.text for chat in rendered if chat is not None]

    levels = {effort: {"reasoning_effort": effort.value} for effort in ReasoningEffort}
    if len(set(texts(levels.values()))) == len(levels):
        return levels
    for name in ("enable_thinking", "thinking"):
        if texts([{name: False}]) not in ([], [plain]):
            return {ReasoningEffort.LOW: {name: False}}
    return {}


def _turn_markers(tokenizer: Tokenizer, plain: str) -> frozenset[int]:
    """An answer ends with any of them: some models' end tokens in the configuration are not those of their template.

    What the template also puts inside answers does not end them.
    """
    rendered = _render(tokenizer, [_QUESTION, _ANSWER, _QUESTION], opens_answer=False)
    if rendered is None or rendered.text.count(_ANSWER.content) != 1:
        return frozenset()
    before, _, after = rendered.text.partition(_ANSWER.content)
    between = after.partition(_QUESTION.content)[0]
    inside = before.removeprefix(plain) if before.startswith(plain) else ""
    tags = [text for edges in tokenizer.answers.transitions.values() for text, _ in edges]
    markers = {token: tokenizer.marker_text(token) for token in rendered.after(_ANSWER.content).encode()}
    return frozenset(
        token
        for token, text in markers.items()
        if text and text in between and text not in inside and not any(text in tag for tag in tags)
    )


def _can_resume(tokenizer: Tokenizer, form: CallForm) -> bool:
    """Whether the template puts the same after the text of a call as after a call that it was given as one."""
    as_text = _render(tokenizer, [_QUESTION, _ANSWER, _RESULT], tools=[_TOOL])
    called = [_QUESTION, Message(Role.ASSISTANT, tool_calls=(_CALL,)), _RESULT]
    as_call = _render(tokenizer, called, tools=[_TOOL], call_form=form)
    if as_text is None or as_call is None or as_text.text.count(_ANSWER.content) != 1:
        return False
    tail = as_text.after(_ANSWER.content)
    tokens = tail.encode()
    # How the answer itself ends may differ: some models end a call with another token than a text.
    return _RESULT.content in tail.text and as_call.encode()[1 - len(tokens) :] == tokens[1:]
