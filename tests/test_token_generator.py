"""The Python API: what goes in, what comes out, and that both forms, with and without an event loop, are one."""

import asyncio
import subprocess
import sys
import threading
from datetime import date
from pathlib import Path

import pytest

import harmony_ls
from harmony_ls.errors import EngineClosedError, ModelError, PromptTooLongError, UserError
from harmony_ls.messages import ToolSpec
from harmony_ls.token_generator import AsyncTokenGenerator, TokenGenerator
from tests.models import Rule, build_model
from tests.session.support import final, said, scripted_gpt_oss

PROMPT = [40, 41, 42, 43]


def test_the_package_has_it() -> None:
    assert harmony_ls.TokenGenerator is TokenGenerator
    with pytest.raises(AttributeError):
        harmony_ls.NoSuchThing  # noqa: B018


def test_tokens_from_tokens_in_the_order_of_the_reference(tiny_llama: Path) -> None:
    """gpt_oss.torch.model.TokenGenerator.generate(prompt_tokens, stop_tokens, temperature, max_tokens, ...)."""
    with TokenGenerator(str(tiny_llama)) as generator:
        tokens = list(generator.generate(PROMPT, [], 0.0, 12))
        assert len(tokens) == 12
        assert all(type(token) is int for token in tokens)
        # A stop token is the last one that comes.
        stop = tokens[5]
        assert list(generator.generate(PROMPT, [stop], 0.0, 12)) == tokens[: tokens.index(stop) + 1]


def test_log_probabilities_and_texts(tiny_llama: Path) -> None:
    with TokenGenerator(str(tiny_llama)) as generator:
        plain = list(generator.generate(PROMPT, [], 0.0, 8))
        told = list(generator.generate(PROMPT, [], 0.0, 8, return_logprobs=True))
        assert [each["token"] for each in told] == plain  # type: ignore[index]
        assert all(each["logprob"] <= 0 for each in told)  # type: ignore[index, operator]
        assert "".join(each["text"] for each in told).startswith(generator.decode(plain)[:-1])  # type: ignore[index]


def test_stop_strings_alternatives_and_biases(tiny_llama: Path) -> None:
    with TokenGenerator(str(tiny_llama)) as generator:
        plain = list(generator.generate(PROMPT, [], 0.0, 30))
        text = generator.decode(plain)  # type: ignore[arg-type]
        stop = text[8:11]
        stopped = generator.decode(list(generator.generate(PROMPT, [], 0.0, 30, stop=[stop])))  # type: ignore[arg-type]
        assert generator.decode(list(generator.generate(PROMPT, [], 0.0, 30, stop=stop))) == stopped  # type: ignore[arg-type]
        assert stop in stopped
        assert text.startswith(stopped[: stopped.index(stop) + len(stop)])
        assert len(stopped) < len(text)
        told = list(generator.generate(PROMPT, [], 0.0, 2, True, top_logprobs=3))
        assert [len(each["top"]) for each in told] == [3, 3]  # type: ignore[index]
        assert set(generator.generate(PROMPT, [], 0.0, 5, logit_bias={77: 100.0})) == {77}
        with pytest.raises(TypeError, match="warmth"):
            list(generator.generate(PROMPT, [], 0.0, 5, warmth=1))


def test_a_prompt_cache_outlives_the_process(tiny_llama: Path, tmp_path: Path) -> None:
    prompt = list(range(40, 140))
    file = tmp_path / "prompt.safetensors"
    with TokenGenerator(str(tiny_llama)) as generator:
        tokens = list(generator.generate(prompt, [], 0.0, 5))
        generator.save_prompt_cache(file, prompt)
    with TokenGenerator(str(tiny_llama)) as later:
        assert later.load_prompt_cache(file) == prompt
        assert list(later.generate(prompt, [], 0.0, 5)) == tokens


def test_a_prompt_cache_serves_on_other_days_too(tmp_path: Path, harmony_vocabulary: None) -> None:
    folder = build_model(tmp_path / "gpt-oss", "gpt_oss", config={"sliding_window": 4096})
    file = tmp_path / "prompt.safetensors"
    with TokenGenerator(str(folder)) as generator:
        prompt = generator.render("Hello", started=date(2026, 1, 2))
        generator.save_prompt_cache(file, prompt)
        assert f"Current date: {date.today()}" in generator.decode(generator.render("Hello")), "saving changes nothing"
    with TokenGenerator(str(folder)) as later:
        assert later.load_prompt_cache(file) == prompt
        assert later.render("Hello") == prompt
        assert "Current date: 2026-03-04" in later.decode(later.render("Hello", started=date(2026, 3, 4)))


