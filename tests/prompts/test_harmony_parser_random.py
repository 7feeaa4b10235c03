"""Whatever ids come, the parser raises nothing, shows no marker, and its events agree with its message.

A few thousand streams of each kind are tried; ``HARMONY_STREAMS=100000`` in the environment tries so many.
"""

import os
import random
from collections.abc import Callable
from itertools import pairwise

import pytest

from harmony_ls.events import Event, ReasoningDelta, TextDelta, ToolCallDelta, ToolCallFinished, ToolCallStarted
from harmony_ls.messages import Message, ToolCall, ToolSpec
from harmony_ls.prompts.harmony.markers import HarmonyMarkers
from harmony_ls.prompts.harmony.parser import HarmonyParser
from tests.harmony_vocabulary import SPECIAL_TOKENS
from tests.prompts.harmony_generations import joined, numbered_calls, parser, tokens_of

N_STREAMS = int(os.environ.get("HARMONY_STREAMS", "2000"))

TOOLS = ("get_weather", "python", "f")
FRAGMENTS = (
    *("assistant", "user", "tool", "system", "functions.f", "functions.get_weather to=assistant", "bash"),
    *("analysis", "commentary", "final", "comment", "??", "final?", "analysis We should", "Hello"),
    *(" to=functions.f", " to=functions.fjson", " to=python code", " to=", "to= f", " to=assistant", " to=functions"),
    *(" to=functions.unheard_of", " json", " code", "json", '{"a": 1}', " ", "\n", "\n\n", "text", "Hm. ", "👋🏽", "ü"),
)
MARKER_TOKENS = tuple(SPECIAL_TOKENS.values())
ODD_TOKENS = (-1, -200_006, 200_013, 200_999, 201_087, 201_088, 2**31, 2**32, 2**63, 2**70)


def of_the_vocabulary(random: random.Random) -> list[int]:
    """Any token of the vocabulary, and now and then a marker."""
    n_tokens = random.choice((1, 5, 20, 60))
    return [
        random.choice(MARKER_TOKENS) if random.random() < 0.15 else random.randrange(201_088) for _ in range(n_tokens)
    ]


def of_fragments(random: random.Random) -> list[int]:
    """Markers and pieces of headers and texts in any order."""
    tokens: list[int] = []
    for _ in range(random.choice((2, 6, 12, 30))):
        chance = random.random()
        if chance < 0.5:
            tokens.append(random.choice(MARKER_TOKENS))
        elif chance < 0.53:
            tokens.append(random.choice(ODD_TOKENS))
        elif chance < 0.6:
            # Most such tokens are no whole character.
            tokens.append(random.randrange(256))
        else:
            tokens += tokens_of(random.choice(FRAGMENTS))
    return tokens


def of_broken_answers(random: random.Random) -> list[int]:
    """An ordinary answer in which tokens were left out, doubled, exchanged or replaced."""
    tokens = tokens_of(
        "<|channel|>analysis<|message|>They want the weather.<|end|><|start|>assistant<|channel|>commentary<|message|>"
        "I look it up. 👋🏽<|end|><|start|>assistant<|channel|>commentary to=functions.get_weather <|constrain|>json"
        '<|message|>{"city": "東京"}<|end|><|start|>assistant<|channel|>final<|message|>Rain.\n<|return|>'
    )
    for _ in range(random.randint(1, 6)):
        at = random.randrange(len(tokens))
        match random.randrange(4):
            case 0:
                del tokens[at : at + random.randint(1, 3)]
            case 1:
                tokens.insert(at, tokens[at])
            case 2:
                tokens.insert(at, tokens.pop(random.randrange(len(tokens))))
            case 3:
                tokens[at] = random.choice((*MARKER_TOKENS, *ODD_TOKENS))
        tokens = tokens or [MARKER_TOKENS[0]]
    return tokens


