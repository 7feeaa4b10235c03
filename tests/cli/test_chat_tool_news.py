"""Docker that is started while a chat at the terminal lasts: it is found at the next message, and answers are kept."""

import json
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from harmony_ls.cli.chat.conversation import Chat
from harmony_ls.cli.chat.opening import make_tools
from harmony_ls.cli.chat.tool_news import news_of_tools
from harmony_ls.tools.python.availability import forget_answers
from harmony_ls.tools.python.engine import address_of, connect
from tests.cli.conftest import GptOss
from tests.cli.pseudo_terminal import PseudoTerminal
from tests.models import Rule
from tests.session.support import calls, final, said, tool_result
from tests.tools.python.support import settings_with_docker

READY = "Ctrl-D leaves."
TURN_OVER = "prompt tokens computed"


def test_docker_that_starts_later_is_found_at_the_next_message(
    gpt_oss: GptOss, own_environment: Mapping[str, str], tmp_path: Path
) -> None:
    settings = settings_with_docker()
    with_docker = connect(settings)
    address = address_of(with_docker)
    with_docker.close()
    socket = tmp_path / "engine.sock"
    file = Path(own_environment["XDG_CONFIG_HOME"]) / "harmony-ls" / "config.toml"
    file.parent.mkdir(parents=True)
    values = {"python": "ask", "pythonImage": settings.python_image, "dockerHost": f"unix://{socket}"}
    file.write_text("\n".join(["[tools]", *(f"{name} = {json.dumps(value)}" for name, value in values.items()), ""]))
    model = gpt_oss(
        Rule(said("Six times seven?"), calls("print(6 * 7)", "python")),
        Rule(tool_result("42"), final("It is 42.")),
    )
    command = ["chat", "--model", str(model), "--trust-remote-code", "--temperature", "0"]
    with PseudoTerminal(command, folder=tmp_path, environment=own_environment, columns=200) as terminal:
        told = terminal.expect(READY)
        assert "python is not available: The python tool needs Docker, and no engine answers" in told
        assert "Start Docker; the next message will find it." in told
        terminal.say("Hello")
        assert "available" not in terminal.expect(TURN_OVER), "nothing has changed"

        socket.symlink_to(address.removeprefix("unix://"))
        deadline = time.monotonic() + 60
        while "python is available now." not in terminal_answer(terminal, "Hello"):
            assert time.monotonic() < deadline
        assert "available" not in terminal_answer(terminal, "Hello"), "it is told once"
        terminal.say("Six times seven?")
        terminal.expect("Allow?")
        terminal.say("y")
        assert "It is 42." in terminal.expect(TURN_OVER)
        terminal.say("/exit")
        assert terminal.exit_code() == 0


def terminal_answer(terminal: PseudoTerminal, message: str) -> str:
    """What is shown from a message to the end of its turn."""
    terminal.say(message)
    return terminal.expect(TURN_OVER)


def test_another_reason_is_told_once_and_what_was_answered_holds(chat: Chat, tmp_path: Path) -> None:
    socket = tmp_path / "engine.sock"
    tools = chat.settings.tools.model_copy(update={"docker_host": f"unix://{socket}"})
    chat.settings = chat.settings.model_copy(update={"tools": tools})
    chat.session.tools = chat.background.run(
        make_tools(chat.settings, chat.options, chat.workspace, chat.approvals.ask)
    )
    chat.on_loop(lambda: chat.session.tools.set_permission("apply_patch", "off"))
    at_first = chat.session.tools
    assert "No such file or directory" in at_first.why_absent["python"]
    forget_answers()
    assert chat.background.run(news_of_tools(chat)) == ""
    assert chat.session.tools is at_first

    socket.touch()  # something is there, and does not answer
    forget_answers()
    told = chat.background.run(news_of_tools(chat))
    assert told.startswith("python is not available: The python tool needs Docker, and no engine answers")
    assert "Connection refused" in told
    assert chat.session.tools.permissions == {"apply_patch": "off"}
    forget_answers()
    assert chat.background.run(news_of_tools(chat)) == ""


@pytest.mark.parametrize("named", [(), ("apply_patch",)])
def test_a_tool_that_nobody_wants_is_not_looked_for(chat: Chat, named: tuple[str, ...]) -> None:
    chat.options = replace(chat.options, tools=named)
    chat.session.tools = chat.background.run(
        make_tools(chat.settings, chat.options, chat.workspace, chat.approvals.ask)
    )
    before = chat.session.tools
    assert chat.background.run(news_of_tools(chat)) == ""
    assert chat.session.tools is before
