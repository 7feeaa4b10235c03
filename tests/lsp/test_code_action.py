"""Code actions over LSP, with the real server and a model that follows a script."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from tests.lsp.acting import ACTING, actions, applied, asked, diagnostic, named, place, resolved
from tests.lsp.chatting import chatting
from tests.lsp.peer import Peer
from tests.session.support import scripted_gpt_oss

BROKEN = "import os\n\n\ndef area(width, height):\n    return width * heigth\n\n\nprint(area(2, 3))\n"
MENDED = BROKEN.replace("heigth", "height")
FUNCTION = "def area(width, height):\n    return width * height\n"
UNDEFINED = diagnostic((4, 19), (4, 25), '"heigth" is not defined', severity=1, source="pyright", code="undefined")


@pytest_asyncio.fixture
async def peer(tmp_path: Path, harmony_vocabulary: None) -> AsyncIterator[Peer]:
    rules = [asked("fix", f"The name was misspelled.\n\n```python\n{FUNCTION}```\n")]
    model = scripted_gpt_oss(tmp_path / "model", rules, max_position_embeddings=32_768)
    async with chatting(model, tmp_path / "state", capabilities=ACTING) as peer:
        yield peer


async def test_a_quick_fix_mends_what_its_diagnostics_say(peer: Peer) -> None:
    uri = "file:///code/shapes.py"
    peer.open(uri, BROKEN)
    listed = await actions(peer, uri, place((4, 20)), diagnostics=[UNDEFINED])
    action = named(listed, "quickfix")
    assert action["title"] == 'Fix with harmony-ls: "heigth" is not defined'
    assert action["diagnostics"] == [UNDEFINED]
    assert "edit" not in action
    assert "isPreferred" not in action
    assert action["tags"] == [1]
    [change] = (await resolved(peer, action))["documentChanges"]
    assert change["textDocument"] == {"uri": uri, "version": 1}
    assert change["edits"] == [{"range": place((4, 0), (5, 0)), "newText": "    return width * height\n"}]
    assert applied(BROKEN, change["edits"]) == MENDED
