"""The page about the protocol says what the code does: each example is a message, and each message has an example."""

import json
import re
from pathlib import Path
from typing import Any

import attrs
import pytest

from harmony_ls.lsp.messages import chat_messages, messages
from harmony_ls.lsp.messages.messages import MESSAGE_TYPES, harmony_converter

PAGE = (Path(__file__).parent.parent.parent / "editors" / "PROTOCOL.md").read_text(encoding="utf-8")
EXAMPLES: list[tuple[str, Any]] = [
    (name, json.loads(body)) for name, body in re.findall(r"^```json (\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
]


def named(name: str) -> Any:
    """What the modules of messages call so."""
    return getattr(chat_messages, name, None) or getattr(messages, name)


@pytest.mark.parametrize(("name", "example"), EXAMPLES, ids=[name for name, _ in EXAMPLES])
def test_an_example_is_the_message_field_for_field(name: str, example: Any) -> None:
    converter = harmony_converter()
    message = converter.structure(example, named(name))
    assert converter.unstructure(message) == example


def test_every_message_has_an_example() -> None:
    shown = {name for name, _ in EXAMPLES}
    nested = {"PreviewFile", "TranscriptTurn", "DocumentReport"}  # within others
    names = (*chat_messages.__all__, *messages.__all__)
    assert {name for name in names if isinstance(named(name), type) and attrs.has(named(name))} - nested == shown


def test_every_method_is_told_of() -> None:
    told = set(re.findall(r"^\| `(harmony/[\w/]+)` \|", PAGE, re.MULTILINE))
    assert told == set(MESSAGE_TYPES)


def test_every_kind_of_part_is_told_of() -> None:
    kinds = {
        attrs.fields_dict(part)["kind"].default
        for part in chat_messages.CHAT_CLASSES
        if "kind" in attrs.fields_dict(part) and part is not chat_messages.AttachmentParam
    }
    shown = {example["kind"] for name, example in EXAMPLES if name.endswith("Part") or name == "UsageReport"}
    assert shown == kinds
    assert all(f"`{kind}`" in PAGE for kind in kinds)
