"""Whole conversations: at a pseudo-terminal with the real program, and through a pipe. The model follows a script."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from harmony_ls.cli import app
from tests.cli.conftest import GptOss
from tests.cli.pseudo_terminal import CTRL_C, CTRL_D, PseudoTerminal
from tests.models import Rule
from tests.session.support import final, said

READY = "Ctrl-D leaves."
TURN_OVER = "prompt tokens computed"
PATCH = "*** Begin Patch\n*** Update File: greet.py\n@@\n-print('hello')\n+print('hello, world')\n*** End Patch\n"
CALL = f"<|channel|>commentary to=functions.apply_patch <|constrain|>json<|message|>{PATCH}<|call|>"
LONG = "".join(f"Sentence {n} of a very long answer. " for n in range(120))

RULES = (
    Rule(said("Hello"), final("Hi *there*.", reasoning="They greet me.")),
    Rule(said("/etc is what?"), final("A folder.")),
    Rule(said("first\nsecond"), final("Two lines.")),
    Rule(said("notes.txt:\n```txt\nblue\n```\n\nWhich colour?"), final("Blue.")),
    Rule(f"<|start|>assistant<|channel|>final<|message|>Blue.<|end|>{said('Again?')}", final("Blue, as I said.")),
    Rule(said("change it"), CALL),
    Rule("M greet.py<|end|><|start|>assistant", final("It greets the world now.")),
    Rule("what to do instead.<|end|><|start|>assistant", final("As you wish.")),
)


@pytest.fixture(scope="session")
def model(gpt_oss: GptOss) -> Path:
    return gpt_oss(*RULES)


@pytest.fixture(scope="session")
def other_model(gpt_oss: GptOss) -> Path:
    return gpt_oss(Rule(said("Hello"), final("I am another.")))


@pytest.fixture(scope="session")
def slow_model(gpt_oss: GptOss) -> Path:
    """A long answer takes seconds, so that there is time to stop it."""
    return gpt_oss(*RULES[:2], Rule(said("long"), final(LONG)))


def at_terminal(
    model: Path, folder: Path, environment: Mapping[str, str], *arguments: str, **options: Any
) -> PseudoTerminal:
    command = ["chat", "--model", str(model), "--trust-remote-code", "--temperature", "0", *arguments]
    return PseudoTerminal(command, folder=folder, environment=environment, **options)


def test_a_conversation(model: Path, other_model: Path, tmp_path: Path, own_environment: Mapping[str, str]) -> None:
    saved = tmp_path / "saved.json"
    (tmp_path / "notes.txt").write_text("blue\n")
    with at_terminal(model, tmp_path, own_environment, "--no-tools") as terminal:
        terminal.expect(READY)
        terminal.say("")
        terminal.say("Hello")
        terminal.expect("They greet me.")
        assert "Hi there." in terminal.expect(TURN_OVER)
        terminal.say("/efort")
        terminal.expect("There is no command /efort. Did you mean /effort?")
        terminal.say("/effort high")
        terminal.expect("The reasoning effort is high.")
        terminal.say("//etc is what?")
        assert "A folder." in terminal.expect(TURN_OVER)
        terminal.say("/undo")
        terminal.expect("Taken back: /etc is what?")
        terminal.say("first\\")
        terminal.say("second")
        assert "Two lines." in terminal.expect(TURN_OVER)
        terminal.say("/undo")
        terminal.expect("Taken back: first second")
        terminal.say("\x1b[200~first\nsecond\x1b[201~")  # as a terminal marks what is pasted
        assert "Two lines." in terminal.expect(TURN_OVER)
        terminal.say(f"/save {saved}")
        terminal.expect("Saved to")
        terminal.say("/status")
        terminal.expect("turns 2")
        terminal.say("/file nowhere.txt notes.txt")
        terminal.expect("nowhere.txt cannot be read: No such file or directory.")
        terminal.say("/file notes.txt")
        terminal.expect("With the next message: notes.txt")
        terminal.say("Which colour?")
        assert "Blue." in terminal.expect(TURN_OVER)
        terminal.say("/model ./nowhere")
        terminal.expect("There is no model folder ./nowhere")
        terminal.say(f"/model {other_model}")
        terminal.expect(f"{other_model.name} ·")
        terminal.say("Hello")
        assert "I am another." in terminal.expect(TURN_OVER)
        terminal.say("/clear")
        terminal.expect("This conversation is not saved. Begin a new one all the same? [y/N]:")
        terminal.say("")
        terminal.expect("Nothing was cleared.")
        terminal.say("/clear")
        terminal.expect("all the same? [y/N]:")
        terminal.say("y")
        terminal.expect("The conversation is empty.")
        terminal.say(f"/load {saved}")
        terminal.expect("Loaded 2 turns")
        terminal.expect("Two lines.")
        terminal.expect(">")
        terminal.send(CTRL_D)
        assert terminal.exit_code() == 0
        assert "<|" not in terminal.words
    assert [turn[0]["content"] for turn in json.loads(saved.read_text())["turns"]] == ["Hello", "first\nsecond"]
    history = tmp_path / "state" / "harmony-ls" / "chat_history.jsonl"
    assert json.loads(history.read_text().splitlines()[0]) == "Hello"
    assert history.stat().st_mode & 0o777 == 0o600


def test_ctrl_c_stops_the_answer_and_not_the_program(
    slow_model: Path, tmp_path: Path, own_environment: Mapping[str, str]
) -> None:
    """In 40 columns, where everything is wrapped."""
    with at_terminal(slow_model, tmp_path, own_environment, "--no-tools", columns=40) as terminal:
        terminal.expect(READY)
        terminal.say("long")
        terminal.expect("Sentence 3 of a")
        terminal.send(CTRL_C)
        terminal.expect("Stopped. What was written is kept.")
        terminal.expect(TURN_OVER)
        terminal.send("half a line")
        terminal.expect("half a line")
        terminal.press(CTRL_C, until="> ")
        terminal.press(CTRL_C, until="To leave, press Ctrl-D or type /exit.")
        terminal.say("/undo")
        terminal.expect("Taken back: long")
        terminal.say("Hello")
        assert "Hi there." in terminal.expect(TURN_OVER)
        terminal.say("/exit")
        assert terminal.exit_code() == 0
        assert "Sentence 119" not in terminal.words
        assert "Traceback" not in terminal.words


def test_a_change_is_asked_for_and_can_be_taken_back(
    model: Path, tmp_path: Path, own_environment: Mapping[str, str]
) -> None:
    file = tmp_path / "greet.py"
    file.write_text("print('hello')\n")
    with at_terminal(model, tmp_path, own_environment) as terminal:
        terminal.expect(READY)
        terminal.say("change it")
        assert "-print('hello') +print('hello, world')" in terminal.expect("Allow? [y]es,")
        terminal.say("perhaps")
        terminal.expect("v never in this chat: apply_patch is off then")
        terminal.expect("Allow? [y]es,")
        terminal.say("n")
        assert "As you wish." in terminal.expect(TURN_OVER)
        assert file.read_text() == "print('hello')\n"
        terminal.say("change it")
        terminal.expect("Allow? [y]es,")
        terminal.send(CTRL_C)
        terminal.expect("Stopped.")
        assert file.read_text() == "print('hello')\n"
        terminal.expect(TURN_OVER)
        terminal.say("change it")
        terminal.expect("Allow? [y]es,")
        terminal.say("y")
        assert "It greets the world now." in terminal.expect(TURN_OVER)
        assert file.read_text() == "print('hello, world')\n"
        terminal.say("/undo")
        terminal.expect("Take that back too?")
        terminal.say("y")
        terminal.expect("modified greet.py")
        assert file.read_text() == "print('hello')\n"
        terminal.say("/tools apply_patch allow")
        terminal.expect("apply_patch: allow")
        terminal.say("change it")
        assert "+print('hello, world')" in terminal.expect("Updated the following files")
        terminal.expect(TURN_OVER)
        assert file.read_text() == "print('hello, world')\n"
        file.write_text("print('hello')\n")
        terminal.say("/tools apply_patch ask")
        terminal.expect("apply_patch: ask")
        terminal.say("change it")
        terminal.expect("Allow? [y]es,")
        terminal.say("v")
        terminal.expect("apply_patch is off in this chat. /tools apply_patch ask turns it on again.")
        assert "As you wish." in terminal.expect(TURN_OVER)
        assert file.read_text() == "print('hello')\n"
        terminal.say("/tools")
        terminal.expect("apply_patch: off")
        terminal.expect(">")
        terminal.send(CTRL_D)
        assert terminal.exit_code() == 0


def test_without_colours_nothing_moves_the_cursor(
    model: Path, tmp_path: Path, own_environment: Mapping[str, str]
) -> None:
    environment = {**own_environment, "NO_COLOR": "1", "TERM": "dumb"}
    with at_terminal(model, tmp_path, environment, "--no-tools", "--hide-reasoning") as terminal:
        terminal.expect(READY)
        terminal.say("Hello")
        assert "Hi *there*." in terminal.expect(TURN_OVER)
        terminal.expect(">")
        terminal.send(CTRL_D)
        assert terminal.exit_code() == 0
        assert "\x1b" not in terminal.output
        assert "They greet me" not in terminal.output


def test_ctrl_c_while_the_model_is_loaded_ends_the_program(
    model: Path, tmp_path: Path, own_environment: Mapping[str, str]
) -> None:
    # Imports are what takes long.
    with at_terminal(model, tmp_path, own_environment, is_fresh=True) as terminal:
        terminal.expect("Loading")
        terminal.send(CTRL_C)
        terminal.expect("Stopped.")
        assert terminal.exit_code() == 130
        assert "Traceback" not in terminal.words


def through_a_pipe(model: Path | None, message: str | bytes, *arguments: str) -> Result:
    named = ["--model", str(model), "--trust-remote-code", "--temperature", "0"] if model is not None else []
    return CliRunner().invoke(app, ["chat", *named, *arguments], input=message)


def test_stdin_is_one_message_and_stdout_is_the_answer(model: Path, own_environment: Mapping[str, str]) -> None:
    result = through_a_pipe(model, "first\nsecond\n")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "Two lines.\n", "")


def test_without_a_terminal_nothing_is_changed(
    model: Path, own_environment: Mapping[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "greet.py"
    file.write_text("print('hello')\n")
    result = through_a_pipe(model, "change it")
    assert (result.exit_code, result.stdout) == (0, "As you wish.\n")
    assert "apply_patch was not allowed: there is no terminal to ask at" in " ".join(result.stderr.split())
    assert file.read_text() == "print('hello')\n"


def test_a_permission_of_the_settings_holds_in_a_pipe(
    model: Path, own_environment: Mapping[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = tmp_path / "config" / "harmony-ls" / "config.toml"
    settings.parent.mkdir(parents=True)
    settings.write_text('tools.applyPatch = "allow"\n')
    file = tmp_path / "greet.py"
    file.write_text("print('hello')\n")
    result = through_a_pipe(model, "change it")
    assert (result.exit_code, result.stdout) == (0, "It greets the world now.\n")
    assert file.read_text() == "print('hello, world')\n"


def test_a_conversation_goes_on_through_a_pipe(model: Path, own_environment: Mapping[str, str], tmp_path: Path) -> None:
    saved = tmp_path / "saved.json"
    turn = [{"role": "user", "content": "Which colour?"}, {"role": "assistant", "content": "Blue."}]
    content = {
        "format": "harmony-ls conversation",
        "version": 1,
        "model": model.name,
        "started": "2026-01-02",
        "effort": "low",
        "n_hidden": 0,
        "summary": "",
        "turns": [turn],
    }
    saved.write_text(json.dumps(content))
    result = through_a_pipe(model, "Again?", "--load", str(saved))
    assert (result.exit_code, result.stdout) == (0, "Blue, as I said.\n")
    saved.write_text("{}")
    result = through_a_pipe(model, "Hello", "--load", str(saved))
    assert result.exit_code == 1
    assert "is not a conversation" in result.stderr


@pytest.mark.parametrize(
    ("message", "arguments", "exit_code", "words"),
    [
        pytest.param(b"caf\xe9", [], 1, "not text in UTF-8: byte 3 is 0xe9", id="another encoding"),
        pytest.param(b" \n", [], 1, "Nothing came on stdin", id="nothing"),
        pytest.param(b"x" * 60_000, [], 1, "too long", id="too long"),
        pytest.param(b"x", ["--tools", "shell"], 2, "there is no tool shell", id="unknown tool"),
        pytest.param(b"x", ["--tools", "apply_patch", "--no-tools"], 2, "exclude each other", id="contradiction"),
        pytest.param(b"x", ["--temperature", "9"], 2, "less than or equal to 5", id="bad setting"),
        pytest.param(b"x", ["--adapter", "nowhere"], 1, "There is no adapter folder nowhere", id="no adapter"),
        pytest.param(b"x", ["--instructions-file", "nowhere"], 1, "cannot be read", id="no instructions"),
        pytest.param(b"x", ["--use-harmony"], 0, "", id="Harmony"),
    ],
)
def test_what_cannot_be_is_said(
    model: Path,
    own_environment: Mapping[str, str],
    message: bytes,
    arguments: list[str],
    exit_code: int,
    words: str,
) -> None:
    result = through_a_pipe(model, message, *arguments)
    assert result.exit_code == exit_code, result.output
    assert words in " ".join(result.stderr.replace("│", " ").split())


def test_without_a_model_good_ones_are_named(own_environment: Mapping[str, str]) -> None:
    result = through_a_pipe(None, "Hello")
    assert result.exit_code == 1
    assert "chat.model" in result.stderr
    assert "mlx-community/gpt-oss-20b" in result.stderr
