"""Edits of texts of all kinds, on their way to an editor: positions, line ends, what is left and what is not.

Tests named d25 are numbered robustness cases.
"""

import random
from pathlib import Path

import pytest

from harmony_ls.edits.changes import ChangeKind, FileChange, TextChange, replace_lines
from harmony_ls.edits.line_diff import line_edits
from harmony_ls.edits.text_file import split_lines
from harmony_ls.lsp.workspace.workspace import EditorWorkspace
from harmony_ls.workspace.port import Applied
from tests.lsp.editor_connections import connected_editor


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32"])
async def test_positions_are_in_the_encoding_of_the_client(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "app.py"
    path.write_text("👍é = 1\nx", encoding="utf-8")
    old, new = "👍é = 1\nx", "👍é = 22\nx"
    change = FileChange(ChangeKind.UPDATE, "app.py", old, new, (TextChange(5, 6, "22"),))
    async with connected_editor(tmp_path, encoding=encoding) as (server, editor):
        workspace = EditorWorkspace(server, [tmp_path])
        uri = editor.open(path)
        await editor.all_read()
        await workspace.apply([change])
        assert str(editor.buffers[uri]) == new
        place = editor.edits[0]["edit"]["documentChanges"][0]["edits"][0]["range"]
        column = {"utf-8": 9, "utf-16": 6, "utf-32": 5}[encoding]
        assert place["start"] == {"line": 0, "character": column}
        assert await workspace.undo() == Applied(modified=("app.py",))
        assert str(editor.buffers[uri]) == old
        place = editor.edits[1]["edit"]["documentChanges"][0]["edits"][0]["range"]
        assert (place["start"]["character"], place["end"]["character"]) == (column, column + 2), (
            "nothing else is touched"
        )


async def test_an_empty_file_is_filled_without_a_line_left_over(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_bytes(b"")
    async with connected_editor(tmp_path) as (server, editor):
        workspace = EditorWorkspace(server, [tmp_path])
        await workspace.apply([FileChange(ChangeKind.UPDATE, "app.py", "", "x\n", (TextChange(0, 0, "x\n"),))])
        assert editor.text(tmp_path / "app.py") == "x\n"
        place = editor.edits[0]["edit"]["documentChanges"][0]["edits"][0]["range"]
        assert place == {"start": {"line": 0, "character": 0}, "end": {"line": 1, "character": 0}}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32"])
async def test_d25_any_edit_arrives_and_can_be_taken_back_to_the_byte(tmp_path: Path, encoding: str) -> None:
    choose = random.Random(encoding)
    async with connected_editor(tmp_path, encoding=encoding) as (server, editor):
        workspace = EditorWorkspace(server, [tmp_path])
        for number in range(30):
            name = f"{number}.txt"
            old, new = random_lines(choose), random_lines(choose)
            line_ending = choose.choice(["\n", "\r\n"])
            text = line_ending.join(old) + choose.choice(["", line_ending])
            (tmp_path / name).write_bytes(text.encode())
            if choose.random() < 0.7:
                editor.open(tmp_path / name)
            await editor.all_read()
            lines = split_lines(text)
            wanted, changes = replace_lines(text, lines, line_edits(lines.bodies, new))
            change = FileChange(ChangeKind.UPDATE, name, text, wanted, changes)
            await workspace.apply([change])
            assert editor.text(tmp_path / name) == wanted
            await workspace.undo()
            assert editor.text(tmp_path / name) == text


def random_lines(choose: random.Random) -> list[str]:
    words = ("", "a", "é👍", "\t", "x\u2028y", "\x0c", "日本", "same", "same")
    return [choose.choice(words) + choose.choice(words) for _ in range(choose.randrange(1, 12))]