def test_more_tokens_than_the_context_holds_are_not_written(tmp_path: Path) -> None:
    folder = build_model(tmp_path / "short", "llama", config={"max_position_embeddings": 64})
    with TokenGenerator(str(folder)) as generator:
        assert len(list(generator.generate(PROMPT, [], 0.0, 300))) == 60


def test_the_model_is_told_the_date(tmp_path: Path, harmony_vocabulary: None) -> None:
    with TokenGenerator(str(build_model(tmp_path / "gpt-oss", "gpt_oss"))) as generator:
        told = generator.decode(generator.render("Hello", started=date(2026, 1, 2)))
        assert "Current date: 2026-01-02" in told
        assert f"Current date: {date.today()}" in generator.decode(generator.render("Hello"))


def test_seeds_repeat_and_their_absence_does_not(tiny_llama: Path) -> None:
    with TokenGenerator(str(tiny_llama)) as generator:

        def run(**options: int) -> list[object]:
            return list(generator.generate(PROMPT, [], 1.0, 24, **options))

        assert run(seed=7) == run(seed=7)
        assert run(seed=7) != run(seed=8)
        assert run() != run()


def test_harmony_messages_tokens_and_prompts(tmp_path: Path, harmony_vocabulary: None) -> None:
    folder = scripted_gpt_oss(tmp_path / "gpt-oss", [Rule(said("Hello"), final("Hi.", reasoning="They greet."))])
    with TokenGenerator(str(folder), trust_remote_code=True) as generator:
        assert generator.speaks_harmony
        messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]
        tokens = list(generator.generate(messages=messages, temperature=0))
        tokenizer = generator.model.tokenizer
        assert tokens[0] == tokenizer.token_id("<|channel|>")
        assert tokens[-1] == tokenizer.token_id("<|return|>")
        assert list(generator.generate(prompt="Hello", system_message="Be brief.", temperature=0)) == tokens
        assert generator.render("Hello", system_message="Be brief.") == generator.render(messages)
        rendered = generator.render(messages)
        assert list(generator.generate(rendered, None, 0.0)) == tokens


def test_tools_and_effort_are_told(tmp_path: Path, harmony_vocabulary: None) -> None:
    folder = build_model(tmp_path / "gpt-oss", "gpt_oss")
    with TokenGenerator(str(folder)) as generator:
        tools = [ToolSpec("look", "Look there.")]
        text = generator.decode(generator.render("Hello", tools=tools, effort="high"))
        assert "Reasoning: high" in text
        assert "type look" in text


def test_a_base_model_goes_on_with_text(tmp_path: Path) -> None:
    with TokenGenerator(None) as generator:
        assert not generator.speaks_harmony
        text = generator.decode(list(generator.generate(prompt="import os\nimport ", temperature=0.0, max_tokens=4)))  # type: ignore[arg-type]
        assert text.strip()
        with pytest.raises(ModelError, match="chat"):
            generator.render("Hello")


def test_use_harmony_is_refused_where_it_cannot_be(tiny_llama: Path) -> None:
    with pytest.raises(ModelError, match="no Harmony markers"):
        TokenGenerator(str(tiny_llama), use_harmony=True)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({}, ValueError, "name one of"),
        ({"prompt": "a", "prompt_tokens": [1]}, ValueError, "prompt_tokens and prompt"),
        ({"prompt": ""}, ValueError, "empty"),
        ({"prompt_tokens": []}, ValueError, "empty"),
        ({"prompt_tokens": [1, 10**9]}, ValueError, "1000000000 is no token"),
        ({"prompt_tokens": [1], "logit_bias": {10**9: 1.0}}, ValueError, "1000000000 is no token"),
        ({"prompt_tokens": [1], "system_message": "Be brief."}, ValueError, "whole prompt"),
        ({"messages": []}, UserError, "no messages"),
        ({"messages": [{"role": "USER", "content": "x"}]}, UserError, "'USER'"),
        ({"prompt_tokens": [1] * 5000}, PromptTooLongError, "5000 tokens"),
        ({"prompt": "a", "temperature": -1.0}, ValueError, "temperature"),
        ({"prompt": "a", "max_tokens": 2.5}, ValueError, "max_tokens is 2.5; it must be an integer of at least 1"),
        ({"prompt": "a", "max_tokens": 1e9}, ValueError, "max_tokens is 1000000000.0"),
        ({"prompt": "a", "max_tokens": -1}, ValueError, "max_tokens is -1"),
    ],
)
def test_bad_arguments_are_named_and_do_no_harm(
    tiny_llama: Path, arguments: dict[str, object], error: type[Exception], words: str
) -> None:
    with TokenGenerator(str(tiny_llama)) as generator:
        with pytest.raises(error, match=words):
            list(generator.generate(**arguments))  # type: ignore[arg-type]
        assert len(list(generator.generate(PROMPT, [], 0.0, 3))) == 3


