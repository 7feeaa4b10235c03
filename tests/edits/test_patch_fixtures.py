"""The patch fixtures, through the tool as a model calls it, to the bytes on disk.

``--update`` rewrites what is expected.
"""

import hashlib
from pathlib import Path

import pytest

from harmony_ls.messages import ToolCall
from harmony_ls.tools.apply_patch import apply_patch_tool
from harmony_ls.tools.tool import ApprovalRequest
from harmony_ls.workspace.disk import DiskWorkspace
from tests.edits.patch_fixtures import FOLDER, read_fixture, write_expectation

PATHS = sorted(FOLDER.glob("*.md"))


def files_of(root: Path) -> dict[str, str]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes().decode("utf-8")
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def digest_of(root: Path) -> str:
    names = [f"{path.relative_to(root)} {path.is_dir()}" for path in sorted(root.rglob("*"))]
    return hashlib.sha256(repr((names, files_of(root))).encode()).hexdigest()


def test_there_are_fixtures() -> None:
    assert len(PATHS) >= 60


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
async def test_patch(path: Path, tmp_path: Path, update: bool) -> None:
    fixture = read_fixture(path)
    for name, text in fixture.before.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text.encode("utf-8"))
    for name in fixture.folders:
        (tmp_path / name).mkdir(parents=True)
    before = digest_of(tmp_path)
    workspace = DiskWorkspace([tmp_path])
    tool = apply_patch_tool(workspace)
    call = ToolCall("call_1", "apply_patch", fixture.patch)

    prepared = await tool.prepare(call)

    assert digest_of(tmp_path) == before, "preparing changes nothing"
    if isinstance(prepared, ApprovalRequest):
        output = await tool.run(call)
        after, refused = (None, output.text) if output.is_error else (files_of(tmp_path), "")
    else:
        assert prepared is not None
        assert prepared.is_error
        after, refused = None, prepared.text
    if update:
        write_expectation(path, after, refused.replace(str(tmp_path), "ROOT"))
        return
    assert refused.replace(str(tmp_path), "ROOT") == fixture.refused
    assert after == fixture.after
    if after is None:
        assert digest_of(tmp_path) == before, "nothing is changed by a patch that is refused"
    else:
        await workspace.undo()
        assert files_of(tmp_path) == fixture.before, "undo takes the whole patch back"
