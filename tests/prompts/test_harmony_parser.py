"""When the Harmony parser says what: piece by piece, at the end of a header, and where an answer breaks off.

What is made of a whole generation is in the transcripts (`tests.prompts.test_harmony_parser_transcripts`).
"""

import re
from pathlib import Path

import pytest

from harmony_ls.events import Event, ReasoningDelta, TextDelta, ToolCallDelta, ToolCallFinished, ToolCallStarted
from harmony_ls.messages import Message, Role, ToolCall
from harmony_ls.prompts.harmony.markers import HarmonyMarkers, MarkerKind, markers_of
from harmony_ls.prompts.harmony.parser import HarmonyParser, new_call_id
from tests.engine.tokenizers import tokenizer
from tests.prompts.harmony_generations import ParsedMessage, parse, parser, tokens_of

FINAL = "<|channel|>final<|message|>"
ANALYSIS = "<|channel|>analysis<|message|>"
CALL = "<|channel|>commentary to=functions.f<|message|>"


def steps(parsing: HarmonyParser, generated: str) -> list[list[Event]]:
    """The events of each token."""
    return [parsing.feed(token) for token in tokens_of(generated)]


def fed(parsing: HarmonyParser, generated: str) -> list[Event]:
    return [event for events in steps(parsing, generated) for event in events]


def test_text_comes_with_the_token_that_completes_it() -> None:
    parsing = parser()
    assert steps(parsing, FINAL) == [[], [], []]
    assert steps(parsing, "Hello world") == [[TextDelta("Hello")], [TextDelta(" world")]]
    # Two tokens, the first of which ends inside the character.
    assert steps(parsing, " 💖") == [[TextDelta(" ")], [TextDelta("💖")]]
    assert parsing.message().content == "Hello world 💖"


def test_a_call_begins_with_its_header_and_is_there_once_it_is_finished() -> None:
    parsing = parser(["f"])
    call = ToolCall("call_1", "f", "{}")
    assert fed(parsing, CALL) == [ToolCallStarted(0, "f")]
    assert fed(parsing, "{}") == [ToolCallDelta(0, "{}")]
    assert parsing.message().tool_calls == ()
    assert not parsing.is_over
    assert fed(parsing, "<|call|>") == [ToolCallFinished(0, call)]
    assert parsing.message() == Message(Role.ASSISTANT, tool_calls=(call,))
    assert parsing.is_over
    assert parsing.finish(complete=True) == []


@pytest.mark.parametrize("complete", [True, False])
def test_an_open_call_is_finished_only_if_the_generation_ended_by_itself(complete: bool) -> None:
    outcome = parse(f"{CALL}{{}}", ["f"], complete=complete)
    assert len(outcome.message.tool_calls) == complete
    assert any(isinstance(event, ToolCallFinished) for event in outcome.events) == complete


def test_a_plain_answer_is_shown_from_the_first_word_that_no_header_has() -> None:
    parsing = parser()
    assert steps(parsing, "final words") == [[], [TextDelta("final words")]]
    assert steps(parsing, " come") == [[TextDelta(" come")]]
    assert parsing.message().content_tokens == tuple(tokens_of("final words come"))


def test_a_text_without_its_marker_is_shown_once_it_is_too_long_for_a_header() -> None:
    words = "We should think about this. " * 40
    outcome = parse(f"<|channel|>analysis {words}<|end|><|start|>assistant{FINAL}Done.<|return|>")
    assert outcome.reasoning == outcome.message.reasoning == words
    assert len(outcome.events) > 100
    assert outcome.text == "Done."


def test_a_call_without_its_marker_that_is_too_long_for_a_header_is_not_run() -> None:
    program = "print(1)\n" * 100
    outcome = parse(f"<|channel|>analysis to=python code {program}<|call|>", ["python"])
    assert outcome.message.tool_calls == ()
    assert outcome.reasoning == program


@pytest.mark.parametrize(
    ("header", "over"), [("user<|message|>", True), ("functions.f to=assistant<|message|>", True), ("user", False)]
)
def test_a_turn_of_somebody_else_ends_the_answer_with_its_header(header: str, over: bool) -> None:
    parsing = parser(["f"])
    fed(parsing, f"{FINAL}Yes.<|end|>")
    assert not parsing.is_over
    assert fed(parsing, f"<|start|>{header}") == []
    assert parsing.is_over == over
    assert fed(parsing, "more<|end|>") == []
    assert parsing.message().content == "Yes."


@pytest.mark.parametrize("marker", ["<|return|>", "<|call|>", "<|endoftext|>"])
def test_nothing_behind_a_stop_token_belongs_to_the_answer(marker: str) -> None:
    parsing = parser(["f"])
    fed(parsing, f"{FINAL}Yes.{marker}")
    assert parsing.is_over
    assert fed(parsing, f"<|start|>assistant{FINAL}No.<|end|><|start|>assistant{CALL}{{}}<|call|>") == []
    assert parsing.finish(complete=True) == []
    assert parsing.message() == Message(Role.ASSISTANT, "Yes.")


