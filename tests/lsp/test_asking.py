"""Questions to the client: what is kept of one that was taken back."""

import asyncio
from pathlib import Path

import pytest
from lsprotocol import types

from harmony_ls.lsp.connection.asking import chosen
from tests.lsp.editor_connections import connected_editor


async def test_nothing_is_kept_of_a_question_that_was_taken_back(tmp_path: Path) -> None:
    """A client need not answer what was withdrawn. One that does is not listened to."""
    async with connected_editor(tmp_path) as (server, editor):
        kept = server.protocol._request_futures, server.protocol._result_types
        editor.asked.clear()
        asking = asyncio.create_task(chosen(server, types.MessageType.Info, "Which?", ["a", "b"]))
        await editor.asked.wait()
        [asked] = editor._open_questions
        assert all(asked in each for each in kept)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert not any(asked in each for each in kept)
        editor.reply("a")
        await editor.all_read()
        assert len(editor.withdrawn) == 1
        editor.answers = ["b"]
        assert await chosen(server, types.MessageType.Info, "Which?", ["a", "b"]) == "b"
