"""Prompts through the models' own chat templates: what is said, what is kept token for token, and what is refused."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harmony_ls.errors import ModelError
from harmony_ls.messages import Conversation, Message, ReasoningEffort, Role, ToolCall, ToolSpec
from harmony_ls.prompts.chat.format import chat_format
from harmony_ls.prompts.format import EventParser, Prompt, PromptFormat
from tests.chat_templates import CHAT_RECIPES, spelled
from tests.engine.tokenizers import with_template
from tests.prompts.families import Family, family_of, text_of

READ = ToolSpec("read_file", "Read a file.", {"type": "object", "properties": {"path": {"type": "string"}}})
PATCH = ToolSpec("apply_patch", "Change files.", {"type": "string"})
SYSTEM = Message(Role.SYSTEM, "Be brief.")
QUESTION = Message(Role.USER, "What is in a?")
CALL = ToolCall("abcdefgh1", "read_file", '{"path": "a"}')
CALLING = Message(Role.ASSISTANT, "I look.", tool_calls=(CALL,))
RESULT = Message(Role.TOOL, "<b>x</b>", tool_call_id=CALL.id, name="read_file")
WITH_TOOLS = [name for name in CHAT_RECIPES if name.startswith(("qwen", "mistral", "pythonic"))]


def test_it_is_a_prompt_format(of: Callable[[str], Family]) -> None:
    chat: PromptFormat = of("qwen3")[1]
    assert chat.takes_tools
    assert chat.takes_effort
    assert "<think>" in chat.summary
    assert of("qwen3")[0].eos_token_ids < chat.stop_tokens, "the marker of the next turn ends an answer too"


@pytest.mark.parametrize("name", CHAT_RECIPES)
def test_a_conversation_gives_the_tokens_of_transformers(of: Callable[[str], Family], name: str) -> None:
    tokenizer, chat = of(name)
    conversation = Conversation((QUESTION, Message(Role.ASSISTANT, "An x."), Message(Role.USER, "Why?")), (READ,))
    functions = [
        {
            "type": "function",
            "function": {"name": READ.name, "description": READ.description, "parameters": READ.parameters},
        }
    ]
    messages = [{"role": message.role.value, "content": message.content} for message in conversation.messages]
    expected = tokenizer._wrapper.apply_chat_template(messages, tools=functions, add_generation_prompt=True)
    assert list(chat.render(conversation).tokens) == expected


@pytest.mark.parametrize("name", CHAT_RECIPES)
def test_the_first_token_is_there_once(of: Callable[[str], Family], name: str) -> None:
    tokenizer, chat = of(name)
    tokens = chat.render(Conversation((QUESTION,))).tokens
    bos = tokenizer._backend.bos_token_id
    assert tokens.count(bos) == (bos is not None)


@pytest.mark.parametrize("name", WITH_TOOLS)
def test_tools_calls_and_results_are_shown(of: Callable[[str], Family], name: str) -> None:
    chat = of(name)[1]
    assert chat.takes_tools, chat.summary
    text = text_of(of(name), SYSTEM, QUESTION, CALLING, RESULT, tools=(READ,))
    for part in ("What is in a?", "read_file", "<b>x</b>", '"path"' if "coder" not in name else "path"):
        assert part in text
    if name != "mistral":  # It has no place for a text beside a call, and drops the instructions after a result.
        assert "I look." in text
        assert "Be brief." in text


def test_a_tool_that_takes_plain_text_gets_an_object_around_it(of: Callable[[str], Family]) -> None:
    patch = ToolCall("abcdefgh2", "apply_patch", '*** "x"\n')
    called = Message(Role.ASSISTANT, tool_calls=(patch,))
    text = text_of(of("qwen"), QUESTION, called, replace(RESULT, tool_call_id=patch.id), tools=(PATCH,))
    parameters = {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}
    assert f'"parameters": {json.dumps(parameters)}' in text
    assert json.dumps({"name": "apply_patch", "arguments": {"input": patch.arguments}}) in text


def test_arguments_that_are_no_json_are_shown_as_they_are(of: Callable[[str], Family]) -> None:
    broken = replace(CALLING, tool_calls=(replace(CALL, arguments='{"path": '),))
    assert '"arguments": "{\\"path\\": "' in text_of(of("qwen"), QUESTION, broken, RESULT, tools=(READ,))


@pytest.mark.parametrize("arguments", ['{"path": ', "hello", "[1]", ""])
@pytest.mark.parametrize("name", WITH_TOOLS)
def test_a_broken_call_of_an_earlier_turn_keeps_no_conversation_from_going_on(
    of: Callable[[str], Family], name: str, arguments: str
) -> None:
    broken = replace(CALLING, tool_calls=(replace(CALL, arguments=arguments),))
    earlier = (QUESTION, broken, RESULT, Message(Role.ASSISTANT, "An x."), Message(Role.USER, "Why?"))
    text = text_of(of(name), *earlier, tools=(READ,))
    assert "Why?" in text
    assert json.dumps(arguments)[1:-1] in text or arguments in text


@pytest.mark.parametrize(
    ("name", "can"), [("llama3", "cannot read"), ("gemma", "does not show"), ("no markers", "does not show")]
)
def test_a_model_without_tools_is_known_by_its_template(of: Callable[[str], Family], name: str, can: str) -> None:
    chat = of(name)[1]
    assert not chat.takes_tools
    assert can in chat.summary


def test_a_template_without_system_messages_gets_them_with_the_question(of: Callable[[str], Family]) -> None:
    text = text_of(of("gemma"), SYSTEM, replace(SYSTEM, content="Be kind."), QUESTION)
    assert text.count("<start_of_turn>") == 2
    assert "user\nBe brief.\n\nBe kind.\n\nWhat is in a?<end_of_turn>" in text
    assert "first question" in of("gemma")[1].summary


def test_a_template_that_ignores_system_messages_gets_them_with_the_question(tmp_path: Path) -> None:
    template = "{% for m in messages if m.role != 'system' %}<|im_start|>{{ m.content }}<|im_end|>{% endfor %}"
    text = text_of(family_of(tmp_path, template), SYSTEM, QUESTION)
    assert text == "<|im_start|>Be brief.\n\nWhat is in a?<|im_end|>"


def test_several_instructions_are_one_system_message(of: Callable[[str], Family]) -> None:
    text = text_of(of("qwen"), SYSTEM, replace(SYSTEM, content="Be kind."), QUESTION)
    assert text.startswith("<|im_start|>system\nBe brief.\n\nBe kind.<|im_end|>")


def test_late_instructions_stand_where_they_are_said_or_in_the_next_question(of: Callable[[str], Family]) -> None:
    answer, late, why = Message(Role.ASSISTANT, "An x."), Message(Role.SYSTEM, "Now rhyme."), Message(Role.USER, "Why?")
    assert "<|im_start|>system\nNow rhyme.<|im_end|>" in text_of(of("qwen"), QUESTION, answer, late, why)
    for name in ("gemma", "mistral"):
        assert "Now rhyme.\n\nWhy?" in text_of(of(name), QUESTION, answer, late, why)
        assert "Now rhyme." in text_of(of(name), QUESTION, answer, late)


def test_questions_in_a_row_are_one_where_roles_must_alternate(of: Callable[[str], Family]) -> None:
    again = Message(Role.USER, "Well?")
    for name in ("gemma", "mistral"):
        assert "What is in a?\n\nWell?" in text_of(of(name), QUESTION, again)
    assert text_of(of("qwen"), QUESTION, again).count("<|im_start|>user") == 2


@pytest.mark.parametrize("content", ["", " \n"])
def test_an_answer_of_no_words_is_left_out(of: Callable[[str], Family], content: str) -> None:
    stopped = Message(Role.ASSISTANT, content, reasoning="Hm.")
    assert "What is in a?\n\nWhy?" in text_of(of("gemma"), QUESTION, stopped, Message(Role.USER, "Why?"))
    text = text_of(of("qwen3"), QUESTION, stopped, Message(Role.USER, "Why?"))
    assert text == text_of(of("qwen3"), QUESTION, Message(Role.USER, "Why?"))
    assert text.count("<|im_start|>assistant") == 1


def test_what_a_template_refuses_is_said_in_its_own_words(of: Callable[[str], Family]) -> None:
    with pytest.raises(ModelError, match="roles must alternate"):
        of("gemma")[1].render(Conversation((Message(Role.ASSISTANT, "Hello."), QUESTION)))
    with pytest.raises(ModelError, match="chat template fails"):
        of("gemma")[1].render(Conversation())


def test_without_a_chat_template_the_error_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"instruct model.*generate --raw"):
        chat_format(with_template(tmp_path, None))


@pytest.mark.parametrize("template", ["{{ raise_exception('never') }}", "always the same", "{% for"])
def test_a_template_that_cannot_show_a_question_is_refused_at_once(tmp_path: Path, template: str) -> None:
    with pytest.raises(ModelError, match="chat template"):
        chat_format(with_template(tmp_path, template))


# Effort


def test_low_effort_is_no_thinking(of: Callable[[str], Family]) -> None:
    texts = {effort: text_of(of("qwen3"), QUESTION, effort=effort) for effort in ReasoningEffort}
    assert texts[ReasoningEffort.LOW].endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n")
    assert texts[ReasoningEffort.MEDIUM] == texts[ReasoningEffort.HIGH]
    assert texts[ReasoningEffort.MEDIUM].endswith("<|im_start|>assistant\n")


def test_explicit_arguments_of_the_template_win(of: Callable[[str], Family]) -> None:
    low = text_of(of("qwen3"), QUESTION, effort=ReasoningEffort.LOW, template_arguments={"enable_thinking": True})
    assert low == text_of(of("qwen3"), QUESTION)


def test_levels_are_named_where_the_template_knows_them(of: Callable[[str], Family]) -> None:
    for effort in ReasoningEffort:
        assert f"Reasoning: {effort}\n" in text_of(of("efforts"), QUESTION, effort=effort)
    assert not of("qwen")[1].takes_effort


def test_reasoning_of_finished_turns_is_left_out_as_the_template_says(of: Callable[[str], Family]) -> None:
    thinking = replace(CALLING, reasoning="I must look.")
    inside = text_of(of("qwen3"), QUESTION, thinking, RESULT, tools=(READ,))
    assert "<think>\nI must look.\n</think>\n\nI look.\n<tool_call>" in inside
    later = text_of(of("qwen3"), QUESTION, thinking, RESULT, Message(Role.ASSISTANT, "x"), QUESTION, tools=(READ,))
    assert "I must look." not in later


# What stays token for token


@pytest.mark.parametrize("name", [name for name in CHAT_RECIPES if name != "seams"])
@settings(max_examples=15)
@given(text=st.text(st.sampled_from("ab <>é🙂\n\"'=1"), min_size=1, max_size=20))
def test_the_next_prompt_holds_what_was_written(of: Callable[[str], Family], name: str, text: str) -> None:
    """One token for each letter where there is one, as no tokenizer would have cut it."""
    tokenizer, chat = of(name)
    first = Conversation((QUESTION,))
    prompt = chat.render(first)
    generated = [token for letter in f"y{text}y" for token in tokenizer.encode(letter)]
    parser = chat.parser(prompt, first)
    closing = tokenizer.encode_marked("</think>\n\n", is_start=False) if "thinking" in name else []
    for token in (*closing, *generated):
        parser.feed(token)
    parser.finish(complete=True)
    answer = parser.message()
    assert answer.content_tokens == tuple(generated)
    again = chat.render(Conversation((QUESTION, answer, Message(Role.USER, "Why?"))))
    if name == "mistral":  # Its template puts a space in front of answers.
        assert spelled(tokenizer, generated) in spelled(tokenizer, again.tokens)
        return
    opening = prompt.tokens[: prompt.checkpoints[-1]] if "thinking" in name else prompt.tokens
    assert again.tokens[: len(opening)] == opening
    assert again.tokens[len(opening) : len(opening) + len(generated)] == tuple(generated)
    ends = {tokenizer.marker_text(token) for token in chat.stop_tokens}
    assert tokenizer.marker_text(again.tokens[len(opening) + len(generated)]) in ends or name == "no markers"


def test_a_template_that_trims_gets_the_text(of: Callable[[str], Family]) -> None:
    tokenizer, _ = of("llama3")
    content = "  Yes.\n"
    answer = Message(Role.ASSISTANT, content, content_tokens=tuple(tokenizer.encode(content)))
    text = text_of(of("llama3"), QUESTION, answer, QUESTION)
    assert "<|end_header_id|>\n\nYes.<|eot_id|>" in text


def test_tokens_that_are_not_the_text_are_not_believed(of: Callable[[str], Family]) -> None:
    tokenizer, _ = of("qwen")
    end = tokenizer.token_id("<|im_end|>")
    assert end is not None
    for tokens in (tokenizer.encode("No."), [*tokenizer.encode("Yes."), end]):
        answer = Message(Role.ASSISTANT, "Yes.", content_tokens=tuple(tokens))
        assert "assistant\nYes.<|im_end|>\n<|im_start|>user" in text_of(of("qwen"), QUESTION, answer, QUESTION)


@pytest.mark.parametrize("name", WITH_TOOLS)
@pytest.mark.parametrize("is_stopped", [True, False])
def test_what_was_seen_and_written_stays_inside_a_turn(
    of: Callable[[str], Family], name: str, is_stopped: bool
) -> None:
    tokenizer, chat = of(name)
    conversation = Conversation((SYSTEM, QUESTION), (READ,))
    prompt = chat.render(conversation)
    (end,) = {token for token in chat.stop_tokens if tokenizer.marker_text(token) in ("<|im_end|>", "</s>")}
    written = tokenizer.encode("oddly cut ") + tokenizer.encode("text")
    generated = [*written, end] if is_stopped else written
    after = replace(conversation, messages=(*conversation.messages, CALLING, RESULT))
    resumed = chat.resume(prompt, generated, after)
    assert resumed.tokens[: len(prompt.tokens) + len(written)] == (*prompt.tokens, *written)
    tail = resumed.tokens[len(prompt.tokens) + len(written) :]
    assert tail[0] == end
    whole = chat.render(after).tokens
    assert whole[-len(tail) :] == tail, "it goes on as the template does after a call"
    assert "<b>x</b>" in spelled(tokenizer, tail)
    assert len(prompt.tokens) in resumed.checkpoints


def test_an_end_that_the_template_does_not_write_is_left_out(of: Callable[[str], Family]) -> None:
    tokenizer, chat = of("qwen")
    conversation = Conversation((QUESTION,), (READ,))
    prompt = chat.render(conversation)
    opens = tokenizer.token_id("<|im_start|>")
    assert opens is not None
    written = tokenizer.encode("x")
    after = replace(conversation, messages=(QUESTION, CALLING, RESULT))
    resumed = chat.resume(prompt, [*written, opens], after)
    tail = spelled(tokenizer, resumed.tokens[len(prompt.tokens) :])
    assert tail.startswith("x<|im_end|>\n<|im_start|>user\n")


def test_where_the_template_wants_to_know_of_calls_the_whole_is_rendered(tmp_path: Path) -> None:
    template = (
        "{% for m in messages %}{% if m.role == 'tool' and not messages[loop.index0 - 1].tool_calls %}"
        "{{ raise_exception('no call before the result') }}{% endif %}<|im_start|>{{ m.role }} {{ m.content }}"
        "{{ m.tool_calls | tojson if m.tool_calls else '' }}<|im_end|>{% endfor %}<|im_start|>"
    )
    tokenizer, chat = family_of(tmp_path, template)
    conversation = Conversation((QUESTION,), (READ,))
    after = replace(conversation, messages=(QUESTION, CALLING, RESULT))
    assert chat.resume(chat.render(conversation), tokenizer.encode("x"), after) == chat.render(after)


def test_the_instructions_end_at_a_checkpoint(of: Callable[[str], Family]) -> None:
    for name in WITH_TOOLS:
        tokenizer, chat = of(name)
        prompts = [
            chat.render(Conversation((SYSTEM, Message(Role.USER, text)), (READ,))) for text in ("Why?", "answer me")
        ]
        (first,) = {prompt.checkpoints[0] for prompt in prompts}
        assert prompts[0].tokens[:first] == prompts[1].tokens[:first]
        assert "read_file" in spelled(tokenizer, prompts[0].tokens[:first])
        assert "Why?" not in spelled(tokenizer, prompts[0].tokens[:first])
        other = chat.render(Conversation((QUESTION,))).checkpoints
        assert len(other) == (name == "qwen3 thinking"), "without instructions there is nothing to share"


def test_opened_reasoning_begins_at_a_checkpoint(of: Callable[[str], Family]) -> None:
    tokenizer, chat = of("qwen3 thinking")
    prompt = chat.render(Conversation((SYSTEM, QUESTION)))
    assert spelled(tokenizer, prompt.tokens[prompt.checkpoints[-1] :]) == "<think>\n"
    assert (
        chat.render(Conversation((SYSTEM, QUESTION, Message(Role.ASSISTANT, "x"), QUESTION))).tokens[
            : prompt.checkpoints[-1]
        ]
        == (prompt.tokens[: prompt.checkpoints[-1]])
    )


def test_a_model_may_bring_a_parser_of_its_own(of: Callable[[str], Family]) -> None:
    """GPT-OSS through its own template still answers in Harmony."""
    tokenizer, plain = of("llama3")
    made: list[EventParser] = []

    def factory(prompt: Prompt, conversation: Conversation) -> EventParser:
        made.append(plain.parser(prompt, conversation))
        return made[0]

    chat = chat_format(tokenizer, parser_factory=factory)
    conversation = Conversation((QUESTION,))
    assert chat.parser(chat.render(conversation), conversation) is made[0]
    assert chat.takes_tools, "whether calls can be read is its parser's matter"
    assert chat.stop_tokens == tokenizer.eos_token_ids