def check(events: list[Event], message: Message) -> None:
    """The events of a whole generation, and its message, say the same and hold no marker."""
    assert joined(events, TextDelta) == message.content
    assert joined(events, ReasoningDelta) == message.reasoning
    arguments: dict[int, str] = {}
    names: dict[int, str] = {}
    finished: dict[int, ToolCall] = {}
    running: int | None = None  # a call in which something else begins is cut, and is never heard of again
    for event in events:
        match event:
            case TextDelta(text) | ReasoningDelta(text):
                assert text
                running = None
            case ToolCallStarted(index, name):
                assert index == len(names)
                names[index], arguments[index] = name, ""
                running = index
            case ToolCallDelta(index, text):
                assert text
                assert index == running
                arguments[index] += text
            case ToolCallFinished(index, call):
                assert index == running
                running = None
                assert (call.name, call.arguments) == (names[index], arguments[index])
                finished[index] = call
            case other:
                raise AssertionError(f"a parser makes no such event: {other}")
    assert message.tool_calls == tuple(finished.values())
    shown = [message.content, message.reasoning, *names.values(), *arguments.values()]
    for marker in SPECIAL_TOKENS:
        assert not any(marker in text for text in shown)


@pytest.mark.parametrize("make", [of_the_vocabulary, of_fragments, of_broken_answers])
def test_any_stream(make: Callable[[random.Random], list[int]]) -> None:
    numbers = random.Random(20_251_124)
    for _ in range(N_STREAMS):
        tokens = make(numbers)
        channel = numbers.choice((None, None, None, "final", "analysis"))
        parsing = parser(TOOLS, channel=channel)
        events: list[Event] = []
        for token in tokens:
            was_over = parsing.is_over
            new = parsing.feed(token)
            assert not (was_over and new), tokens
            assert parsing.is_over >= was_over, tokens
            events += new
        events += parsing.finish(complete=numbers.random() < 0.5)
        try:
            check(events, parsing.message())
        except AssertionError as error:
            error.add_note(f"channel {channel}, tokens {tokens}")
            raise


BYTES = HarmonyMarkers(start=256, end=257, message=258, channel=259, constrain=260, return_=261, call=262)
SPELLED = (b"<|start|>", b"<|end|>", b"<|message|>", b"<|channel|>", b"<|constrain|>", b"<|return|>", b"<|call|>")


def parse_pieces(pieces: list[bytes | int]) -> tuple[Message, list[tuple[str, str]]]:
    """Parse texts that are one token each, with markers between them; the events' texts by kind come too."""
    table = dict(enumerate((piece for piece in pieces if isinstance(piece, bytes)), start=1000))
    ids = iter(table)
    parsing = HarmonyParser(
        BYTES, lambda token: table.get(token, b""), [ToolSpec(name, "") for name in TOOLS], new_call_id=numbered_calls()
    )
    events = [event for piece in pieces for event in parsing.feed(piece if isinstance(piece, int) else next(ids))]
    events += parsing.finish(complete=False)
    shown: list[tuple[str, str]] = []
    for event in events:
        kind, text = type(event).__name__, str(getattr(event, "text", ""))
        if shown and text and shown[-1][0] == kind:
            text = shown.pop()[1] + text
        shown.append((kind, text))
    return parsing.message(), shown


def test_it_does_not_matter_how_text_is_cut_into_tokens() -> None:
    numbers = random.Random(7)
    for _ in range(N_STREAMS):
        parts: list[bytes | int] = []
        for _ in range(numbers.choice((3, 8, 16))):
            parts.append(numbers.choice(range(256, 263)))
            parts.append("".join(numbers.choices(FRAGMENTS, k=numbers.randrange(4))).encode()[:200])
        whole = [part for part in parts if part != b""]
        cut: list[bytes | int] = []
        for part in whole:
            if isinstance(part, int):
                cut.append(part)
                continue
            n_cuts = numbers.choice((0, 1, 5, 99))
            places = sorted({0, len(part), *(numbers.randrange(len(part)) for _ in range(n_cuts))})
            cut += [part[start:end] for start, end in pairwise(places)]
        assert parse_pieces(cut) == parse_pieces(whole), cut
