"""Our extension in a real VS Code, with the real server and scripted models: what a person sees and does."""

import pytest

from harmony_ls.features.chat.attachments import Attachment, with_attachments
from harmony_ls.features.chat.slash import expanded
from harmony_ls.lsp.chat.approvals import ALLOW_ONCE, NEVER
from tests.editors.vscode import CodeServer, Window
from tests.editors.vscode_harmony import BROKEN, MARKS, MENDED, answers, ask, is_ready, set_up, shows, stored
from tests.models import Rule
from tests.session.support import calls, final, said, tool_result

pytestmark = MARKS

COMPLETIONS = [
    Rule("return ", "first + second"),
    Rule("return first", " + second"),
]

PATCH = (
    "*** Begin Patch\n*** Update File: shapes.py\n@@\n def area(radius):\n-    return radios ** 2\n"
    "+    return radius ** 2\n*** Add File: notes.md\n+mended\n*** End Patch\n"
)
SUCCESS = "Success. Updated the following files:\nA notes.md\nM shapes.py"
ASKED = "Mend shapes.py."
WHOLE = Attachment("`shapes.py`", BROKEN, "python")


def explaining(attachment: Attachment, answer: str) -> Rule:
    """Asked to explain what is attached, and nothing else."""
    asked = expanded("/explain", frozenset({"file"}))
    return Rule(said(with_attachments(asked, [attachment])), final(answer))


ANSWERS = [
    Rule(said(ASKED), calls(PATCH, "functions.apply_patch")),
    Rule(tool_result(SUCCESS), final("It was a spelling mistake.")),
    explaining(WHOLE, "A function that fails."),
    Rule(said("Tell me all."), final("All of it. " * 3000)),
    Rule(said("Tell me much."), final("Much of it. " * 300)),
    Rule(said("And then?"), final("That was the second answer.")),
]


CONVERSATION = "vscode.workspace.textDocuments.find((each) => each.uri.scheme === 'harmony-chat')"


@pytest.fixture(autouse=True, scope="module")
def models(code_server: CodeServer, tmp_path_factory: pytest.TempPathFactory) -> None:
    set_up(code_server, tmp_path_factory.mktemp("models"), ANSWERS, COMPLETIONS)


async def test_the_grey_text_is_shown_and_tab_accepts_it(window: Window) -> None:
    await window.open("shapes.py", "def add(first, second):\n    \n", at=(1, 4))
    await is_ready(window)
    await window.write("return ")
    assert await window.ghost_text() == "first + second"
    await window.press("Tab")
    await window.becomes("shapes.py", "def add(first, second):\n    return first + second\n")


async def test_a_patch_changes_the_buffer_and_one_undo_takes_it_back(window: Window) -> None:
    path = window.folder / "shapes.py"
    await window.open("shapes.py", BROKEN, at=(2, 0))
    await is_ready(window)
    await window.write("# not saved yet")
    await window.press("Escape")
    await ask(window, ASKED)
    assert "shapes.py" in await window.choose(ALLOW_ONCE)
    await window.becomes("shapes.py", f"{MENDED}# not saved yet")
    assert path.read_text() == BROKEN, "saving is the person's"
    await answers(window, "It was a spelling mistake.")
    assert await stored(window, "notes.md") == "mended\n"
    await window.open("shapes.py")
    await window.press("Control+Z")
    await window.becomes("shapes.py", f"{BROKEN}# not saved yet")


async def test_what_is_forbidden_is_not_done(window: Window) -> None:
    await window.open("shapes.py", BROKEN)
    await is_ready(window)
    await ask(window, ASKED)
    await window.choose(NEVER)
    await window.js("await kept.turn;")
    assert await window.text("shapes.py") == BROKEN
    assert not await window.is_dirty("shapes.py")
    assert not (window.folder / "notes.md").exists()


async def test_a_command_that_needs_code_takes_the_file_along(window: Window) -> None:
    await window.open("shapes.py", BROKEN)
    await is_ready(window)
    await window.js("kept.turn = vscode.commands.executeCommand('harmony-ls.ask');")
    box = window.page.locator(".quick-input-widget")
    assert "/explain" in await window.see(box.locator(".quick-input-message"))
    await window.write("/explain")
    await window.press("Enter")
    await answers(window, "the file `shapes.py`")
    await answers(window, "A function that fails.")


async def test_a_cancelled_answer_keeps_what_came_and_the_conversation_goes_on(window: Window) -> None:
    await window.open("shapes.py", BROKEN)
    await is_ready(window)
    await ask(window, "Tell me all.")
    await shows(window, "All of it. All of it.")
    await window.choose("Cancel")
    await answers(window, "*cancelled")
    await window.js(f"const uri = {CONVERSATION}; await vscode.window.showTextDocument(uri);")
    await window.js("kept.turn = vscode.commands.executeCommand('harmony-ls.ask');")
    await window.see(window.page.locator(".quick-input-widget"))
    await window.write("And then?")
    await window.press("Enter")
    await answers(window, "That was the second answer.")
    text = str(await window.js(f"return {CONVERSATION}.getText();"))
    assert text.count("**You:**") == 2, "one conversation"
    assert text.count("All of it.") < 3000


async def test_two_conversations_at_once_get_their_own_answers(window: Window) -> None:
    await window.open("shapes.py", BROKEN)
    await is_ready(window)
    await ask(window, "Tell me much.")
    await shows(window, "Much of it. Much of it.")
    await window.js("kept.first = kept.turn;")
    await ask(window, "And then?")
    await answers(window, "That was the second answer.")
    await window.js("await kept.first;")
    await shows(window, ("Much of it. " * 300).rstrip())
    texts = await window.js(
        "return vscode.workspace.textDocuments.filter((each) => each.uri.scheme === 'harmony-chat')"
        ".map((each) => each.getText());"
    )
    assert sorted("second answer" in text for text in texts) == [False, True]


async def test_a_restart_ends_what_runs_and_the_conversation_goes_on(window: Window) -> None:
    await window.open("shapes.py", BROKEN)
    await is_ready(window)
    await ask(window, "Tell me all.")
    await shows(window, "All of it. All of it.")
    await window.command("harmony-ls.restartServer")
    await answers(window, "**Error:**")
    await is_ready(window)
    await ask(window, "And then?")
    await answers(window, "That was the second answer.")


@pytest.mark.parametrize(
    ("setting", "value", "reason"),
    [
        ("harmony__server__command", ["harmony-ls-is-not-here", "lsp"], '"harmony-ls-is-not-here" was not found'),
        ("harmony__server__address", "localhost", '"localhost" in harmony.server.address is no address'),
        ("harmony__server__address", "127.0.0.1:1", "No server was reached at 127.0.0.1:1"),
    ],
)
async def test_a_server_that_cannot_start_says_why_and_starts_once_it_can(
    code_server: CodeServer, models: None, window: Window, setting: str, value: str | list[str], reason: str
) -> None:
    await window.open("shapes.py", BROKEN)
    await is_ready(window)
    with code_server.configured(**{setting: value}):
        assert reason in await window.choose("Open Settings")
        await window.see(window.page.locator(".settings-editor"))
        await window.see(window.page.locator(".statusbar-item", has_text="Harmony").locator(".codicon-error"))
    await is_ready(window)
