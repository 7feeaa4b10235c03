"""The one way in which a tool call is run: asked for where that is due, answered whatever goes wrong."""

import asyncio
import json
from dataclasses import dataclass, field

import pytest

from harmony_ls.messages import ToolCall, ToolSpec
from harmony_ls.tools.tool import ApprovalRequest, Decision, ToolOutput
from harmony_ls.tools.toolbox import ToolBox

OBJECT = {"type": "object", "properties": {"text": {"type": "string"}}}


@dataclass
class Notebook:
    """A tool that writes down what it is told, if it may."""

    spec: ToolSpec = field(default_factory=lambda: ToolSpec("note", "Write a note.", OBJECT))
    notes: list[str] = field(default_factory=list)
    is_closed: bool = False

    async def prepare(self, call: ToolCall) -> ApprovalRequest | ToolOutput | None:
        if "secret" in call.arguments:
            return ToolOutput("Secrets are not written down.", is_error=True)
        if "trivial" in call.arguments:
            return None
        scope = "pencil" if "pencil" in call.arguments else ""
        return ApprovalRequest(
            call,
            "Write a note",
            call.arguments,
            is_sensitive="diary" in call.arguments,
            scope=scope,
            is_steerable="dictated" in call.arguments,
        )

    async def run(self, call: ToolCall) -> ToolOutput:
        if "crash" in call.arguments:
            raise OSError("the pen is empty")
        self.notes.append(call.arguments)
        if "half" in call.arguments:
            return ToolOutput(json.loads(call.arguments)["text"])
        return ToolOutput(call.arguments * 3000 if "long" in call.arguments else "written")

    async def close(self) -> None:
        self.is_closed = True


class Person:
    """Answers as it was told, and remembers what it was asked."""

    def __init__(self, decision: Decision) -> None:
        self.decision = decision
        self.asked: list[ApprovalRequest] = []

    async def approve(self, request: ApprovalRequest) -> Decision:
        self.asked.append(request)
        return self.decision


def call(arguments: str, name: str = "note") -> ToolCall:
    return ToolCall("1", name, arguments)


async def test_a_tool_asks_each_time_unless_it_was_told_otherwise() -> None:
    tool, person = Notebook(), Person(Decision.ONCE)
    box = ToolBox([tool], approve=person.approve)
    assert (await box.run(call('{"text": "a"}'))).text == "written"
    assert (await box.run(call('{"text": "b"}'))).text == "written"
    assert [request.detail for request in person.asked] == ['{"text": "a"}', '{"text": "b"}']


async def test_what_is_allowed_for_the_session_is_not_asked_again() -> None:
    tool, person = Notebook(), Person(Decision.SESSION)
    box = ToolBox([tool], approve=person.approve)
    await box.run(call("{}"))
    await box.run(call("{}"))
    assert len(person.asked) == 1
    assert box.permissions == {"note": "allow"}
    box.set_permission("note", "ask")
    await box.run(call("{}"))
    assert len(person.asked) == 2


async def test_a_scope_is_allowed_for_the_session_without_the_rest_of_the_tool() -> None:
    tool, person = Notebook(), Person(Decision.SESSION)
    box = ToolBox([tool], approve=person.approve)
    await box.run(call('{"text": "pencil"}'))
    person.decision = Decision.NO
    assert not (await box.run(call('{"text": "pencil"}'), is_tainted=True)).is_error
    assert (await box.run(call('{"text": "ink"}'))).is_error
    assert box.permissions == {"note": "ask"}
    box.set_permission("note", "ask")
    assert (await box.run(call('{"text": "pencil"}'))).is_error
    assert len(person.asked) == 3


async def test_what_is_sensitive_is_asked_whatever_was_allowed() -> None:
    tool, person = Notebook(), Person(Decision.SESSION)
    box = ToolBox([tool], {"note": "allow"}, person.approve)
    for text in ("diary", "diary", "pencil diary", "pencil diary"):
        await box.run(call(f'{{"text": "{text}"}}'))
    assert len(person.asked) == 4


async def test_47_what_is_sensitive_allows_nothing_else() -> None:
    """A person may answer "always" to a question that did not offer it."""
    tool, person = Notebook(), Person(Decision.SESSION)
    box = ToolBox([tool], approve=person.approve)
    await box.run(call('{"text": "diary"}'))
    await box.run(call('{"text": "pencil diary"}'))
    assert box.permissions == {"note": "ask"}
    person.decision = Decision.NO
    assert (await box.run(call('{"text": "a"}'))).is_error
    assert (await box.run(call('{"text": "pencil"}'))).is_error


async def test_60_after_text_of_strangers_nobody_is_offered_to_allow_a_whole_tool() -> None:
    tool, person = Notebook(), Person(Decision.SESSION)
    box = ToolBox([tool], approve=person.approve)
    for _ in range(2):
        await box.run(call("{}"), is_tainted=True)
    assert [request.is_sensitive for request in person.asked] == [True, True]
    assert box.permissions == {"note": "ask"}


async def test_62_a_scope_does_not_hold_where_strangers_may_have_a_hand_in_it() -> None:
    tool, person = Notebook(), Person(Decision.SESSION)
    box = ToolBox([tool], approve=person.approve)
    dictated = call('{"text": "pencil dictated"}')
    await box.run(dictated)
    await box.run(dictated)
    assert len(person.asked) == 1
    await box.run(dictated, is_tainted=True)
    assert [request.is_sensitive for request in person.asked] == [False, True]
    await box.run(call('{"text": "pencil"}'), is_tainted=True)
    assert len(person.asked) == 2


