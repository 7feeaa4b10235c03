"""What /undo takes back: the last turn, and of the changes of files those alone that this turn has made."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.cli.conftest import GptOss
from tests.cli.pseudo_terminal import CTRL_C, PseudoTerminal
from tests.models import Rule
from tests.session.support import calls, final, said

READY = "Ctrl-D leaves."
TURN_OVER = "prompt tokens computed"


def patch(old: str, new: str) -> str:
    text = f"*** Begin Patch\n*** Update File: a.txt\n@@\n-{old}\n+{new}\n*** End Patch\n"
    return calls(text, "functions.apply_patch")


@pytest.fixture(scope="session")
def model(gpt_oss: GptOss) -> Path:
    return gpt_oss(
        Rule(said("first"), patch("one", "two")),
        Rule(said("second"), patch("two", "three")),
        Rule("M a.txt<|end|><|start|>assistant", final("It is changed.")),
    )


def test_only_what_a_turn_changed_is_taken_back_with_it(
    model: Path, tmp_path: Path, own_environment: Mapping[str, str]
) -> None:
    settings = tmp_path / "config" / "harmony-ls" / "config.toml"
    settings.parent.mkdir(parents=True)
    settings.write_text('tools.applyPatch = "allow"\n')
    file = tmp_path / "a.txt"
    file.write_text("one\n")
    command = ["chat", "--model", str(model), "--trust-remote-code", "--temperature", "0"]
    with PseudoTerminal(command, folder=tmp_path, environment=own_environment) as terminal:
        terminal.expect(READY)
        for message in ("first", "second"):
            terminal.say(message)
            assert "It is changed." in terminal.expect(TURN_OVER)
        assert file.read_text() == "three\n"

        terminal.say("/undo")
        terminal.expect("This turn changed files once. Take that back too?")
        terminal.send(CTRL_C)  # nothing is taken back
        terminal.expect(">")
        terminal.say("/status")
        terminal.expect("turns 2")
        assert file.read_text() == "three\n"

        file.write_text("mine\n")  # what cannot be taken back stays to be taken back
        terminal.say("/undo")
        terminal.expect("Take that back too?")
        terminal.say("y")
        terminal.expect("a.txt was changed in the meantime.")
        terminal.expect("say /undo again and answer n.")
        terminal.say("/status")
        terminal.expect("turns 2")
        assert file.read_text() == "mine\n"

        file.write_text("three\n")
        terminal.say("/undo")
        terminal.expect("Take that back too?")
        terminal.say("n")
        terminal.expect("Taken back: second")
        assert file.read_text() == "three\n"

        terminal.say("/undo")  # would take the second turn's change back instead
        terminal.expect("Files stay as they are: later changes of them were kept.")
        terminal.expect("Taken back: first")
        assert file.read_text() == "three\n"

        file.write_text("one\n")
        terminal.say("first")
        terminal.expect(TURN_OVER)
        terminal.say("/undo")
        terminal.expect("Take that back too?")
        terminal.say("y")
        terminal.expect("modified a.txt")
        terminal.expect("Taken back: first")
        assert file.read_text() == "one\n"
        terminal.say("/undo")
        terminal.expect("There is nothing to take back.")
        terminal.say("/exit")
        assert terminal.exit_code() == 0
