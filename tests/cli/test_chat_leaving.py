"""How a command ends that is not let to its end: another Ctrl-C, a signal, a terminal that is gone."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from harmony_ls.cli.background import on_interrupt, stopped_by_interrupt
from tests.cli.conftest import GptOss
from tests.cli.pseudo_terminal import CTRL_C, PseudoTerminal
from tests.models import Rule
from tests.session.support import final, said

READY = "Ctrl-D leaves."
LONG = "".join(f"Sentence {n} of a very long answer. " for n in range(200))
# What is written last waits for the step that hangs.
WRITTEN = "I begin.\nAnd on"
HANGING = '''

import threading


class Model(Model):
    """As above, but the step that would end the answer of the first rule never ends itself; who opens GATE waits for
    its beginning."""

    def next_token(self, text):
        written = self.args.script[0]["reply"][:-1]
        if text[-len(written) :] == written:
            open(GATE).close()
            threading.Event().wait()
        return super().next_token(text)
'''

WAITING = '''

import threading


class Model(Model):
    """As above, but when the first line of the first rule is shown, a step waits for GATE, and the next never ends."""

    def next_token(self, text):
        reply = self.args.script[0]["reply"]
        shown, more = reply[: -len("nd on.") - 1], reply[: -len("d on.") - 1]
        if text[-len(shown) :] == shown:
            open(GATE).close()
        elif text[-len(more) :] == more:
            threading.Event().wait()
        return super().next_token(text)
'''


def gated(model: Path, code: str) -> Path:
    """Add code to a model that opens GATE, a pipe, and so waits for who opens the other end."""
    os.mkfifo(gate_of(model))
    with (model / "scripted.py").open("a") as file:
        file.write(code.replace("GATE", repr(str(gate_of(model)))))
    return model


def gate_of(model: Path) -> Path:
    return model.with_name(f"{model.name}-gate")


def pass_gate(model: Path) -> None:
    """Wait until the model has come to its gate, and let it through."""
    gate_of(model).write_text("")


@pytest.fixture(scope="session")
def hanging_model(gpt_oss: GptOss) -> Path:
    return gated(gpt_oss(Rule(said("hang"), final(f"{WRITTEN}."))), HANGING)


@pytest.fixture(scope="session")
def slow_model(gpt_oss: GptOss) -> Path:
    """A long answer takes seconds, so that there is time to end it."""
    return gpt_oss(Rule(said("long"), final(LONG)))


def options(model: Path) -> list[str]:
    return ["--model", str(model), "--trust-remote-code", "--temperature", "0"]


def start(environment: Mapping[str, str], *arguments: str) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-m", "harmony_ls", *arguments],
        env={**os.environ, **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    process.stdin.write("hang")
    process.stdin.close()
    process.stdin = None
    return process


@pytest.mark.parametrize("command", ["generate", "chat"])
def test_another_ctrl_c_ends_a_step_that_hangs(
    command: str, hanging_model: Path, own_environment: Mapping[str, str]
) -> None:
    with start(own_environment, command, *options(hanging_model)) as process:
        assert process.stdout is not None
        assert process.stdout.read(len(WRITTEN)) == WRITTEN
        pass_gate(hanging_model)
        for _ in range(20):  # signals that come at once are one signal, and what one of them does takes its time
            process.send_signal(signal.SIGINT)
            try:
                process.wait(2)
            except subprocess.TimeoutExpired:
                continue
            break
        has_ended = process.poll() is not None
        process.kill()
        _, errors = process.communicate()
    assert has_ended
    assert process.returncode == 130
    assert errors.strip() == "Stopped."


@pytest.mark.parametrize("command", ["generate", "chat"])
def test_a_step_that_hangs_does_not_make_an_error_of_a_reader_that_has_enough(
    command: str, gpt_oss: GptOss, own_environment: Mapping[str, str]
) -> None:
    model = gated(gpt_oss(Rule(said("hang"), final(f"{WRITTEN}."))), WAITING)
    with start(own_environment, command, *options(model)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "I begin.\n"
        process.stdout.close()
        pass_gate(model)
        assert process.stderr is not None
        assert process.stderr.read() == ""
    assert process.returncode == 0


def test_a_step_that_hangs_does_not_change_the_exit_code_of_a_signal(
    hanging_model: Path, own_environment: Mapping[str, str]
) -> None:
    with start(own_environment, "chat", *options(hanging_model)) as process:
        assert process.stdout is not None
        assert process.stdout.read(len(WRITTEN)) == WRITTEN
        pass_gate(hanging_model)
        process.terminate()
        _, errors = process.communicate()
    assert process.returncode == 128 + signal.SIGTERM
    assert errors == ""


def test_at_a_terminal_another_ctrl_c_ends_the_program_only_after_a_while(
    hanging_model: Path, tmp_path: Path, own_environment: Mapping[str, str]
) -> None:
    arguments = ["chat", "--no-tools", *options(hanging_model)]
    with PseudoTerminal(arguments, folder=tmp_path, environment=own_environment) as terminal:
        terminal.expect(READY)
        terminal.say("hang")
        terminal.expect(WRITTEN)
        pass_gate(hanging_model)
        terminal.send(CTRL_C)
        terminal.expect("stopping…")
        terminal.send(CTRL_C)
        terminal.expect("stopping… Ctrl-C ends the program, and what is not saved is lost.")
        terminal.send(CTRL_C)
        terminal.expect("Stopped.")
        assert terminal.exit_code() == 130
        assert "Traceback" not in terminal.words


@pytest.mark.parametrize("ignores_hang_up", [False, True], ids=["hears of it", "does not hear of it"])
@pytest.mark.parametrize("moment", ["at the prompt", "in an answer"])
def test_a_terminal_that_is_closed_ends_the_program_quietly(
    moment: str, ignores_hang_up: bool, slow_model: Path, tmp_path: Path, own_environment: Mapping[str, str]
) -> None:
    errors = tmp_path / "errors"
    with PseudoTerminal(
        ["chat", "--no-tools", *options(slow_model)],
        folder=tmp_path,
        environment=own_environment,
        errors=errors,
        ignores_hang_up=ignores_hang_up,
    ) as terminal:
        terminal.expect(READY)
        terminal.expect(">")
        if moment == "in an answer":
            terminal.say("long")
            terminal.expect("Sentence 3 of a")
        assert terminal.hang_up() == 128 + signal.SIGHUP
    assert errors.read_text() == ""


def test_the_first_ctrl_c_stops_and_the_next_one_raises() -> None:
    stopped = []
    before = signal.getsignal(signal.SIGINT)
    with stopped_by_interrupt(lambda: stopped.append("stopped")):
        signal.raise_signal(signal.SIGINT)
        assert stopped == ["stopped"]
        with on_interrupt(lambda: stopped.append("something else")):
            signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert stopped == ["stopped", "something else"]
    assert signal.getsignal(signal.SIGINT) is before