@pytest.mark.parametrize("permission", ["allow", "ask"])
async def test_after_text_of_strangers_everything_is_asked(permission: str) -> None:
    tool, person = Notebook(), Person(Decision.NO)
    box = ToolBox([tool], {"note": permission}, person.approve)  # type: ignore[dict-item]
    output = await box.run(call("{}"), is_tainted=True)
    assert (output.is_error, tool.notes, len(person.asked)) == (True, [], 1)


async def test_nothing_is_run_without_a_person_to_ask() -> None:
    tool = Notebook()
    output = await ToolBox([tool]).run(call("{}"))
    assert (output.is_error, tool.notes) == (True, [])
    assert "did not allow" in output.text


async def test_what_needs_no_question_is_run_at_once() -> None:
    tool = Notebook()
    assert (await ToolBox([tool]).run(call('{"text": "trivial"}'))).text == "written"


async def test_a_call_that_cannot_be_run_is_answered_before_anyone_is_asked() -> None:
    tool, person = Notebook(), Person(Decision.ONCE)
    output = await ToolBox([tool], approve=person.approve).run(call('{"text": "secret"}'))
    assert output == ToolOutput("Secrets are not written down.", is_error=True)
    assert person.asked == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ('{"text": ', "not valid JSON"),
        ("[1]", "must be a JSON object, not list"),
        ('"text"', "must be a JSON object, not str"),
        ("[" * 100_000, "not valid JSON"),
    ],
)
async def test_broken_arguments_go_back_to_the_model(arguments: str, words: str) -> None:
    output = await ToolBox([Notebook()], {"note": "allow"}).run(call(arguments))
    assert output.is_error
    assert words in output.text


async def test_a_tool_that_takes_text_takes_any() -> None:
    tool = Notebook(ToolSpec("note", "Write a note.", {"type": "string"}))
    assert (await ToolBox([tool], {"note": "allow"}).run(call("no JSON {"))).text == "written"


async def test_an_unknown_tool_is_told_the_known_ones() -> None:
    box = ToolBox([Notebook()])
    assert (await box.run(call("{}", "nota"))).text == "There is no tool 'nota'. The tools are: note."
    box.set_permission("note", "off")
    assert box.specs == ()
    assert "no tools in this conversation" in (await box.run(call("{}"))).text
    with pytest.raises(KeyError):
        box.set_permission("nota", "allow")


async def test_a_tool_that_fails_is_an_answer_too(caplog: pytest.LogCaptureFixture) -> None:
    output = await ToolBox([Notebook()], {"note": "allow"}).run(call('{"text": "crash"}'))
    assert output == ToolOutput("note failed: OSError: the pen is empty", is_error=True, is_untrusted=True)
    assert "The tool note failed" in caplog.text


async def test_long_output_keeps_its_head_and_tail() -> None:
    output = await ToolBox([Notebook()], {"note": "allow"}).run(call('{"text": "long text"}'))
    assert len(output.text) < 41_000
    assert output.text.startswith('{"text"')
    assert output.text.endswith("}")
    assert "characters left out" in output.text


async def test_half_a_surrogate_pair_is_no_text_for_a_model() -> None:
    output = await ToolBox([Notebook()], {"note": "allow"}).run(call('{"text": "half \\ud83d"}'))
    assert output.text == "half ?"


async def test_the_time_in_which_a_person_thinks_is_counted() -> None:
    thought = asyncio.Event()

    async def approve(_request: ApprovalRequest) -> Decision:
        thought.set()
        return Decision.ONCE

    box = ToolBox([Notebook()], approve=approve)
    await box.run(call("{}"))
    assert thought.is_set()
    assert box.waited_seconds > 0


async def test_closing_closes_the_tools() -> None:
    tool = Notebook()
    await ToolBox([tool]).close()
    assert tool.is_closed


async def test_answers_of_a_person_outlive_tools_that_are_made_anew() -> None:
    person = Person(Decision.SESSION)
    earlier = ToolBox([Notebook()], approve=person.approve)
    await earlier.run(call("{}"))
    await earlier.run(call('{"text": "pencil"}'))

    same = ToolBox([Notebook()], approve=person.approve)
    same.take_over(earlier)
    await same.run(call("{}"))
    await same.run(call('{"text": "pencil"}'), is_tainted=True)
    assert len(person.asked) == 2, "what was allowed is allowed still"

    elsewhere = ToolBox([Notebook()], approve=person.approve)
    elsewhere.take_over(earlier, refusals_alone=True)
    await elsewhere.run(call("{}"))
    assert len(person.asked) == 3

    person.decision = Decision.NEVER
    refusing = ToolBox([Notebook()], approve=person.approve)
    await refusing.run(call("{}"))
    for refusals_alone in (False, True):
        anew = ToolBox([Notebook()], approve=person.approve)
        anew.take_over(refusing, refusals_alone=refusals_alone)
        assert (await anew.run(call("{}"))).is_error
    assert len(person.asked) == 4, "never is never"

    changed = ToolBox([Notebook()], {"note": "allow"}, person.approve)
    changed.take_over(refusing)
    assert changed.permissions == {"note": "allow"}, "the person has said something else in the settings since"
