"""Our extension in a real VS Code, with the real server and scripted models: what a person sees and does."""

import sys
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest
import pytest_asyncio

from harmony_ls.lsp.chat.approvals import ALLOW_ONCE, NEVER
from tests.editors.vscode import CodeServer, Window, is_there, serving
from tests.models import Rule
from tests.session.support import calls, final, scripted_gpt_oss, tool_result

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(not is_there(), reason="needs VS Code (code-server) and chromium"),
]

DOCUMENT_OF_PATH = "const document = await vscode.workspace.openTextDocument(vscode.Uri.file(path));"

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
COMPLETIONS = [
    Rule("return ", "first + second"),
    Rule("return first", " + second"),
]

BROKEN = "def area(radius):\n    return radios ** 2\n"
MENDED = "def area(radius):\n    return radius ** 2\n"
PATCH = (
    "*** Begin Patch\n*** Update File: shapes.py\n@@\n def area(radius):\n-    return radios ** 2\n"
    "+    return radius ** 2\n*** Add File: notes.md\n+mended\n*** End Patch\n"
)
SUCCESS = "Success. Updated the following files:\nA notes.md\nM shapes.py"
ASKED = "Mend shapes.py."
ANSWERS = [
    Rule(f"{ASKED}<|end|><|start|>assistant", calls(PATCH, "functions.apply_patch")),
    Rule(tool_result(SUCCESS), final("It was a spelling mistake.")),
    # To a code action.
    Rule("<|start|>assistant", final(f"```python\n{MENDED}```")),
]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def code_server(
    tmp_path_factory: pytest.TempPathFactory,
    harmony_vocabulary_folder: Path,
    scripted_model: Callable[[Sequence[Rule]], Path],
) -> AsyncIterator[CodeServer]:
    folder = tmp_path_factory.mktemp("vscode")
    environment = {"TIKTOKEN_ENCODINGS_BASE": str(harmony_vocabulary_folder)}
    async with serving(folder, environment) as running:
        (folder / "configuration" / "harmony-ls").mkdir()
        (folder / "configuration" / "harmony-ls" / "config.toml").write_text(CONFIG)
        running.configure(
            harmony__server__command=SERVER,
            harmony__model=str(scripted_model(COMPLETIONS)),
            harmony__chat__model=str(scripted_gpt_oss(folder / "gpt-oss", ANSWERS, max_position_embeddings=32_768)),
            editor__quickSuggestions={"other": "off"},
        )
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def window(code_server: CodeServer, tmp_path: Path) -> AsyncIterator[Window]:
    (tmp_path / "project").mkdir()
    async with code_server.window(tmp_path / "project", tmp_path) as opened:
        yield opened


async def is_ready(window: Window) -> None:
    """Wait until the model that completes is loaded."""
    await window.see(window.page.locator(".statusbar-item", has_text="Harmony").locator(".codicon-check"))


async def test_the_grey_text_is_shown_and_tab_accepts_it(window: Window) -> None:
    await window.open("shapes.py", "def add(first, second):\n    \n", at=(1, 4))
    await is_ready(window)
    await window.write("return ")
    assert await window.ghost_text() == "first + second"
    await window.press("Tab")
    await window.becomes("shapes.py", "def add(first, second):\n    return first + second\n")


async def ask(window: Window, text: str = ASKED) -> None:
    """Say something in a new conversation, as the action "explain" does; the answer is not waited for."""
    opening = {"text": text, "attachments": []}
    await window.js("kept.turn = vscode.commands.executeCommand('harmony-ls.openChat', opening);", opening=opening)


async def answers(window: Window, text: str) -> None:
    """Wait for the end of the answer, and until the conversation that is shown holds ``text``."""
    await window.js("await kept.turn;")
    await window.until(
        """
        const shown = vscode.workspace.textDocuments.filter((each) => each.uri.scheme === 'harmony-chat');
        return shown.some((each) => each.getText().includes(text));
        """,
        text=text,
    )


async def test_a_patch_changes_the_buffer_and_one_undo_takes_it_back(window: Window) -> None:
    path = window.folder / "shapes.py"
    await window.open("shapes.py", BROKEN, at=(2, 0))
    await is_ready(window)
    await window.write("# not saved yet")
    await window.press("Escape")
    await ask(window)
    assert "shapes.py" in await window.choose(ALLOW_ONCE)
    await window.becomes("shapes.py", f"{MENDED}# not saved yet")
    assert path.read_text() == BROKEN, "saving is the person's"
    await answers(window, "It was a spelling mistake.")
    assert await window.js(f"{DOCUMENT_OF_PATH} return document.getText();", path=str(window.folder / "notes.md")) == (
        "mended\n"
    )
    await window.open("shapes.py")
    await window.command("undo")
    await window.becomes("shapes.py", f"{BROKEN}# not saved yet")


async def test_what_is_forbidden_is_not_done(window: Window) -> None:
    await window.open("shapes.py", BROKEN)
    await is_ready(window)
    await ask(window)
    await window.choose(NEVER)
    await window.js("await kept.turn;")
    assert await window.text("shapes.py") == BROKEN
    assert not await window.is_dirty("shapes.py")
    assert not (window.folder / "notes.md").exists()


async def test_a_quick_fix_is_bound_to_the_diagnostic_of_another(window: Window) -> None:
    await window.open("shapes.py", BROKEN)
    await is_ready(window)
    found = await window.js(
        """
        const uri = vscode.Uri.file(path);
        const place = new vscode.Range(1, 11, 1, 17);
        const others = vscode.languages.createDiagnosticCollection('other');
        const diagnostic = new vscode.Diagnostic(place, 'Undefined name `radios`');
        diagnostic.source = 'other';
        const fixes = () => vscode.commands.executeCommand(
            'vscode.executeCodeActionProvider', uri, place, vscode.CodeActionKind.QuickFix.value, 9);
        const before = await fixes();
        others.set(uri, [diagnostic]);
        const actions = await fixes();
        await vscode.workspace.applyEdit(actions[0].edit);
        return [before.length, actions.length];
        """,
        path=str(window.folder / "shapes.py"),
    )
    assert found == [0, 1]
    await window.becomes("shapes.py", MENDED)
    await window.command("undo")
    await window.becomes("shapes.py", BROKEN)


async def test_explain_opens_a_conversation_about_what_is_selected(window: Window) -> None:
    await window.open("shapes.py", BROKEN)
    await is_ready(window)
    await window.js(
        """
        const place = new vscode.Range(0, 0, 2, 0);
        const uri = vscode.Uri.file(path);
        const actions = await vscode.commands.executeCommand('vscode.executeCodeActionProvider', uri, place);
        const { command } = actions.find((each) => each.command?.command === 'harmony-ls.openChat');
        kept.turn = vscode.commands.executeCommand(command.command, ...command.arguments);
        """,
        path=str(window.folder / "shapes.py"),
    )
    await answers(window, "return radius ** 2")


async def test_a_command_that_needs_code_takes_the_file_along(window: Window) -> None:
    await window.open("shapes.py", BROKEN)
    await is_ready(window)
    await window.js("kept.turn = vscode.commands.executeCommand('harmony-ls.ask');")
    box = window.page.locator(".quick-input-widget")
    assert "/explain" in await window.see(box.locator(".quick-input-message"))
    await window.write("/explain")
    await window.press("Enter")
    await answers(window, "the file `shapes.py`")
    await answers(window, "return radius ** 2")