def test_a_model_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="There is no model folder"):
        TokenGenerator(str(tmp_path / "missing"))


def test_lazy_loads_at_the_first_use(tmp_path: Path, tiny_llama: Path) -> None:
    generator = TokenGenerator(str(tmp_path / "missing"), lazy=True)
    with pytest.raises(ModelError):
        list(generator.generate(PROMPT))
    generator.close()
    with TokenGenerator(str(tiny_llama), lazy=True) as later:
        assert len(list(later.generate(PROMPT, [], 0.0, 3))) == 3


def test_leaving_early_frees_the_model(tiny_llama: Path) -> None:
    with TokenGenerator(str(tiny_llama)) as generator:
        long = generator.generate(PROMPT, [], 0.0)
        assert next(long) is not None
        long.close()  # type: ignore[attr-defined]
        assert len(list(generator.generate(PROMPT, [], 0.0, 3))) == 3


def test_threads_take_turns(tiny_llama: Path) -> None:
    with TokenGenerator(str(tiny_llama)) as generator:
        alone = list(generator.generate(PROMPT, [], 0.0, 20))
        together: list[list[object]] = []
        threads = [
            threading.Thread(target=lambda: together.append(list(generator.generate(PROMPT, [], 0.0, 20))))
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert together == [alone] * 4


def test_after_closing_there_is_nothing(tiny_llama: Path) -> None:
    generator = TokenGenerator(str(tiny_llama))
    generator.close()
    generator.close()
    with pytest.raises(EngineClosedError):
        list(generator.generate(PROMPT))


def test_closing_answers_those_who_still_wait() -> None:
    generator = TokenGenerator(None, lazy=True)
    has_begun = threading.Event()
    errors: list[Exception] = []

    async def wait_for_ever() -> None:
        has_begun.set()
        await asyncio.Event().wait()

    def call() -> None:
        try:
            generator._call(wait_for_ever())
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    has_begun.wait()
    generator.close()
    thread.join()
    assert [type(error) for error in errors] == [EngineClosedError]


def test_closing_tells_a_thread_that_still_iterates(tmp_path: Path) -> None:
    endless = build_model(tmp_path, "llama", config={"max_position_embeddings": 10**8})
    generator = TokenGenerator(str(endless))
    has_begun = threading.Event()
    errors: list[Exception] = []
    n_tokens = 0

    def iterate() -> None:
        nonlocal n_tokens
        try:
            for _ in generator.generate(PROMPT, [], 0.0):
                n_tokens += 1
                has_begun.set()
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=iterate)
    thread.start()
    has_begun.wait()
    generator.close()
    thread.join()
    assert [type(error) for error in errors] == [EngineClosedError]
    assert n_tokens >= 1


async def test_with_an_event_loop_closing_is_told_too(tmp_path: Path) -> None:
    generator = AsyncTokenGenerator(str(build_model(tmp_path, "llama", config={"max_position_embeddings": 10**8})))
    tokens = generator.generate(PROMPT, [], 0.0)
    await anext(tokens)
    await generator.close()
    with pytest.raises(EngineClosedError, match="generator is closed"):
        [token async for token in tokens]


async def test_with_an_event_loop_it_is_the_same(tiny_llama: Path) -> None:
    async with AsyncTokenGenerator(str(tiny_llama)) as generator:
        tokens = [token async for token in generator.generate(PROMPT, [], 0.0, 12)]
        with pytest.raises(ValueError, match="name one of"):
            await anext(generator.generate())
    with TokenGenerator(str(tiny_llama)) as generator_without:
        assert tokens == list(generator_without.generate(PROMPT, [], 0.0, 12))


def test_a_program_that_closes_nothing_ends_well(tiny_llama: Path) -> None:
    code = (
        "import sys; from harmony_ls import TokenGenerator\n"
        "generator = TokenGenerator(sys.argv[1])\n"
        "tokens = generator.generate([40, 41], [], 0.0)\n"
        "print(type(next(tokens)).__name__)\n"
    )
    result = subprocess.run([sys.executable, "-c", code, str(tiny_llama)], capture_output=True, text=True)
    assert (result.returncode, result.stdout, result.stderr) == (0, "int\n", "")
