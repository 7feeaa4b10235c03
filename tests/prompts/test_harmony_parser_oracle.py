"""On well-formed output the parser reads the same messages as openai_harmony's ``StreamableParser``.

Conversations are made from Harmony's grammar by a seeded generator: what is compared is the same on every machine.
"""

import random
from collections.abc import Callable
from typing import Any

import pytest

from harmony_ls.prompts.harmony.header import callable_names, called_tool
from tests.prompts.harmony_generations import MARKERS, ParsedMessage, parse, tokens_of

N_BATCHES = 10
N_CONVERSATIONS = 1000

TOOLS = ("get_weather", "apply_patch", "python", "f")
RECIPIENTS = (
    "assistant",
    "functions.get_weather",
    "functions.f2",
    "functions.a-b.c_D",
    "python",
    "browser.search",
    "f",
    "assistant",
)
AUTHORS = ("functions.get_weather", "functions.unheard_of", "python", "browser.open", "bash")
CONTENT_TYPES = (" json", " code", " text", " <|constrain|>json", "<|constrain|>json", "<|constrain|>code")
PIECES = (
    *(
        "Hello",
        " world",
        "\n",
        "\n\n",
        "    ",
        "\t",
        " ",
        "{",
        "}",
        '{"a": [1, 2]}',
        "def f(x):\n    return x\n",
        "```",
    ),
    *("ü", "é", "東京", "שלום", "ไทย", "👋🏽", "👩‍👩‍👧", "🇨🇭", "💖", "\u200d", "\ufeff", "\x00", "\r\n", "\u2028"),
    *(
        "<\\|start|>",
        "<\\|end|>",
        "<\\|channel|>final<\\|message|>",
        "<\\|call|>",
        "<|",
        "|>",
        "to=functions.f",
        "analysis",
    ),
)
MOST_CODE_POINTS = (0x7F, 0x7FF, 0xD7FF, 0x10FFFF)


def text(random: random.Random) -> str:
    """A text of some pieces and some characters of any kind; often empty."""
    parts: list[str] = []
    for _ in range(random.choice((0, 1, 2, 4, 8))):
        if random.random() < 0.7:
            parts.append(random.choice(PIECES))
        else:
            code_point = random.randint(1, random.choice(MOST_CODE_POINTS))
            parts.append("?" if 0xD800 <= code_point <= 0xDFFF else chr(code_point))
    # A marker that came about by chance is spelled in ordinary tokens as well.
    return "".join(parts).replace("<|", "<\\|")


def assistant_header(random: random.Random) -> str:
    """A header behind ``<|start|>assistant``. A content type stands only where there is a recipient."""
    channel = random.choice(("", *("<|channel|>analysis", "<|channel|>commentary", "<|channel|>final") * 3))
    if random.random() < 0.6:
        return channel
    recipient = f" to={random.choice(RECIPIENTS)}"
    content_type = random.choice(("", *CONTENT_TYPES))
    orders = [f"{recipient}{channel}{content_type}", f"{recipient}{content_type}{channel}"]
    if channel:
        orders.append(f"{channel}{recipient}{content_type}")
    return random.choice(orders)


def other_header(random: random.Random) -> str:
    """A header of somebody else, behind ``<|start|>``."""
    if random.random() < 0.5:
        return random.choice(("user", "system", "developer"))
    return f"{random.choice(AUTHORS)} to=assistant{random.choice(('', '<|channel|>commentary', '<|channel|>analysis'))}"


def generation(random: random.Random) -> str:
    """What a model may write after ``<|start|>assistant``, in rare cases in the name of others too."""
    written = f"{assistant_header(random)}<|message|>{text(random)}"
    for _ in range(random.choice((0, 0, 1, 1, 2, 3, 5))):
        header = other_header(random) if random.random() < 0.1 else f"assistant{assistant_header(random)}"
        end = random.choice(("<|end|>", "<|end|>", "<|end|>", "<|end|>", "<|call|>", "<|return|>"))
        written = f"{written}{end}<|start|>{header}<|message|>{text(random)}"
    return written + random.choice(("<|return|>", "<|call|>", "<|end|>", ""))


def read_by_library(encoding: Any, tokens: list[int]) -> list[ParsedMessage]:
    from openai_harmony import Role, StreamableParser

    library = StreamableParser(encoding, Role.ASSISTANT)
    for token in tokens:
        library.process(token)
    library.process_eos()
    return [
        ParsedMessage(
            message.author.role.value,
            message.author.name or "",
            message.recipient,
            message.channel,
            message.content_type,
            message.content[0].text,
        )
        for message in library.messages
    ]


def made_of(tokens: list[int], messages: list[ParsedMessage]) -> dict[str, list[str]]:
    """What becomes of one generation, read from the library's messages: texts by kind, empty ones left out."""
    names = callable_names([], {name: name for name in TOOLS})
    made: dict[str, list[str]] = {"text": [], "reasoning": [], "call": []}
    ends = [token for token in tokens if token in (MARKERS.end, MARKERS.call, MARKERS.return_)]
    for message, end in zip(messages, [*ends, None], strict=False):
        if message.role != "assistant":
            break
        lost_recipient = message.channel == "commentary" and end == MARKERS.call and looks_like_arguments(message)
        if tool := called_tool(message.recipient, names):
            made["call"] += [f"{tool} {message.text}"] * (end is not None)
        elif message.channel == "analysis" or lost_recipient:
            made["reasoning"].append(message.text)
        else:
            made["text"].append(message.text)
        if end != MARKERS.end:
            break
    return {kind: [text for text in texts if text] for kind, texts in made.items()}


def looks_like_arguments(message: ParsedMessage) -> bool:
    return message.content_type is not None or not message.text.strip() or message.text.lstrip().startswith("{")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(N_BATCHES))
def test_messages_are_those_of_the_library(seed: int, harmony_encoding: Any) -> None:
    numbers = random.Random(seed)
    for _ in range(N_CONVERSATIONS):
        written = generation(numbers)
        tokens = tokens_of(written)
        expected = read_by_library(harmony_encoding, tokens)
        outcome = parse(tokens, TOOLS, complete=False)
        assert list(outcome.parsed_messages) == expected, written
        message = outcome.message
        made = made_of(tokens, expected)
        assert message.content == "\n\n".join(made["text"]) == outcome.text, written
        assert message.reasoning == "\n\n".join(made["reasoning"]) == outcome.reasoning, written
        assert [f"{call.name} {call.arguments}" for call in message.tool_calls] == made["call"], written
        if len(made["text"]) == 1:
            assert message.content_tokens == tuple(tokens_of(message.content.replace("<|", "<\\|"))), written
        else:
            assert message.content_tokens is None, written


def test_the_generator_makes_every_kind_of_message(harmony_encoding: Any) -> None:
    numbers = random.Random(0)
    messages = [message for _ in range(500) for message in parse(generation(numbers), TOOLS).parsed_messages]
    reads: dict[str, Callable[[ParsedMessage], str | None]] = {
        "role": lambda message: message.role,
        "channel": lambda message: message.channel,
        "recipient": lambda message: message.recipient,
        "content type": lambda message: message.content_type,
    }
    seen = {what: {read(message) for message in messages} for what, read in reads.items()}
    assert seen["role"] == {"assistant", "user", "system", "developer", "tool"}
    assert seen["channel"] == {None, "analysis", "commentary", "final"}
    assert seen["recipient"] == {None, *RECIPIENTS}
    assert seen["content type"] == {None, "json", "code", "text", "<|constrain|>json", "<|constrain|>code"}
