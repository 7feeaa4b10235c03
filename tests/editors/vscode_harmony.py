"""harmony-ls in VS Code: how the tests set it up, and what a person does with it there."""

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.editors.vscode import CodeServer, Window, is_there
from tests.models import Rule, build_scripted_model
from tests.session.support import scripted_gpt_oss

__all__ = ["BROKEN", "MARKS", "MENDED", "SERVER", "answers", "ask", "is_ready", "set_up", "shows", "stored"]

MARKS = [
    pytest.mark.asyncio(loop_scope="package"),
    pytest.mark.skipif(not is_there(), reason="needs VS Code (code-server) and chromium"),
]

SERVER = [sys.executable, "-P", "-m", "harmony_ls", "lsp", "--trust-remote-code"]
# On a machine under load an answer may take longer than a person would wait for.
CONFIG = """
[chat]
temperature = 0
[inlineCompletion]
deadlineMs = 10000
[inlineCompletion.fim]
prefix = "<|fim_prefix|>"
suffix = "<|fim_suffix|>"
middle = "<|fim_middle|>"
"""

BROKEN = "def area(radius):\n    return radios ** 2\n"
MENDED = "def area(radius):\n    return radius ** 2\n"


def set_up(code_server: CodeServer, models: Path, answers: Sequence[Rule], completions: Sequence[Rule] = ()) -> None:
    """Have the windows that open next start servers whose models, kept in the new folder ``models``, follow rules."""
    configuration = code_server.folder / "configuration" / "harmony-ls"
    configuration.mkdir(exist_ok=True)
    (configuration / "config.toml").write_text(CONFIG)
    code_server.configure(
        harmony__server__command=SERVER,
        harmony__model=str(build_scripted_model(models / "completions", completions)),
        harmony__chat__model=str(scripted_gpt_oss(models / "gpt-oss", answers, max_position_embeddings=32_768)),
        editor__quickSuggestions={"other": "off"},
    )


async def is_ready(window: Window) -> None:
    """Wait until the model that completes is loaded."""
    await window.see(window.page.locator(".statusbar-item", has_text="Harmony").locator(".codicon-check"))


async def ask(window: Window, text: str) -> None:
    """Say something in a new conversation, as the action "explain" does; the answer is not waited for."""
    opening = {"text": text, "attachments": []}
    await window.js("kept.turn = vscode.commands.executeCommand('harmony-ls.openChat', opening);", opening=opening)


async def answers(window: Window, text: str) -> None:
    """Wait for the end of the answer, and until the conversation that is shown holds ``text``."""
    await window.js("await kept.turn;")
    await shows(window, text)


async def shows(window: Window, text: str) -> None:
    """Wait until a conversation that is shown holds ``text``, whether its turn has ended or not."""
    await window.until(
        """
        const shown = vscode.workspace.textDocuments.filter((each) => each.uri.scheme === 'harmony-chat');
        return shown.some((each) => each.getText().includes(text));
        """,
        text=text,
    )


async def stored(window: Window, name: str) -> str:
    """The text of a file of the folder, open or not."""
    document = "const document = await vscode.workspace.openTextDocument(vscode.Uri.file(path));"
    return str(await window.js(f"{document} return document.getText();", path=str(window.folder / name)))
