"""``harmony-ls generate``: one answer as text or as JSON, its exit codes, and what happens to it half-way."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from harmony_ls.cli import app
from harmony_ls.cli.chat.opening import ChatOptions, make_tools, make_workspace
from harmony_ls.cli.legacy import chat_app, generate_app
from harmony_ls.settings import Settings
from harmony_ls.tools.tool import ApprovalRequest, Decision
from tests.cli.conftest import GptOss
from tests.models import Rule
from tests.session.support import final, said

LONG = "".join(f"Sentence {n} of a very long answer.\n" for n in range(100))
CALL = '<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>{"city":"Paris"}<|call|>'


@pytest.fixture(scope="session")
def model(gpt_oss: GptOss) -> Path:
    return gpt_oss(
        Rule(said("Hello"), final("Hi *there*, stranger.", reasoning="They greet me.")),
        Rule(said("weather?"), CALL),
        Rule(said("danger"), final("a\x1b[31mb\x07")),
    )


@pytest.fixture(scope="session")
def slow_model(gpt_oss: GptOss) -> Path:
    """A long answer takes seconds, so that there is time to stop it."""
    return gpt_oss(Rule(said("long"), final(LONG)))


def generate(model: Path | None, *arguments: str, stdin: str | bytes | None = None) -> Result:
    named = ["--model", str(model), "--trust-remote-code"] if model is not None else []
    return CliRunner().invoke(app, ["generate", *named, "--temperature", "0", *arguments], input=stdin)


def test_text_goes_to_stdout_and_nothing_else_does(model: Path, own_environment: Mapping[str, str]) -> None:
    result = generate(model, "--prompt", "Hello")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "Hi *there*, stranger.\n", "")


def test_reasoning_is_shown_on_request(model: Path, own_environment: Mapping[str, str]) -> None:
    for stream in ("--stream", "--no-stream"):
        result = generate(model, "--prompt", "Hello", "--show-reasoning", stream)
        assert (result.stdout, result.stderr) == ("Hi *there*, stranger.\n", "They greet me.\n")


def test_the_prompt_may_come_from_anywhere(model: Path, own_environment: Mapping[str, str], tmp_path: Path) -> None:
    file = tmp_path / "prompt.txt"
    file.write_text("Hello", encoding="utf-8-sig")
    for arguments, stdin in (["--prompt-file", str(file)], ""), (["--prompt-file", "-"], "Hello"), ([], "Hello"):
        assert generate(model, *arguments, stdin=stdin).stdout == "Hi *there*, stranger.\n"


def test_an_answer_ends_before_a_stop_text(model: Path, own_environment: Mapping[str, str]) -> None:
    result = generate(model, "--prompt", "Hello", "--stop", "nowhere", "--stop", ", str", "--json")
    answer = json.loads(result.stdout)
    assert (answer["text"], answer["finish_reason"]) == ("Hi *there*", "stop")


def test_json_is_one_object(model: Path, own_environment: Mapping[str, str]) -> None:
    result = generate(model, "--prompt", "Hello", "--json", "--logprobs", "2")
    answer = json.loads(result.stdout)
    assert (answer["text"], answer["reasoning"]) == ("Hi *there*, stranger.", "They greet me.")
    assert (answer["model"], answer["finish_reason"], answer["tool_calls"]) == (model.name, "stop", [])
    usage, logprobs = answer["usage"], answer["logprobs"]
    assert usage["completion_tokens"] == len(logprobs) > usage["reasoning_tokens"] > 0
    assert usage["prompt_tokens"] > 100
    assert answer["timings"]["tokens_per_second"] > 0
    assert [each["token"] for each in logprobs[:3]] == ["<|channel|>", "a", "n"]
    assert logprobs[1]["logprob"] == pytest.approx(-0.001, abs=1e-4)
    likeliest, second = logprobs[1]["top_logprobs"]
    assert likeliest["token"] == "a"
    assert likeliest["logprob"] > second["logprob"]


def test_json_comes_line_by_line_when_it_streams(model: Path, own_environment: Mapping[str, str]) -> None:
    result = generate(model, "--prompt", "weather?", "--json", "--stream")
    lines: list[dict[str, Any]] = [json.loads(line) for line in result.stdout.splitlines()]
    assert lines[0] == {"type": "tool_call_started", "index": 0, "name": "get_weather"}
    arguments = "".join(line["text"] for line in lines if line["type"] == "tool_call_delta")
    [call] = [line["tool_call"] for line in lines if line["type"] == "tool_call_finished"]
    assert arguments == call["arguments"] == '{"city":"Paris"}'
    assert lines[-1]["type"] == "finished"
    assert lines[-1]["finish_reason"] == "tool_calls"
    assert lines[-1]["tool_calls"] == [call]


def test_what_the_model_is_told_reaches_it(gpt_oss: GptOss, own_environment: Mapping[str, str]) -> None:
    channels = "# Valid channels: analysis, final. Channel must be included for every message.<|end|>"
    asked = "<|start|>user<|message|>Hi<|end|><|start|>assistant"
    told = "<|start|>developer<|message|># Instructions\n\nBe brief.<|end|>"
    model = gpt_oss(
        Rule(f"Reasoning: medium\n\n{channels}{asked}", final("Medium.")),
        Rule(f"Reasoning: high\n\n{channels}{asked}", final("High.")),
        Rule(f"{told}{asked}", final("Brief.")),
    )
    assert generate(model, "--prompt", "Hi").stdout == "Medium.\n"
    assert generate(model, "--prompt", "Hi", "--effort", "high").stdout == "High.\n"
    assert generate(model, "--prompt", "Hi", "--system", "Be brief.").stdout == "Brief.\n"


def test_nothing_speaks_to_the_terminal(model: Path, own_environment: Mapping[str, str]) -> None:
    assert generate(model, "--prompt", "danger").stdout == "a[31mb\n"
    result = generate(model, "--prompt", "danger", "--json")
    assert not set(result.stdout) & set("\x1b\x07")
    assert json.loads(result.stdout)["text"] == "a\x1b[31mb\x07"


def test_the_embedded_model_goes_on_with_a_text(own_environment: Mapping[str, str]) -> None:
    arguments = ["--raw", "--prompt", "def add(a, b):\n    return ", "--max-tokens", "4", "--json"]
    answer = json.loads(generate(None, *arguments).stdout)
    assert answer["model"] == "embedded"
    assert answer["text"].strip()
    assert answer["finish_reason"] in ("stop", "length")
    assert answer["usage"]["completion_tokens"] <= 4


def test_raw_knows_no_format(model: Path, own_environment: Mapping[str, str]) -> None:
    """A marker that stands in the text is text, and what the model writes of markers is no text."""
    assert generate(model, "--raw", "--prompt", said("Hello")).stdout == ""


def test_a_seed_makes_an_answer_repeatable(tiny_llama: Path, own_environment: Mapping[str, str]) -> None:
    def answer(seed: str) -> str:
        arguments = ["--raw", "--prompt", "def", "--max-tokens", "12", "--seed", seed, "--temperature", "2"]
        return generate(tiny_llama, *arguments).stdout

    assert answer("1") == answer("1") != answer("2")


@pytest.mark.parametrize(
    ("arguments", "stdin", "exit_code", "words"),
    [
        pytest.param(["--prompt", " "], None, 1, "The prompt is empty", id="empty"),
        pytest.param([], b"caf\xe9", 1, "not text in UTF-8: byte 3 is 0xe9", id="another encoding"),
        pytest.param(["--prompt-file", "nowhere"], None, 1, "nowhere cannot be read: No such file", id="no file"),
        pytest.param(["--prompt", "x", "--prompt-file", "y"], None, 2, "exclude each other", id="two prompts"),
        pytest.param(["--prompt", "x", "--raw", "--system", "y"], None, 2, "--raw goes on", id="raw with system"),
        pytest.param(["--prompt", "x", "--logprobs", "3"], None, 2, "--logprobs needs --json", id="logprobs"),
        pytest.param(["--prompt", "x", "--json", "--logprobs", "21"], None, 2, "20", id="too many logprobs"),
        pytest.param(["--prompt", "x", "--stop", ""], None, 2, "would stop every answer", id="empty stop"),
        pytest.param(["--prompt", "x", "--top-p", "0"], None, 2, "greater than 0", id="bad setting"),
        pytest.param(["--prompt", "x", "--seed", str(1 << 70)], None, 2, "seed is", id="bad seed"),
        pytest.param(["--prompt", "x" * 40_000], None, 1, "Shorten it", id="too long"),
    ],
)
def test_what_cannot_be_is_said(
    model: Path,
    own_environment: Mapping[str, str],
    arguments: list[str],
    stdin: bytes | None,
    exit_code: int,
    words: str,
) -> None:
    result = generate(model, *arguments, stdin=stdin)
    assert result.exit_code == exit_code, result.output
    assert words in " ".join(result.stderr.replace("│", " ").split())
    assert result.stdout == ""


def test_a_model_that_is_not_there_is_named(own_environment: Mapping[str, str]) -> None:
    result = CliRunner().invoke(app, ["generate", "--prompt", "x", "--model", "./nowhere"])
    assert result.exit_code == 1
    assert "There is no model folder ./nowhere" in result.stderr
    result = CliRunner().invoke(app, ["generate", "--prompt", "x"])
    assert result.exit_code == 1
    assert "No model is named" in result.stderr


def test_a_cut_answer_is_told(model: Path, own_environment: Mapping[str, str]) -> None:
    result = generate(model, "--prompt", "Hello", "--max-tokens", "48")
    assert (result.exit_code, result.stdout) == (0, "Hi *th\n")
    assert "cut off after 48 tokens (--max-tokens)." in result.stderr


def test_an_answer_that_fills_the_context_is_told_apart(
    model: Path, own_environment: Mapping[str, str], tmp_path: Path
) -> None:
    short = tmp_path / "short"
    shutil.copytree(model, short)
    config = json.loads((short / "config.json").read_text())
    prompt = json.loads(generate(model, "--prompt", "Hello", "--json").stdout)["usage"]["prompt_tokens"]
    (short / "config.json").write_text(json.dumps(config | {"max_position_embeddings": prompt + 48}))
    result = generate(short, "--prompt", "Hello", "--max-tokens", "1000")
    assert (result.exit_code, result.stdout) == (0, "Hi *th\n")
    assert "cut off after 48 tokens: the model's context is full." in result.stderr


def start(model: Path, environment: Mapping[str, str], *arguments: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "harmony_ls", "generate", "--model", str(model), "--trust-remote-code"]
    return subprocess.Popen(
        [*command, "--temperature", "0", "--prompt", "long", *arguments],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_ctrl_c_keeps_what_was_written(slow_model: Path, own_environment: Mapping[str, str]) -> None:
    with start(slow_model, own_environment, "--json", "--stream") as process:
        assert process.stdout is not None
        first = json.loads(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate()
    last = json.loads(rest.splitlines()[-1])
    assert process.returncode == 130
    assert (last["type"], last["finish_reason"]) == ("finished", "cancelled")
    assert last["text"].startswith(first["text"])
    assert len(last["text"]) < len(LONG)
    assert errors == ""


def test_nobody_has_to_read_to_the_end(slow_model: Path, own_environment: Mapping[str, str]) -> None:
    with start(slow_model, own_environment) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "Sentence 0 of a very long answer.\n"
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 0


def test_in_a_pipe_no_line_is_broken(gpt_oss: GptOss, own_environment: Mapping[str, str]) -> None:
    city = "Llanfair " * 20
    model = gpt_oss(Rule(said("weather?"), CALL.replace("Paris", city)))
    result = generate(model, "--prompt", "weather?")
    assert f'nobody offered:\n{{"city":"{city}"}}\n' in result.stderr


def test_the_older_names_do_the_same(model: Path, own_environment: Mapping[str, str]) -> None:
    arguments = ["--model", str(model), "--trust-remote-code", "--temperature", "0", "--max-tokens", "99"]
    result = CliRunner().invoke(generate_app, [*arguments, "--prompt", "Hello", "--reasoning-effort", "low"])
    assert (result.exit_code, result.stdout) == (0, "Hi *there*, stranger.\n")
    result = CliRunner().invoke(chat_app, arguments, input="Hello")
    assert (result.exit_code, result.stdout) == (0, "Hi *there*, stranger.\n")


def test_the_older_flags_offer_the_tools(model: Path, own_environment: Mapping[str, str]) -> None:
    """What a flag names is wanted; where it cannot be had, the reason is told and the chat goes on."""
    arguments = ["--model", str(model), "--trust-remote-code", "--temperature", "0", "--max-tokens", "99"]
    nowhere = {"DOCKER_HOST": "unix:///no/such/socket"}
    result = CliRunner().invoke(chat_app, [*arguments, "--browser", "--python"], input="Hello", env=nowhere)
    assert (result.exit_code, result.stdout) == (0, "Hi *there*, stranger.\n")
    assert "There is no python here" in result.stderr
    assert "There is no browser" not in result.stderr


async def test_a_tool_that_is_named_is_switched_on_and_asks(tmp_path: Path) -> None:
    async def refuse(_request: ApprovalRequest) -> Decision:
        return Decision.NO

    settings = Settings()
    for named, permissions in (
        (None, {"apply_patch": "ask"}),
        (("browser",), {"browser.open": "ask", "browser.find": "ask"}),
    ):
        options = ChatOptions(tmp_path, tools=named)
        without_docker = settings.model_copy(
            update={"tools": settings.tools.model_copy(update={"docker_host": "unix:///no/such/socket"})}
        )
        box = await make_tools(without_docker, options, make_workspace(settings, options), refuse)
        assert box.permissions == permissions
        assert set(box.why_absent) == ({"python"} if named is None else set())
        await box.close()
