"""Code actions in a real VS Code: its own menu, its progress, its undo, with the real server and a scripted model."""

import pytest

from harmony_ls.features.chat.attachments import Attachment, with_attachments
from harmony_ls.features.chat.slash import expanded
from tests.editors.vscode import CodeServer, Window
from tests.editors.vscode_harmony import BROKEN, MARKS, MENDED, is_ready, set_up, stored
from tests.lsp.acting import asked
from tests.models import Rule
from tests.session.support import final, said

pytestmark = MARKS

FENCED = f"```python\n{MENDED}```"
TEST = "from shapes import area\n\n\ndef test_area() -> None:\n    assert area(2) == 4\n"
SELECTED = Attachment("`shapes.py`, line 2", "return radios ** 2", "python")
ANSWERS = [
    asked("fix", FENCED),
    asked("improve", FENCED),
    asked("write_tests", f"```python\n{TEST}```"),
    # It does not come to an end before it is cancelled.
    asked("document", f"I count: {', '.join(map(str, range(9_000)))}."),
    Rule(
        said(with_attachments(expanded("/explain", frozenset({"selection"})), [SELECTED])),
        final("A name that nothing defines."),
    ),
]
FIX = "Fix with harmony-ls"


@pytest.fixture(autouse=True, scope="module")
def models(code_server: CodeServer, tmp_path_factory: pytest.TempPathFactory) -> None:
    set_up(code_server, tmp_path_factory.mktemp("models"), ANSWERS)


async def diagnose(window: Window, name: str) -> None:
    """Have another extension say that `radios` is not defined."""
    await window.js(
        """
        kept.others ??= vscode.languages.createDiagnosticCollection('other');
        const diagnostic = new vscode.Diagnostic(new vscode.Range(1, 11, 1, 17), 'Undefined name `radios`');
        diagnostic.source = 'other';
        kept.others.set(vscode.Uri.file(path), [diagnostic]);
        """,
        path=str(window.folder / name),
    )


async def test_the_menu_offers_a_fix_where_a_diagnostic_is_and_one_key_takes_it_back(window: Window) -> None:
    await window.open("shapes.py", BROKEN, at=(1, 13))
    await is_ready(window)
    assert not [title for title in await window.code_actions() if "Fix" in title]
    await diagnose(window, "shapes.py")
    await window.open("shapes.py", at=(0, 2))
    assert not [title for title in await window.code_actions() if "Fix" in title]
    await window.open("shapes.py", at=(1, 13))
    await window.choose_code_action("Fix")
    await window.becomes("shapes.py", MENDED)
    assert (window.folder / "shapes.py").read_text() == BROKEN, "saving is the person's"
    await window.press("Control+Z")
    await window.becomes("shapes.py", BROKEN)


async def test_unsaved_text_stays_where_it_is(window: Window) -> None:
    await window.open("shapes.py", BROKEN, at=(2, 0))
    await is_ready(window)
    await window.write("# not saved yet")
    await window.press("Escape")
    await window.open("shapes.py", at=(1, 6))
    await window.choose_code_action("Improve")
    await window.becomes("shapes.py", f"{MENDED}# not saved yet")
    await window.press("Control+Z")
    await window.becomes("shapes.py", f"{BROKEN}# not saved yet")


async def test_tests_are_put_into_a_new_file(window: Window) -> None:
    (window.folder / "tests").mkdir()
    (window.folder / "tests" / "test_other.py").write_text("")
    await window.open("shapes.py", MENDED, at=(0, 6))
    await is_ready(window)
    await window.choose_code_action("Write tests")
    await window.until(
        "return vscode.workspace.textDocuments.some((each) => each.fileName.endsWith('test_shapes.py'));"
    )
    assert TEST in await stored(window, "tests/test_shapes.py")
    assert await window.text("shapes.py") == MENDED


async def test_an_action_that_is_cancelled_changes_nothing(window: Window) -> None:
    await window.open("shapes.py", BROKEN, at=(0, 6))
    await is_ready(window)
    await window.choose_code_action("Add documentation")
    await window.choose("Cancel")
    await window.see(window.page.locator(".statusbar-item", has_text="Harmony").locator(".codicon-check"))
    assert await window.text("shapes.py") == BROKEN
    # The server is there for the next.
    await window.open("shapes.py", at=(1, 6))
    await window.choose_code_action("Improve")
    await window.becomes("shapes.py", MENDED)


async def test_explain_opens_a_conversation_about_what_is_selected(window: Window) -> None:
    await window.open("shapes.py", BROKEN)
    await is_ready(window)
    await window.select((1, 4), (1, 22))
    await window.choose_code_action("Explain")
    await window.until("return vscode.workspace.textDocuments.some((each) => each.uri.scheme === 'harmony-chat');")
    await window.until(
        """
        return vscode.workspace.textDocuments.some((each) => each.getText().includes('A name that nothing defines.'));
        """
    )
