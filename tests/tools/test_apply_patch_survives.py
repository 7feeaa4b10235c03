"""What a patch tool has to survive: each test carries the number of its row in the list of faults and attacks.

Rows about an editor's buffers, and about clients (5, 22 to 25 and 30 in part), belong to the editor's own workspace.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from harmony_ls.messages import ToolCall
from harmony_ls.tools.apply_patch import apply_patch_tool
from harmony_ls.tools.tool import ApprovalRequest, ToolOutput
from harmony_ls.workspace.disk import DiskWorkspace

SECRET = "outside\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A workspace with one file, and beside it a folder that must never change."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file.txt").write_text(SECRET)
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "a.txt").write_text("one\ntwo\nthree\n")
    return tmp_path / "root"


def snapshot(root: Path) -> dict[str, object]:
    found: dict[str, object] = {}
    for parent, folders, files in os.walk(root.parent):
        for name in folders + files:
            path = Path(parent, name)
            is_plain = path.is_file() and not path.is_symlink()
            found[str(path)] = path.read_bytes() if is_plain else os.lstat(path).st_mode
    return found


async def refused(root: Path, patch: str, words: str) -> str:
    """The patch is refused while it is prepared, for that reason; nothing has changed, inside or outside."""
    before = snapshot(root)
    output = await apply_patch_tool(DiskWorkspace([root])).prepare(ToolCall("1", "apply_patch", patch))
    assert isinstance(output, ToolOutput)
    assert output.is_error
    assert words in output.text, output.text
    assert SECRET.strip() not in output.text.replace(str(root.parent), "").replace("outside the workspace", "").replace(
        "outside/", ""
    ), "nothing of a file outside is told"
    assert snapshot(root) == before
    return output.text


async def applied(root: Path, patch: str) -> ApprovalRequest:
    tool = apply_patch_tool(DiskWorkspace([root]))
    call = ToolCall("1", "apply_patch", patch)
    request = await tool.prepare(call)
    assert isinstance(request, ApprovalRequest), request
    output = await tool.run(call)
    assert not output.is_error, output.text
    return request


def add(path: str, text: str = "+x\n") -> str:
    return f"*** Begin Patch\n*** Add File: {path}\n{text}*** End Patch\n"


def update(path: str, hunk: str = "-outside\n+changed\n", move_to: str = "") -> str:
    move = f"*** Move to: {move_to}\n" if move_to else ""
    return f"*** Begin Patch\n*** Update File: {path}\n{move}@@\n{hunk}*** End Patch\n"


def delete(path: str) -> str:
    return f"*** Begin Patch\n*** Delete File: {path}\n*** End Patch\n"


ANY = pytest.mark.parametrize("patch_of", [add, update, delete], ids=["add", "update", "delete"])
PatchOf = Callable[[str], str]


@ANY
@pytest.mark.parametrize("path", ["../outside/file.txt", "../../x", "sub/../../outside/file.txt", ".."])
async def test_d01_paths_that_lead_out_by_dots(root: Path, path: str, patch_of: PatchOf) -> None:
    text = await refused(root, patch_of(path), "")
    assert "outside the workspace" in text or "is a folder" in text
    assert text.count("\n") == 0, "one line with the reason"


@ANY
@pytest.mark.parametrize(
    "path", ["/etc/passwd", "~/x", "~root/x", "C:\\x", "c:/x", "\\\\host\\share\\x", "file:///etc/passwd", "//host/x"]
)
async def test_d02_absolute_paths_and_those_of_other_systems(root: Path, path: str, patch_of: PatchOf) -> None:
    await refused(root, patch_of(path), path.removeprefix("\\")[:3])


@pytest.mark.parametrize("spell", [str, Path.as_uri], ids=["absolute", "uri"])
async def test_d02_absolute_paths_inside_the_workspace(root: Path, spell: Callable[[Path], str]) -> None:
    await applied(root, update(spell(root / "a.txt"), "-two\n+2\n"))
    assert (root / "a.txt").read_text() == "one\n2\nthree\n"


@pytest.mark.parametrize(
    "uri", ["http://host/a.txt", "file://host/a.txt", "file:///a%00b", "file:///%ff", "untitled://1"]
)
async def test_d02_uris_that_name_no_file_here(root: Path, uri: str) -> None:
    await refused(root, update(uri), "")


async def test_d03_a_move_out_of_the_workspace(root: Path) -> None:
    await refused(root, update("a.txt", "-two\n+2\n", move_to="../outside/moved.txt"), "outside the workspace")


@ANY
@pytest.mark.parametrize("path", ["link/file.txt", "link/new.txt", "file-link", "deep/link/x/new.txt"])
async def test_d04_links_that_lead_out(root: Path, path: str, patch_of: PatchOf) -> None:
    (root / "link").symlink_to(root.parent / "outside")
    (root / "file-link").symlink_to(root.parent / "outside" / "file.txt")
    (root / "deep").mkdir()
    (root / "deep" / "link").symlink_to("../../outside")
    await refused(root, patch_of(path), "a link that leads out of the workspace")


@pytest.mark.parametrize("patch", [update("hard.txt"), delete("hard.txt"), update("hard.txt", move_to="b.txt")])
async def test_d05_hard_links(root: Path, patch: str) -> None:
    (root / "hard.txt").hardlink_to(root.parent / "outside" / "file.txt")
    await refused(root, patch, "hard links")


async def test_d06_a_path_that_becomes_a_link_after_the_answer(root: Path) -> None:
    (root / "sub").mkdir()
    (root / "sub" / "file.txt").write_text(SECRET)
    tool = apply_patch_tool(DiskWorkspace([root]))
    call = ToolCall("1", "apply_patch", update("sub/file.txt"))
    assert isinstance(await tool.prepare(call), ApprovalRequest)
    (root / "sub").rename(root / "kept")
    (root / "sub").symlink_to(root.parent / "outside")
    output = await tool.run(call)
    assert output.is_error
    assert (root.parent / "outside" / "file.txt").read_text() == SECRET


async def test_d06_a_path_that_becomes_a_link_between_check_and_use(root: Path) -> None:
    """The last moment: the path passed the gate, and is walked without following links all the same."""
    from harmony_ls.workspace.files import read_state
    from harmony_ls.workspace.gate import PathGate

    (root / "sub").mkdir()
    (root / "sub" / "file.txt").write_text("inside\n")
    path = PathGate([root]).pass_through("sub/file.txt")
    (root / "sub").rename(root / "kept")
    (root / "sub").symlink_to(root.parent / "outside")
    with pytest.raises(Exception, match="a link"):
        read_state(path)


@ANY
@pytest.mark.parametrize(
    "path",
    [".git/hooks/pre-commit", ".git/config", "sub/.git/config", "worktree/.git", "store/hooks/pre-commit", ".hg/hgrc"],
)
async def test_d07_version_control(root: Path, path: str, patch_of: PatchOf) -> None:
    for folder in (".git/hooks", "sub/.git", "worktree", "store/hooks", "store/objects", "store/refs", ".hg"):
        (root / folder).mkdir(parents=True)
    (root / "store" / "HEAD").write_text("ref: refs/heads/main\n")
    (root / "worktree" / ".git").write_text("gitdir: ../store\n")
    for file in (".git/config", "sub/.git/config", ".git/hooks/pre-commit", "store/hooks/pre-commit", ".hg/hgrc"):
        (root / file).write_text("outside\n")
    await refused(root, patch_of(path), "protected" if "store" not in path else "repository of git")


PROTECTED = [
    ".vscode/settings.json", ".idea/workspace.xml", ".harmony_ls.toml", ".harmony-ls/x", ".nvim.lua", ".exrc",
    ".envrc", ".env", ".env.local", "x.code-workspace", ".devcontainer/devcontainer.json", ".claude/settings.json",
    "id_rsa", "server.pem", ".ssh/config", ".aws/credentials", ".npmrc",
]  # fmt: skip


@pytest.mark.parametrize("path", PROTECTED)
@pytest.mark.parametrize("folder", ["", "sub/deep/"])
async def test_d08_configuration_of_tools_and_secrets(root: Path, path: str, folder: str) -> None:
    file = root / folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("outside\n")
    await refused(root, update(folder + path), "")
    await refused(root, delete(folder + path), "")


@pytest.mark.parametrize("path", [".github/workflows/ci.yml", "sub/.gitlab-ci.yml", "Jenkinsfile", ".husky/pre-push"])
async def test_d08_what_another_machine_runs_is_asked_for_each_time(root: Path, path: str) -> None:
    assert (await applied(root, add(path))).is_sensitive
    (root / "link").symlink_to(root / path)
    assert (await applied(root, update("link", "-x\n+y\n"))).is_sensitive, "whatever it is called"


@pytest.mark.parametrize("path", PROTECTED)
async def test_d09_the_same_as_new_files_and_as_targets_of_a_move(root: Path, path: str) -> None:
    await refused(root, add(path), "")
    await refused(root, update("a.txt", "-two\n+2\n", move_to=path), "")


@pytest.mark.parametrize(
    "path",
    [
        ".VSCODE/settings.json", ".Git/config", ".gi\u200ct/config", ".\uff47it/config", ".git./config", ".git /config",
        "GIT~1/config", ".ENV", "a.txt.", "a.txt/. ", "sub\\a.txt",
    ],
)  # fmt: skip
async def test_d10_other_spellings_of_protected_names(root: Path, path: str) -> None:
    await refused(root, add(path), "")


@pytest.mark.parametrize("path", ["CON", "a:b", "n\u0303.txt"])
async def test_d10_names_that_are_ordinary_here_name_themselves(root: Path, path: str) -> None:
    await applied(root, add(path))
    assert path in os.listdir(root)


@pytest.mark.parametrize(
    "path", ["a\0b", "a\tb", "a\x1b[2Jb", "a\u2028b", " ", "''", "x" * 300, "x/" * 3000 + "x", "."]
)
async def test_d11_paths_that_no_file_can_have(root: Path, path: str) -> None:
    text = await refused(root, add(path), "")
    assert len(text) < 500


@pytest.mark.parametrize("target", ["a.txt", "./a.txt", "sub/../a.txt"])
async def test_d12_a_move_to_itself_never_deletes(root: Path, target: str) -> None:
    await applied(root, update("a.txt", "-two\n+2\n", move_to=target))
    assert (root / "a.txt").read_text() == "one\n2\nthree\n"


@pytest.mark.parametrize("patch", [add("b.txt"), update("a.txt", "-two\n+2\n", move_to="b.txt")])
async def test_d13_nothing_is_overwritten(root: Path, patch: str) -> None:
    (root / "b.txt").write_text("mine\n")
    await refused(root, patch, "b.txt is there already")


async def test_d14_the_second_file_fails(root: Path) -> None:
    patch = "*** Begin Patch\n*** Add File: b.txt\n+b\n*** Update File: a.txt\n@@\n-four\n+4\n*** End Patch\n"
    await refused(root, patch, "Failed to find expected lines in a.txt")


async def test_d15_line_endings_are_kept_byte_for_byte(root: Path) -> None:
    (root / "a.txt").write_bytes(b"one\r\ntwo\nthree\rfour\r\n")
    await applied(root, update("a.txt", " two\n-three\n+3\n four\n"))
    assert (root / "a.txt").read_bytes() == b"one\r\ntwo\n3\r\nfour\r\n"


async def test_d16_mark_and_missing_newline_are_kept(root: Path) -> None:
    (root / "a.txt").write_bytes(b"\xef\xbb\xbfone\ntwo")
    await applied(root, update("a.txt", "-one\n+1\n two\n+three\n"))
    assert (root / "a.txt").read_bytes() == b"\xef\xbb\xbf1\ntwo\nthree"


async def test_d16_a_patch_cannot_bring_a_mark_that_could_not_be_undone(root: Path) -> None:
    await refused(root, add("b.txt", "+\ufeffx\n"), "byte order mark")
    await refused(root, update("a.txt", "-one\n+\ufeffone\n"), "byte order mark")


async def test_d17_other_separators_do_not_split_lines(root: Path) -> None:
    (root / "a.txt").write_text("a\x0cb\x0bc\u2028d\x85e\ntwo\n", encoding="utf-8")
    await applied(root, update("a.txt", " a\x0cb\x0bc\u2028d\x85e\n-two\n+2\n"))
    assert (root / "a.txt").read_text(encoding="utf-8") == "a\x0cb\x0bc\u2028d\x85e\n2\n"


@pytest.mark.parametrize("data", ["café\n".encode("latin-1"), b"\x89PNG\r\n\x1a\n\0\0", b"a\0b\n"])
async def test_d18_files_that_are_no_utf8_text(root: Path, data: bytes) -> None:
    (root / "photo.dat").write_bytes(data)
    await refused(root, update("photo.dat", "-caf\n+x\n"), "photo.dat is")


async def test_d19_two_places(root: Path) -> None:
    (root / "a.txt").write_text("def f():\n    return 1\ndef g():\n    return 1\n")
    await refused(root, update("a.txt", "-    return 1\n+    return 2\n"), "found 2 times")
    narrowed = update("a.txt", "-    return 1\n+    return 2\n").replace("@@", "@@ def g():")
    await applied(root, narrowed)
    assert (root / "a.txt").read_text() == "def f():\n    return 1\ndef g():\n    return 2\n"


async def test_d20_indentation_is_shifted_or_refused(root: Path) -> None:
    (root / "a.txt").write_text("class A:\n    def f(self):\n        return 1\n")
    await applied(root, update("a.txt", " def f(self):\n-    return 1\n+    if self:\n+        return 2\n"))
    shifted = "class A:\n    def f(self):\n        if self:\n            return 2\n"
    assert (root / "a.txt").read_text() == shifted
    uneven = "   def f(self):\n    if self:\n-      return 2\n+      return 3\n"
    await refused(root, update("a.txt", uneven), "no single shift")


async def test_d21_a_file_that_was_changed_while_the_model_wrote(root: Path) -> None:
    tool = apply_patch_tool(DiskWorkspace([root]))
    call = ToolCall("1", "apply_patch", update("a.txt", "-two\n+2\n"))
    await tool.prepare(call)
    (root / "a.txt").write_text("one\ntwo\nthree\nfour\n")
    output = await tool.run(call)
    assert output.is_error
    assert "changed in the meantime" in output.text
    assert (root / "a.txt").read_text() == "one\ntwo\nthree\nfour\n"


@pytest.mark.parametrize(
    ("file", "hunk"),
    [
        ("x\n" * 80_000, "".join(" x\n" for _ in range(8_000)) + "-y\n"),
        (("x\n" * 4_000 + "y\n") * 20, " x\n" * 4_000 + "-z\n+q\n"),
        ("x\n" * 80_000, "-x\n" * 8_000),
        ("    x\n" * 80_000, "-x \n" * 8_000 + " y\n"),
        ("".join(f"{i % 7}{'a' * (i % 11)}\n" for i in range(80_000)), "".join(f" {i % 7}\n" for i in range(8_000))),
        ("".join(f"word{i} common text\n" for i in range(80_000)), "-words common texts\n+x\n"),
        ("x" * 2_000_000 + "\n", "-" + "x" * 1_000_000 + "\n+y\n"),
    ],
    ids=["repeats", "blocks", "too-many-places", "loose", "cycles", "similar", "long-line"],
)
async def test_d26_hostile_context(root: Path, file: str, hunk: str) -> None:
    """It ends at all: compared line by line, some of these take minutes. (`harmony-ls bench tools` has the figures.)"""
    (root / "a.txt").write_text(file)
    text = await refused(root, update("a.txt", hunk), "Hunk 1 of a.txt")
    assert len(text) < 6_000


async def test_d26_hostile_anchors(root: Path) -> None:
    (root / "a.txt").write_text("def f():\n" * 40_000 + "    pass\n")
    for n_anchors, words in ((16, "Hunk 1 of a.txt"), (2_000, "more than 16 lines '@@'")):
        anchors = "@@ def f():\n" * n_anchors
        patch = f"*** Begin Patch\n*** Update File: a.txt\n{anchors}-nothing\n+x\n*** End Patch\n"
        await refused(root, patch, words)


async def test_d27_patches_that_are_too_large(root: Path) -> None:
    await refused(root, add("b.txt", "+x\n" * 4_000_000), "Send smaller patches")
    sections = "".join(f"*** Add File: {i}.txt\n+x\n" for i in range(5_000))
    await refused(root, f"*** Begin Patch\n{sections}*** End Patch\n", "more than 1,000 files")
    diff = "".join(f"--- /dev/null\n+++ b/{i}.txt\n@@ -0,0 +1 @@\n+x\n" for i in range(5_000))
    await refused(root, diff, "more than 1,000 files")


async def test_d27_files_that_are_too_large_together(root: Path) -> None:
    sections = []
    for i in range(5):
        (root / f"{i}.txt").write_text("x\n" * 7_500_000)
        sections.append(f"*** Delete File: {i}.txt\n")
    patch = f"*** Begin Patch\n{''.join(sections)}*** End Patch\n"
    await refused(root, patch, "more than 67,108,864 characters together. Send smaller patches")


@pytest.mark.parametrize(
    "patch",
    ["", "\n", "*** Begin Patch\n*** End Patch\n", "*** Begin Patch\n*** Update File: a.txt\n*** End Patch\n",
     "*** Begin Patch\n*** Update File: a.txt\n@@\n one\n*** End Patch\n", json.dumps({"patch": ""})],
)  # fmt: skip
async def test_d28_nothing_to_change_is_no_success(root: Path, patch: str) -> None:
    await refused(root, patch, "nothing to change")


async def test_d29_wrappers_are_taken_off_or_named(root: Path) -> None:
    """The fixtures of 3.5 have the variants; here that a fault is found in the wrapper and not in the patch."""
    await applied(root, "```\n" + update("a.txt", "-two\n+2\n") + "```")
    text = await refused(root, '{"patch": "*** Begin Patch\\n', "JSON")
    assert "without JSON around it" in text
    text = await refused(root, "please change two to 2", "This is not a patch")
    assert "'please change two to 2'" in text


async def test_d30_a_file_that_went_while_the_patch_was_pending(root: Path) -> None:
    tool = apply_patch_tool(DiskWorkspace([root]))
    call = ToolCall("1", "apply_patch", update("a.txt", "-two\n+2\n"))
    await tool.prepare(call)
    (root / "a.txt").unlink()
    output = await tool.run(call)
    assert output.is_error
    assert "does not exist" in output.text
    assert os.listdir(root) == []
