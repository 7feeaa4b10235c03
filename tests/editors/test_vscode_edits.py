"""What a model changes in a real VS Code: looked over by the person, moved, deleted, and in one window of several."""

import asyncio
import re
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from harmony_ls.lsp.chat.approvals import ALLOW_ONCE, REVIEW
from tests.editors.inside import PATIENCE
from tests.editors.vscode import CodeServer, Window
from tests.editors.vscode_harmony import BROKEN, MARKS, MENDED, SERVER, answers, ask, is_ready, set_up, shows, stored
from tests.models import Rule
from tests.session.support import calls, final, said, tool_result

pytestmark = MARKS

MEND_BOTH = (
    "*** Begin Patch\n*** Update File: shapes.py\n@@\n def area(radius):\n-    return radios ** 2\n"
    "+    return radius ** 2\n*** Update File: other.py\n@@\n-1\n+2\n*** End Patch\n"
)
MOVE = (
    "*** Begin Patch\n*** Update File: shapes.py\n*** Move to: geometry/shapes.py\n@@\n def area(radius):\n"
    "-    return radios ** 2\n+    return radius ** 2\n*** Delete File: other.py\n*** End Patch\n"
)
MEND_ONE = MEND_BOTH.partition("*** Update File: other.py")[0] + "*** End Patch\n"
DISCARDED = (
    "apply_patch failed, and no file was changed. The person looked the changes over in the editor. The editor did not "
    "make the change."
)
ANSWERS = [
    Rule(said("Mend both."), calls(MEND_BOTH, "functions.apply_patch")),
    Rule(tool_result("Success. Updated the following files:\nM other.py\nM shapes.py"), final("Both are mended.")),
    Rule(tool_result("Success. Updated the following files:\nM shapes.py\nM other.py"), final("Both are mended.")),
    Rule(
        tool_result(f"{DISCARDED} No file was changed."),
        final("As you wish."),
    ),
    Rule("other.py was changed.<|end|><|start|>assistant", final("One is left.")),
    Rule(said("Move it."), calls(MOVE, "functions.apply_patch")),
    Rule(said("Mend it."), calls(MEND_ONE, "functions.apply_patch")),
    Rule(tool_result("Success. Updated the following files:\nM shapes.py"), final("It is mended.")),
    Rule(said("Tell me all."), final("All of it. " * 200 + "That was all.")),
]


@pytest.fixture(autouse=True, scope="module")
def models(code_server: CodeServer, tmp_path_factory: pytest.TempPathFactory) -> None:
    set_up(code_server, tmp_path_factory.mktemp("models"), ANSWERS)


async def open_both(window: Window) -> None:
    await window.open("other.py", "1\n", at=(1, 0))
    await window.open("shapes.py", BROKEN, at=(2, 0))
    await is_ready(window)
    await window.write("# not saved yet")
    await window.press("Escape")


@pytest.mark.parametrize(
    ("chosen", "button", "texts", "answer"),
    [
        (["shapes.py", "other.py"], "Apply", (f"{MENDED}# not saved yet", "2\n"), "Both are mended."),
        (["other.py"], "Apply", (f"{BROKEN}# not saved yet", "2\n"), "One is left."),
        ([], "Discard", (f"{BROKEN}# not saved yet", "1\n"), "As you wish."),
    ],
)
async def test_a_person_chooses_among_changes(
    window: Window, chosen: list[str], button: str, texts: tuple[str, str], answer: str
) -> None:
    await open_both(window)
    await ask(window, "Mend both.")
    await window.choose(REVIEW)
    preview = window.page.locator(".bulk-edit-panel")
    await window.see(preview.get_by_role("button", name="Apply"))
    assert await window.text("other.py") == "1\n", "nothing is changed before"
    for name in chosen:
        await preview.get_by_role("checkbox", name=name).locator(".edit-checkbox").click()
    await preview.get_by_role("button", name=button).click()
    await answers(window, answer)
    assert (await window.text("shapes.py"), await window.text("other.py")) == texts


async def test_unsaved_text_moves_with_its_file_and_a_file_is_deleted(window: Window) -> None:
    await open_both(window)
    await ask(window, "Move it.")
    await window.choose(ALLOW_ONCE)
    await window.js("await kept.turn;")
    assert await stored(window, "geometry/shapes.py") == f"{MENDED}# not saved yet"
    assert not (window.folder / "shapes.py").exists()
    assert not (window.folder / "other.py").exists()


@asynccontextmanager
async def resident_server(code_server: CodeServer) -> AsyncIterator[str]:
    """A server that runs without an editor; the address at which windows reach it."""
    process = await asyncio.create_subprocess_exec(
        *SERVER, "--tcp", "127.0.0.1:0", env=dict(code_server.environment), stderr=subprocess.PIPE
    )
    try:
        assert process.stderr is not None
        async with asyncio.timeout(PATIENCE):
            said_first = (await process.stderr.readline()).decode()
        listening = re.search(r"127\.0\.0\.1:\d+", said_first)
        assert listening, said_first
        yield listening[0]
    finally:
        process.terminate()
        await process.communicate()


async def test_windows_share_a_server_and_nothing_else(code_server: CodeServer, models: None, tmp_path: Path) -> None:
    folders = [tmp_path / "first", tmp_path / "second"]
    for folder in folders:
        folder.mkdir()
    async with resident_server(code_server) as address:
        with code_server.configured(harmony__server__address=address):
            async with code_server.window(folders[0], folders[0]) as first:
                await open_both(first)
                async with code_server.window(folders[1], folders[1]) as second:
                    await second.open("shapes.py", BROKEN)
                    await is_ready(second)
                    await ask(second, "Tell me all.")
                    await shows(second, "All of it.")
                    await ask(first, "Mend it.")
                    assert "shapes.py" in await first.choose(ALLOW_ONCE)
                    await answers(first, "It is mended.")
                    await first.becomes("shapes.py", f"{MENDED}# not saved yet")
                    assert await second.text("shapes.py") == BROKEN
                    await answers(second, "That was all.")
                    texts = "return vscode.workspace.textDocuments.map((each) => each.getText()).join();"
                    assert "It is mended." not in str(await second.js(texts))
                    assert "All of it." not in str(await first.js(texts))
                await ask(first, "Mend it.")
                await first.js("await kept.turn;")
