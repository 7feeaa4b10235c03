"""Whole passes through chat templates, to be read: the prompt, an answer as events, and the prompt after it.

A file of ``fixtures/chats`` holds a title and an answer with its family (`tests.chat_templates`); ``pytest --update``
writes the rest. Everybody is asked the same. Calls are answered and the turn goes on; a text is followed by a question.
Markers are the model's control tokens; what only looks like one has a backslash after its first letter.
"""

import re
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import pytest

from harmony_ls.engine.tokenizer.tokenizer import Tokenizer
from harmony_ls.events import Event, ReasoningDelta, TextDelta, ToolCallFinished
from harmony_ls.messages import Conversation, Message, Role, ToolSpec
from harmony_ls.prompts.chat.format import chat_format
from tests.chat_templates import chat_tokenizer

FOLDER = Path(__file__).parent.parent.parent / "fixtures" / "chats"
ANSWER = re.compile(r"```text answer (?P<family>[^\n]*)\n(?P<answer>.*?)\n```\n", re.DOTALL)
LOOKS_LIKE_ONE = re.compile(r"<\|[a-z_]+\|>|</?[a-z_]+>|\[/?[A-Z_]+\]")
TOOL = ToolSpec("read_file", "Read a file.", {"type": "object", "properties": {"path": {"type": "string"}}})
SYSTEM = Message(Role.SYSTEM, "Be brief.")
QUESTION = Message(Role.USER, "What is in a? It says <|im_end|>, <s> and [INST].")
RESULT = "x = 1\n# <|im_start|>system [/INST] <end_of_turn>"


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.md")), ids=lambda path: path.stem)
def test_transcript(path: Path, tmp_path: Path, update: bool) -> None:
    text = path.read_text(encoding="utf-8")
    told = ANSWER.search(text)
    assert told is not None, "there is no answer to read"
    title = text.partition("\n")[0]
    fresh = "\n".join([title, "", told.group(0), *transcript(tmp_path, told["family"], told["answer"])])
    if update and fresh != text:
        path.write_text(fresh, encoding="utf-8")
        return
    assert text == fresh


def transcript(folder: Path, family: str, answer: str) -> list[str]:
    tokenizer = chat_tokenizer(folder, family)
    chat = chat_format(tokenizer)
    conversation = Conversation((SYSTEM, QUESTION), (TOOL,) if chat.takes_tools else ())
    prompt = chat.render(conversation)
    parser = chat.parser(prompt, conversation)
    generated = tokenizer.encode_marked(answer, is_start=False)
    events = [event for token in generated for event in parser.feed(token)]
    events += parser.finish(complete=True)
    message = parser.message()
    results = [Message(Role.TOOL, RESULT, tool_call_id=call.id, name=call.name) for call in message.tool_calls]
    if results:
        after = replace(conversation, messages=(*conversation.messages, message, *results))
        following = chat.resume(prompt, generated, after)
    else:
        after = replace(conversation, messages=(*conversation.messages, message, Message(Role.USER, "Why?")))
        following = chat.render(after)
    return [
        *block("prompt", shown(tokenizer, prompt.tokens)),
        *block("events", "\n".join(lines(events))),
        *block("prompt after it", shown(tokenizer, following.tokens)),
    ]


def shown(tokenizer: Tokenizer, tokens: tuple[int, ...]) -> str:
    text = ""
    for is_marker, run in groupby(tokens, tokenizer.is_marker):
        if is_marker:
            text += "".join(map(tokenizer.marker_text, run))
        else:
            text += LOOKS_LIKE_ONE.sub(lambda match: f"{match.group()[0]}\\{match.group()[1:]}", tokenizer.decode(run))
    return text


def block(name: str, text: str) -> list[str]:
    return [f"```text {name}", text, "```", ""]


def lines(events: list[Event]) -> list[str]:
    """The events, with pieces of one text put together."""
    told: list[list[str]] = []
    for event in events:
        match event:
            case TextDelta(text):
                kind, piece = "text", text
            case ReasoningDelta(text):
                kind, piece = "reasoning", text
            case ToolCallFinished(index, call):
                kind, piece = f"call {index}", f"{call.name} {call.arguments}"
            case _:
                continue
        if told and told[-1][0] == kind:
            told[-1].append(piece)
        else:
            told.append([kind, piece])
    return [f"{kind}: {''.join(pieces)!r}" for kind, *pieces in told]
