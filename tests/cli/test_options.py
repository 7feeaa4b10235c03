"""Options of the commands that go to mlx-lm: each changes what a model says, and what cannot be is refused by name."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from harmony_ls.cli import app
from harmony_ls.cli.chosen_options import model_options
from harmony_ls.cli.legacy import chat_app, generate_app
from harmony_ls.cli.options import ModelArguments, SamplingArguments
from tests.cli.conftest import GptOss
from tests.engine.test_prompt_cache_files import mlx_lm_cache_prompt
from tests.models import RECIPES, SCRIPTED_RECIPE, Rule, build_model, build_scripted_model

# It shows what it was told, where the answer begins.
MOODY_TEMPLATE = (
    "{%- for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{%- if add_generation_prompt %}<|im_start|>assistant\n{{ mood }}{% endif %}"
)
CODE = "def add(left, right):\n    return left + right\n" * 3


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama whose key-value caches can be quantised."""
    return build_model(tmp_path_factory.mktemp("options") / "llama", "llama", config={"head_dim": 64})


@pytest.fixture(scope="session")
def moody(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that is spoken to with a chat template, and answers according to what the template was told."""
    recipe = replace(RECIPES["llama"], merged=(), chat_template=MOODY_TEMPLATE)
    rules = [Rule("assistant\n", "Plain."), Rule("assistant\nglad", "Glad.")]
    return build_scripted_model(tmp_path_factory.mktemp("options") / "moody", rules, recipe=recipe, markers={})


@pytest.fixture(scope="session")
def unsure(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that goes on with "aaaaaaaa", for which it has a logit of 1.66 where all others have 0.

    After anything else it ends. Each byte is a token with the byte's number, as in all scripted models here.
    """
    rules = [Rule("go:", "a" * 8, probability=0.02), Rule("line:", "\n", probability=0.6)]
    return build_scripted_model(tmp_path_factory.mktemp("options") / "unsure", rules, recipe=SCRIPTED_RECIPE)


def generate(model: Path, *arguments: str) -> Result:
    command = ["generate", "--model", str(model), "--trust-remote-code", "--temperature", "0", "--max-tokens", "12"]
    return CliRunner().invoke(app, [*command, *arguments])


def answer(model: Path, *arguments: str) -> dict[str, Any]:
    """The JSON object that the command writes."""
    result = generate(model, "--json", *arguments)
    assert result.exit_code == 0, result.output
    content: dict[str, Any] = json.loads(result.stdout)
    return content


def written(model: Path, *arguments: str) -> list[int]:
    """The tokens that the model writes after a text."""
    return [each["id"] for each in answer(model, "--raw", "--logprobs", "0", *arguments)["logprobs"]]


def said_by(model: Path, *arguments: str) -> str:
    """The same of a model whose tokens are bytes, without the token that ends the answer."""
    return bytes(each for each in written(model, *arguments) if each < 256).decode()


def test_a_bias_forces_a_token(llama: Path, own_environment: Mapping[str, str]) -> None:
    assert set(written(llama, "--prompt", CODE)) != {42}
    assert written(llama, "--prompt", CODE, "--logit-bias", "42=100") == [42] * 12
    assert (
        written(llama, "--prompt", CODE, "--logit-bias", '{"42": 100, "41": 50}', "--logit-bias", "40=-1") == [42] * 12
    )


B_IS_SECOND = ("--logit-bias", f"{ord('b')}=1")


@pytest.mark.parametrize(
    ("penalty", "expected"),
    [
        ((), "aaaaaaaa"),
        (("--repetition-penalty", "1.3"), "aaaaaaaa"),
        (("--repetition-penalty", "2"), "ab"),
        (("--presence-penalty", "0.5"), "aaaaaaaa"),
        (("--presence-penalty", "2"), "ab"),
        (("--frequency-penalty", "0.5"), "aab"),
        (("--frequency-penalty", "0.5", "--frequency-context-size", "1"), "aaaaaaaa"),
    ],
)
def test_a_penalty_lets_another_token_win(
    unsure: Path, own_environment: Mapping[str, str], penalty: tuple[str, ...], expected: str
) -> None:
    assert said_by(unsure, "--prompt", "go:", *B_IS_SECOND, *penalty) == expected


@pytest.mark.parametrize("kind", ["repetition", "presence", "frequency"])
def test_a_penalty_looks_back_as_far_as_it_is_told(unsure: Path, own_environment: Mapping[str, str], kind: str) -> None:
    def first(*size: str) -> str:
        sized = [f"--{kind}-context-size", *size] if size else []
        prompt = ["--prompt", "a" + "." * 20 + "go:"]
        return said_by(unsure, *prompt, *B_IS_SECOND, f"--{kind}-penalty", "2", *sized)[0]

    # Without a word it looks at 20 tokens.
    assert [first(), first("24"), first("23"), first("0")] == ["a", "b", "a", "b"]


def test_xtc_leaves_out_the_likeliest_but_no_end_of_a_line(unsure: Path, own_environment: Mapping[str, str]) -> None:
    cold = ["--temperature", "0.05", "--logit-bias", f"{ord('b')}=1.5"]
    always = ["--xtc-probability", "1", "--xtc-threshold", "0.01"]
    assert said_by(unsure, "--prompt", "go:", *cold, "--seed", "1")[0] == "a"
    assert said_by(unsure, "--prompt", "go:", *cold, *always)[0] == "b"
    assert said_by(unsure, "--prompt", "go:", *cold, "--xtc-probability", "1")[0] == "a"  # above 0.1 there is none
    warm = ["--temperature", "0.05", "--logit-bias", f"{ord('b')}=5"]
    assert said_by(unsure, "--prompt", "line:", *warm, *always)[0] == "\n"


def test_caches_are_quantised_and_bounded(llama: Path, tiny_qwen2: Path, own_environment: Mapping[str, str]) -> None:
    whole = written(llama, "--prompt", CODE)
    assert written(llama, "--prompt", CODE, "--kv-bits", "2", "--quantized-kv-start", "0") != whole
    assert written(llama, "--prompt", CODE, "--kv-bits", "2", "--quantized-kv-start", "2000") == whole
    whole = written(tiny_qwen2, "--prompt", CODE)
    assert written(tiny_qwen2, "--prompt", CODE, "--max-kv-size", "8") != whole
    assert written(tiny_qwen2, "--prompt", CODE, "--max-kv-size", "2000") == whole


def test_what_a_model_refuses_is_said_with_its_reason(
    llama: Path, tiny_gpt_oss: Path, own_environment: Mapping[str, str]
) -> None:
    for model, options, reason in (
        (tiny_gpt_oss, ["--kv-bits", "8"], "rotating key-value caches of tiny-gpt-oss (sliding windows)"),
        (tiny_gpt_oss, ["--max-kv-size", "64"], "arranges its key-value caches itself"),
        (llama, ["--kv-bits", "8", "--kv-group-size", "128"], "does not divide the head dimension of llama (64)"),
        (llama, ["--logit-bias", "99999=1"], "--logit-bias names token 99999; llama has the tokens 0 to"),
    ):
        result = generate(model, "--raw", "--prompt", "x", *options)
        assert (result.exit_code, result.stdout) == (1, "")
        assert reason in result.stderr


def test_the_chat_template_gets_its_arguments(moody: Path, gpt_oss: GptOss, own_environment: Mapping[str, str]) -> None:
    told = ["--chat-template-args", '{"mood": "glad"}']
    assert generate(moody, "--prompt", "Hi").stdout == "Plain.\n"
    assert generate(moody, "--prompt", "Hi", *told).stdout == "Glad.\n"
    result = generate(gpt_oss(), "--prompt", "Hi", *told)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "spoken to in Harmony" in result.stderr


def test_the_chat_takes_the_same_options(moody: Path, own_environment: Mapping[str, str]) -> None:
    command = ["chat", "--model", str(moody), "--trust-remote-code", "--temperature", "0", "--no-tools"]

    def said(*options: str) -> str:
        result = CliRunner().invoke(app, [*command, *options], input="Hi")
        assert result.exit_code == 0, result.output
        return result.stdout

    assert said("--chat-template-args", '{"mood": "glad"}') == "Glad.\n"
    assert said("--logit-bias", f"{ord('!')}=100", "--max-tokens", "3") == "!!!\n"


@pytest.mark.parametrize(
    ("options", "flag", "reason"),
    [
        (["--kv-bits", "5"], "--kv-bits", "must be one of 2, 3, 4, 6, 8"),
        (["--kv-bits", "4", "--kv-group-size", "5"], "--kv-group-size", "must be one of 32, 64, 128"),
        (["--kv-bits", "4", "--quantized-kv-start", "-1"], "--quantized-kv-start", "0 or more"),
        (["--kv-group-size", "32"], "--kv-group-size", "only together with --kv-bits"),
        (["--max-kv-size", "4"], "--max-kv-size", "more than 4"),
        (["--repetition-penalty", "-1"], "--repetition-penalty", "at least 0"),
        (["--repetition-penalty", "nan"], "--repetition-penalty", "at least 0"),
        (["--presence-penalty", "3"], "--presence-penalty", "from -2 to 2"),
        (["--frequency-penalty", "-3"], "--frequency-penalty", "from -2 to 2"),
        (["--presence-penalty", "1", "--presence-context-size", "-1"], "--presence-context-size", "at least 0"),
        (["--frequency-context-size", "5"], "--frequency-context-size", "only together with --frequency-penalty"),
        (["--xtc-probability", "2"], "--xtc-probability", "from 0 to 1"),
        (["--xtc-probability", "1", "--xtc-threshold", "0.6"], "--xtc-threshold", "from 0 to 0.5"),
        (["--xtc-threshold", "0.1"], "--xtc-threshold", "only together with --xtc-probability"),
        (["--logit-bias", "a=1"], "--logit-bias", "neither a token and a number"),
        (["--logit-bias", "1"], "--logit-bias", "neither a token and a number"),
        (["--logit-bias", '{"1": '], "--logit-bias", "neither a token and a number"),
        (["--logit-bias", '{"1": []}'], "--logit-bias", "neither a token and a number"),
        (["--logit-bias", '{"1": 1' + "0" * 400 + "}"], "--logit-bias", "neither a token and a number"),
        (["--logit-bias", "1=101"], "--logit-bias", "from -100 to 100"),
        (["--logit-bias", "-1=1"], "--logit-bias", "at least 0"),
        (["--logit-bias", "1=1", "--logit-bias", '{"1": 2}'], "--logit-bias", "names a token twice"),
        (["--chat-template-args", "{"], "--chat-template-args", "no JSON"),
        (["--chat-template-args", "[" * 100_000], "--chat-template-args", "no JSON"),
        (["--chat-template-args", "[]"], "--chat-template-args", "takes a JSON object"),
        (["--chat-template-args", '{"tools": []}'], "--chat-template-args", "tools is not yours"),
        (["--seed", str(1 << 70)], "--seed", "from -9223372036854775808"),
        (["--raw", "--chat-template-args", "{}"], "--raw", "--chat-template-args"),
        (["--shard", "layers"], "--shard", "tensor"),
    ],
)
def test_a_value_that_cannot_be_is_refused_by_name(
    own_environment: Mapping[str, str], options: list[str], flag: str, reason: str
) -> None:
    for command in (["generate", "--prompt", "x"], ["chat"]):
        if command == ["chat"] and "--raw" in options:
            continue
        result = CliRunner().invoke(app, [*command, *options], env={"COLUMNS": "400"})
        assert result.exit_code == 2, result.output
        assert flag in result.stderr
        assert reason in result.stderr
        assert result.stdout == ""


def test_another_model_keeps_what_does_not_depend_on_the_first() -> None:
    arguments = ModelArguments(draft="small", shard="tensor", chat_template_args='{"mood": "glad"}', kv_bits=4)
    sampling = SamplingArguments(seed=5, presence_penalty=1.0, logit_bias=["42=1"], temperature=1.0)
    other = model_options(arguments, sampling).for_another_model()
    assert other == model_options(ModelArguments(), SamplingArguments(seed=5, presence_penalty=1.0))


def test_all_programs_have_the_same_sampling_options() -> None:
    for program, command in ((app, ["generate"]), (app, ["chat"]), (chat_app, []), (generate_app, [])):
        text = CliRunner().invoke(program, [*command, "--help"], env={"COLUMNS": "200"}).stdout
        for name in SamplingArguments.__dataclass_fields__:
            assert f"--{name.replace('_', '-')} " in text


def test_a_prompt_cache_file_serves_the_next_question(
    llama: Path, own_environment: Mapping[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "code.safetensors"
    kept = ["--prompt-cache-file", str(file)]
    first, second = ([*kept, "--raw", "--prompt", f"{CODE}{end}"] for end in ("one", "two"))
    plain = answer(llama, *second[2:])
    assert plain["usage"]["prompt_tokens_details"] == {"cached_tokens": 0}
    answer(llama, *first)
    written_at = file.stat().st_mtime_ns
    served = answer(llama, *second)
    assert served["text"] == plain["text"]
    usage = served["usage"]
    assert usage["prompt_tokens"] - 5 < usage["prompt_tokens_details"]["cached_tokens"] < usage["prompt_tokens"]
    assert file.stat().st_mtime_ns == written_at
    result = generate(llama, *kept, "--raw", "--prompt", "something else")
    assert (result.exit_code, "this prompt begins with only 0 of them" in result.stderr) == (0, True)


def test_sliding_windows_keep_the_instructions(
    tiny_gpt_oss: Path, own_environment: Mapping[str, str], tmp_path: Path
) -> None:
    """What they hold cannot be cut, so it must be what the questions have in common."""
    told = ["--no-use-harmony", "--system", CODE, "--prompt-cache-file", str(tmp_path / "code.safetensors")]
    n_cached = [
        answer(tiny_gpt_oss, *told, "--prompt", question)["usage"]["prompt_tokens_details"]["cached_tokens"]
        for question in ("One?", "And two?")
    ]
    assert n_cached[0] == n_cached[1] > 30
    result = generate(tiny_gpt_oss, *told[:2], "x", *told[3:], "--prompt", "One?")
    assert (result.exit_code, "cannot be cut" in result.stderr) == (0, True)


def test_a_file_of_mlx_lm_serves_as_well(llama: Path, own_environment: Mapping[str, str], tmp_path: Path) -> None:
    file = tmp_path / "code.safetensors"
    mlx_lm_cache_prompt(llama, CODE.rstrip(), file)
    served = answer(llama, "--prompt", f"{CODE.rstrip()} # why?", "--prompt-cache-file", str(file))
    assert served["usage"]["prompt_tokens_details"]["cached_tokens"] > 50
    assert served["text"] == answer(llama, "--prompt", f"{CODE.rstrip()} # why?")["text"]
    result = generate(llama, "--prompt", CODE.replace("right", "other"), "--prompt-cache-file", str(file))
    assert (result.exit_code, result.stdout) == (1, "")
    assert "other tokens than those that were given" in result.stderr


def test_a_prompt_cache_file_that_cannot_be_is_refused(
    llama: Path, tiny_llama: Path, own_environment: Mapping[str, str], tmp_path: Path
) -> None:
    file, cut = tmp_path / "code.safetensors", tmp_path / "cut.safetensors"
    answer(llama, "--raw", "--prompt", CODE, "--prompt-cache-file", str(file))
    cut.write_bytes(file.read_bytes()[:-100])
    for model, place, reason in (
        (tiny_llama, file, "is not tiny-llama as it is here"),
        (llama, cut, "is cut short"),
        (llama, tmp_path / "cache", "must end in .safetensors"),
        (llama, tmp_path / "nowhere" / "cache.safetensors", "There is no folder"),
    ):
        result = generate(model, "--raw", "--prompt", CODE, "--prompt-cache-file", str(place))
        assert (result.exit_code, result.stdout) == (1, ""), result.output
        assert reason in result.stderr
