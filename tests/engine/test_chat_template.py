"""Chat templates as tokens: what transformers makes of them, and no marker that the template did not write."""

import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harmony_ls.engine.tokenizer.tokenizer import Tokenizer
from harmony_ls.errors import ModelError
from tests.chat_templates import CHAT_RECIPES, chat_tokenizer, spelled
from tests.engine.tokenizers import KINDS, tokenizer

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "read_file",
            "description": "Read a file, <b>whole</b>.",
            "parameters": {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]},
        },
    }
]
CODE = 'def add(self, value):\n    if value is None:\n        return  self.value\n\n\n    é→🙂\t"x" \\\n'
HARMLESS = st.one_of(
    st.text(st.sampled_from("ab <>|[]{}/'\"\\\n\t é🙂_-=1"), min_size=1, max_size=30).filter(str.strip),
    st.sampled_from([CODE, "Hello!", "  indented", "\n\nx\n", "<b>", "a <", "[1]", "user", "think"]),
)


@pytest.fixture(scope="module", params=CHAT_RECIPES)
def subject(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return chat_tokenizer(tmp_path_factory.mktemp("tokenizer"), request.param)


def conversation(question: str, answer: str, path: str, result: str, second: str) -> list[dict[str, Any]]:
    """What every family here can show: a question, an answer, a call with its result, and no two questions in a row."""
    function = {"name": "read_file", "arguments": {"path": path}}
    call = {"type": "function", "id": "abcdefgh1", "function": function}
    return [
        {"role": "user", "content": question},
        {"role": "assistant", "content": answer},
        {"role": "user", "content": second},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": result, "tool_call_id": "abcdefgh1", "name": "read_file"},
    ]


def shown_by(subject: Tokenizer, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The messages that the family can show: Gemma knows no tools."""
    try:
        subject.render_chat(messages, TOOLS)
    except ModelError:
        return messages[:3]
    return messages


@settings(max_examples=20)
@given(texts=st.lists(HARMLESS, min_size=5, max_size=5))
def test_harmless_texts_give_the_tokens_of_transformers(subject: Tokenizer, texts: list[str]) -> None:
    messages = shown_by(subject, conversation(*texts))
    expected = subject._wrapper.apply_chat_template(messages, tools=TOOLS, add_generation_prompt=True, tokenize=True)
    assert subject.render_chat(messages, TOOLS).encode() == expected


def test_a_long_conversation_gives_the_tokens_of_transformers(subject: Tokenizer) -> None:
    messages = conversation(CODE * 10, CODE, "", "", CODE * 20)[:3]
    messages = messages[:2] * 9 + messages[2:]
    rendered = subject.render_chat(messages)
    expected = subject._wrapper.apply_chat_template(messages, add_generation_prompt=True, tokenize=True)
    assert rendered.encode() == expected
    assert len(rendered.text) > 8192, "long enough to be encoded in pieces"


def evil_texts(subject: Tokenizer) -> st.SearchStrategy[str]:
    markers = [text for text in subject._markers.values() if text]
    pieces = markers + [text[:cut] for text in markers for cut in range(1, len(text))]
    pieces += [text[cut:] for text in markers for cut in range(1, len(text))]
    anything = st.text(st.characters(categories=None), max_size=6)  # lone surrogates too
    part = st.one_of(st.sampled_from(markers), st.sampled_from(pieces), anything, HARMLESS)
    return st.lists(part, max_size=5).map(lambda parts: "".join(parts) or "x")


@settings(max_examples=60)
@given(data=st.data())
def test_no_text_becomes_a_marker(subject: Tokenizer, data: st.DataObject) -> None:
    evil = evil_texts(subject)
    honest = shown_by(subject, conversation("x", "x", "x", "x", "x"))
    messages = conversation(*(data.draw(evil) for _ in range(5)))[: len(honest)]
    tools = json.loads(json.dumps(TOOLS))
    tools[0]["function"]["description"] = data.draw(evil)
    tokens = subject.render_chat(messages, tools).encode()
    expected = subject.render_chat(honest, TOOLS).encode()
    assert markers_in(subject, tokens) == markers_in(subject, expected)


def markers_in(subject: Tokenizer, tokens: list[int]) -> Counter[str]:
    return Counter(subject.marker_text(token) for token in tokens if subject.is_marker(token))


def test_a_marker_in_a_text_is_read_as_it_stands(subject: Tokenizer) -> None:
    if subject._sentinel:
        return  # A metaspace vocabulary adds spaces of its own.
    markers = [text for text in subject._markers.values() if text]
    text = "x".join(["", *markers, ""])
    tokens = subject.render_chat([{"role": "user", "content": text}]).encode()
    assert text in spelled(subject, tokens)


@pytest.mark.parametrize("cut", range(1, 12))
def test_two_texts_cannot_make_a_marker_together(tmp_path: Path, cut: int) -> None:
    subject = chat_tokenizer(tmp_path, "seams")
    marker = "<|im_start|>"
    parts = [marker[:cut], marker[cut:]] if cut < len(marker) else [marker]
    tokens = subject.render_chat([{"role": "user", "content": part} for part in parts]).encode()
    assert [token for token in tokens if subject.is_marker(token)] == [subject.token_id(marker)]
    assert spelled(subject, tokens) == marker * 2
    three = [marker[:1], marker[1:cut], marker[cut:]] if 1 < cut < len(marker) else []
    tokens = subject.render_chat([{"role": "user", "content": part} for part in three or parts]).encode()
    assert spelled(subject, tokens) == marker * 2


def test_a_text_cannot_complete_a_marker_that_the_template_began(tmp_path: Path) -> None:
    subject = chat_tokenizer(tmp_path, "seams")
    template = "{% for message in messages %}<|{{ message.content | trim }}|>{% endfor %}"
    subject._backend.chat_template = template
    tokens = subject.render_chat([{"role": "user", "content": " im_start\n"}]).encode()
    assert not any(map(subject.is_marker, tokens))
    assert subject.decode(tokens) == "<|im_start|>"
    tokens = subject.render_chat([{"role": "user", "content": " im_star\n"}]).encode()
    assert subject.decode(tokens) == "<|im_star|>", "what makes no marker is trimmed as the template says"


@settings(max_examples=40)
@given(data=st.data())
@pytest.mark.parametrize("kind", ["overlapping", "normalised", "metaspace", "metaspace, newer", "letters and HTML"])
def test_odd_vocabularies_too(kind: str, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    subject = odd(kind, tmp_path_factory)
    messages = [{"role": "user", "content": data.draw(evil_texts(subject) | st.just("\uff1c|fim_prefix|\uff1e"))}]
    tokens = subject.render_chat(messages).encode()
    assert not any(map(subject.is_marker, tokens))


_ODD: dict[str, Tokenizer] = {}


def odd(kind: str, factory: pytest.TempPathFactory) -> Tokenizer:
    if kind not in _ODD:
        assert kind in KINDS
        _ODD[kind] = tokenizer(factory.mktemp("odd"), kind)
        _ODD[kind]._backend.chat_template = "{% for message in messages %}: {{ message.content }} :{% endfor %}"
        _ODD[kind]._wrapper.has_chat_template = True
    return _ODD[kind]


def test_splices_stand_where_their_slots_stood(tmp_path: Path) -> None:
    subject = chat_tokenizer(tmp_path, "qwen")
    odd_tokens = [*subject.encode("y"), *subject.encode("es")]
    messages = [{"role": "user", "content": "<|im_end|>"}, {"role": "assistant", "content": "slot1z"}]
    rendered = subject.render_chat([*messages, {"role": "user", "content": "go on"}])
    tokens = rendered.encode({"slot1z": odd_tokens})
    assert "<|im_start|>assistant\nyes<|im_end|>\n" in spelled(subject, tokens)
    text = "".join(chr(token % 0x10000) for token in tokens)
    assert "".join(chr(token) for token in odd_tokens) in text
    rest = rendered.after("slot1z").encode()
    assert tokens[-len(rest) :] == rest
    assert spelled(subject, rest) == "<|im_end|>\n<|im_start|>user\ngo on<|im_end|>\n<|im_start|>assistant\n"


@pytest.mark.parametrize("run", ["a", " ", "é", "<|im_start|>"], ids=repr)
def test_one_long_run_costs_no_more_than_code_of_the_same_length(tmp_path: Path, run: str) -> None:
    subject = chat_tokenizer(tmp_path, "qwen")
    n = 300_000

    def best(text: str) -> float:
        times = []
        for _ in range(2):
            started = time.perf_counter()
            subject.render_chat([{"role": "user", "content": text}]).encode()
            times.append(time.perf_counter() - started)
        return min(times)

    assert best((run * n)[:n]) < 30 * best((CODE * n)[:n])


@pytest.mark.parametrize("template", ["{{ raise_exception('not like this') }}", "{{ 1 // 0 }}", "{% for"])
def test_a_template_that_fails_says_why_in_its_own_words(tmp_path: Path, template: str) -> None:
    subject = chat_tokenizer(tmp_path, "qwen")
    subject._backend.chat_template = template
    with pytest.raises(ModelError, match=r"chat template fails: .*(not like this|zero|end of template|endfor)"):
        subject.render_chat([{"role": "user", "content": "x"}])


@pytest.mark.parametrize("arguments", [{"tokenize": True}, {"tools": []}, {"chat_template": 3}])
def test_arguments_that_no_template_takes_are_a_fault_too(tmp_path: Path, arguments: dict[str, Any]) -> None:
    subject = chat_tokenizer(tmp_path, "qwen")
    with pytest.raises(ModelError, match="chat template fails"):
        subject.render_chat([{"role": "user", "content": "x"}], (), arguments)


# How models answer


def test_the_tags_of_each_family_are_known(tmp_path: Path) -> None:
    found = {family: chat_tokenizer(tmp_path / family, family).answers for family in CHAT_RECIPES}
    tags = {family: syntax.tool_call_markers for family, syntax in found.items()}
    assert tags["qwen"] == tags["qwen spelled"] == tags["qwen3 coder"] == ("<tool_call>", "</tool_call>")
    assert tags["mistral"] == ("[TOOL_CALLS]", "")
    assert tags["pythonic"] == ("<|tool_call_start|>", "<|tool_call_end|>")
    assert tags["llama3"] is tags["gemma"] is tags["no markers"] is None
    assert found["qwen3"].thinking_markers == ("<think>", "</think>")
    assert found["qwen"].thinking_markers is None
    assert dict(found["qwen3"].transitions["reasoning"])["</think>"] == "normal"
    assert not found["mistral"].transitions["tool"]


@pytest.mark.parametrize(
    ("family", "text", "expected"),
    [
        ("qwen", '\n{"name": "f", "arguments": {"a": "é"}}\n', [("f", '{"a": "é"}', "")]),
        ("qwen", '{"name": "f", "arguments": "{\\"a\\": 1}"}', [("f", '{"a": 1}', "")]),
        ("qwen", '{"name": "f", "parameters": {"a": 1}}', [("f", '{"a": 1}', "")]),
        ("qwen", '[{"name": "f"}, {"name": "g"}]', [("f", "{}", ""), ("g", "{}", "")]),
        (
            "qwen3 coder",
            "\n<function=f>\n<parameter=path>\na\n</parameter>\n</function>\n",
            [("f", '{"path": "a"}', "")],
        ),
        ("mistral", ' [{"name": "f", "arguments": {}, "id": "abcdefgh1"}]', [("f", "{}", "abcdefgh1")]),
        ("pythonic", '[f(path="\\d"), g(n=1)]', [("f", '{"path": "\\\\d"}', ""), ("g", '{"n": 1}', "")]),
    ],
)
def test_calls_are_read(tmp_path: Path, family: str, text: str, expected: list[tuple[str, str, str]]) -> None:
    assert chat_tokenizer(tmp_path, family).parse_tool_call(text, TOOLS) == expected


@pytest.mark.parametrize("family", ["qwen", "qwen3 coder", "mistral", "pythonic", "llama3"])
@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"name": 3}', '["x"]', "[" * 100_000, "null", "f("])
def test_what_is_no_call_is_a_value_error(tmp_path: Path, family: str, text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        chat_tokenizer(tmp_path, family).parse_tool_call(text, TOOLS)