def test_it_tells_which_tokens_are_reasoning() -> None:
    parsing = parser()
    reasoned: list[str] = []
    for piece in (ANALYSIS, "One", " two", "<|end|>", "<|start|>assistant", FINAL, "three", "<|return|>"):
        fed(parsing, piece)
        if parsing.in_reasoning:
            reasoned.append(piece)
    assert reasoned == [ANALYSIS, "One", " two"]


def test_what_looks_like_arguments_without_a_recipient_is_held_back_until_it_ends() -> None:
    text = '\n{"a": 1}'
    written = f"<|channel|>commentary<|message|>{text}"
    for end, events in {"<|call|>": [ReasoningDelta(text)], "<|end|>": [TextDelta(text)]}.items():
        parsing = parser()
        assert fed(parsing, written) == []
        assert parsing.message().content == ""
        assert fed(parsing, end) == events
    parsing = parser()
    fed(parsing, written)
    assert parsing.finish(complete=False) == [TextDelta(text)]
    assert parsing.message().content == text


def test_names_that_were_changed_for_the_model_are_changed_back() -> None:
    for recipient in ("functions.get_weather", "get_weather", "functions.get_weatherjson"):
        parsing = parser(["get-weather"], told_names={"get_weather": "get-weather"})
        events = fed(parsing, f"<|channel|>commentary to={recipient}<|message|>{{}}<|call|>")
        assert events[0] == ToolCallStarted(0, "get-weather")
        assert parsing.message().tool_calls == (ToolCall("call_1", "get-weather", "{}"),)


def test_calls_have_ids_of_their_own_in_the_form_of_openai() -> None:
    ids = {new_call_id() for _ in range(100)}
    assert len(ids) == 100
    assert all(re.fullmatch("call_[0-9a-f]{24}", each) for each in ids)


def test_asking_for_the_message_in_between_changes_nothing() -> None:
    generated = tokens_of(f"{ANALYSIS}Hm.<|end|><|start|>assistant{FINAL}Sí 💖<|return|>")
    parsing = parser()
    contents: list[str] = []
    for token in generated:
        parsing.feed(token)
        message = parsing.message()
        contents.append(message.content)
        assert message.content_tokens is None or len(message.content_tokens) <= 4
    assert contents[-4:] == ["Sí", "Sí ", "Sí 💖", "Sí 💖"]
    assert parsing.message() == parse(generated).message


def test_tokens_are_not_known_while_a_character_is_unfinished() -> None:
    parsing = parser()
    *whole, half = tokens_of(f"{FINAL}Yes 💖")[:-1]
    for token in whole:
        parsing.feed(token)
    assert parsing.message().content_tokens == tuple(tokens_of("Yes"))
    parsing.feed(half)
    assert parsing.message().content_tokens is None


def test_messages_are_there_as_they_were_written() -> None:
    written = (
        f"{ANALYSIS}Hm.<|end|><|start|>assistant to=functions.f<|channel|>commentary <|constrain|>json<|message|>{{"
    )
    assert parse(written, ["f"], complete=False).parsed_messages == (
        ParsedMessage("assistant", "", None, "analysis", None, "Hm."),
        ParsedMessage("assistant", "", "functions.f", "commentary", "<|constrain|>json", "{"),
    )


@pytest.mark.parametrize(("channel", "kind"), [("final", TextDelta), ("analysis", ReasoningDelta)])
def test_a_prompt_may_have_opened_the_message(channel: str, kind: type[TextDelta] | type[ReasoningDelta]) -> None:
    parsing = parser(channel=channel)
    assert parsing.in_reasoning == (kind is ReasoningDelta)
    assert fed(parsing, "    return x") == [kind("   "), kind(" return"), kind(" x")]
    fed(parsing, f"<|end|><|start|>assistant{FINAL}Done.<|return|>")
    assert parsing.message().content.endswith("Done.")


def test_markers_are_found_by_name_in_any_vocabulary(tmp_path: Path) -> None:
    harmony = tokenizer(tmp_path / "harmony", "harmony")
    markers = markers_of(harmony)
    assert markers is not None
    assert set(markers.kinds.values()) == set(MarkerKind)
    assert all(harmony.token_id(kind.value) == token for token, kind in markers.kinds.items())
    assert markers.stop_tokens == {markers.return_, markers.call, markers.end_of_text}
    parsing = HarmonyParser(markers, harmony.token_bytes)
    written = [markers.channel, *harmony.encode("final"), markers.message, *harmony.encode("¡Sí!"), markers.return_]
    for token in written:
        parsing.feed(token)
    assert parsing.message() == Message(Role.ASSISTANT, "¡Sí!")


def test_a_vocabulary_that_lacks_a_marker_has_no_harmony(tmp_path: Path) -> None:
    assert markers_of(tokenizer(tmp_path / "qwen", "qwen")) is None


def test_a_vocabulary_may_do_without_an_end_of_text() -> None:
    markers = HarmonyMarkers(start=1, end=2, message=3, channel=4, constrain=5, return_=6, call=7)
    assert markers.stop_tokens == {6, 7}
    assert MarkerKind.END_OF_TEXT not in markers.kinds.values()
