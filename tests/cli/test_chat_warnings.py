"""What is logged while a turn is drawn: it is told once, and spoils nothing of what is drawn."""

import io
from pathlib import Path

from rich.console import Console

from harmony_ls.cli.chat import loop
from harmony_ls.cli.chat.conversation import Chat
from harmony_ls.cli.chat.program import warning_teller
from harmony_ls.cli.chat.view import TerminalView
from harmony_ls.cli.model_choice import own_warnings
from harmony_ls.engine.models.model import ModelSpec
from harmony_ls.messages import ToolCall
from harmony_ls.session.chat_model import load_chat_model
from harmony_ls.session.session import Session
from harmony_ls.tools.tool import ToolOutput
from harmony_ls.tools.toolbox import ToolBox
from tests.cli.conftest import GptOss
from tests.cli.screen import Screen
from tests.models import Rule
from tests.session.support import Oracle, calls, final, said, tool_result


class Broken(Oracle):
    """A tool that fails as nobody expects it, which is logged."""

    async def run(self, call: ToolCall) -> ToolOutput:
        raise KeyError("why")


def test_a_warning_during_a_turn_has_a_line_of_its_own(chat: Chat, gpt_oss: GptOss, tmp_path: Path) -> None:
    failed = Rule(tool_result("oracle failed: KeyError: 'why'"), final("It does not know."))
    folder = gpt_oss(Rule(said("Ask it."), calls('{"question": "why"}')), failed)
    spec = ModelSpec(str(folder), trust_remote_code=True)
    model = chat.background.run(load_chat_model(chat.session.chat_model.engine, spec))
    chat.session = Session(model, chat.settings.chat, tools=ToolBox([Broken({})], {"oracle": "allow"}))
    paper = io.StringIO()
    console, errors = (
        Console(file=paper, force_terminal=True, width=80, height=24, legacy_windows=False) for _ in range(2)
    )
    chat.view = TerminalView(console, hides_reasoning=False)
    with own_warnings(warning_teller(chat.approvals, errors)):
        assert loop._respond(chat, "Ask it.")
    screen = Screen()
    screen.feed(paper.getvalue())
    lines = screen.text.split("\n")
    assert lines.count("The tool oracle failed") == 1, screen.text
    assert "It does not know." in lines
    assert not any("running" in line or "reading" in line for line in lines), screen.text
