"""The gate for paths, where a path looks harmless: globs with braces, and repositories of git under other names."""

from pathlib import Path

import pytest

from harmony_ls.edits.changes import ChangeKind, FileChange
from harmony_ls.errors import WorkspaceError
from harmony_ls.features.document import DocumentSnapshot
from harmony_ls.features.exclusion import first_match as first_match_of_document
from harmony_ls.workspace.disk import DiskWorkspace
from harmony_ls.workspace.gate import PathGate
from harmony_ls.workspace.globs import first_match

GLOBS = [
    ("*.{pem,key}", ["a.pem", "b/A.KEY", "b.key/x"], ["a.pe", "pem"]),
    ("{secrets,private/*}/**", ["secrets/a", "x/private/y/z", "SECRETS"], ["private/", "secret/a"]),
    ("{a,{b,c}}.txt", ["a.txt", "b.txt", "c.txt"], ["d.txt", "{b.txt"]),
    ("{0,1,2,3,4,5,6,7,8,9}" * 4, ["0123", "x/9876"], []),
    ("{a", ["{a"], ["a"]),
    (".ssh/**", [".ssh/id", "home/.SSH/a/b", ".ssh"], ["ssh/id"]),
    ("**", ["a"], []),
    ("**/build/**/x", ["build/x", "a/build/b/c/x"], ["x", "build"]),
    ("caf\u00e9.txt", ["cafe\u0301.txt"], ["cafe.txt"]),
]


@pytest.mark.parametrize(("glob", "named", "others"), GLOBS, ids=[glob for glob, _, _ in GLOBS])
def test_globs_mean_the_same_for_documents_and_for_files(glob: str, named: list[str], others: list[str]) -> None:
    for path in named + others:
        expected = glob if path in named else None
        assert first_match([name for name in path.split("/") if name], (glob,)) == expected, path
        document = DocumentSnapshot("", f"file:///{path}", "", None, "")
        assert first_match_of_document(document, (glob,)) == expected, path


OWNED_BY_THE_PERSON = [
    ".helix/languages.toml", ".gdbinit", ".lldbinit", ".pdbrc", ".cargo/config.toml", ".envrc", ".config/git/config",
    ".claude/settings.json", ".clinerules/hooks/PreToolUse", "dotfiles/.config/harmony-ls/config.toml",
    ".vim/plugin/x.vim", "sub/.MISE.toml",
]  # fmt: skip
ASKED_EACH_TIME = [
    "AGENTS.md", "sub/CLAUDE.md", ".cursorrules", ".clinerules/style.md", ".github/copilot-instructions.md",
    "eslint.config.mjs", ".yarnrc.yml", ".bashrc", ".tmux.conf", ".config/fish/config.fish", ".githooks/pre-push",
    "agents.md", "gradle/wrapper/gradle-wrapper.properties", "sitecustomize.py",
]  # fmt: skip
ORDINARY = [
    "Makefile", "package.json", "setup.py", "conftest.py", "build.rs", "Dockerfile", "pyproject.toml", ".editorconfig",
    ".gitignore", "docs/agents.rst", "config/git/config", "gradle/libs.versions.toml", "cargo/config.toml",
]  # fmt: skip


@pytest.mark.parametrize("path", OWNED_BY_THE_PERSON)
def test_what_a_tool_obeys_by_itself_belongs_to_the_person(tmp_path: Path, path: str) -> None:
    with pytest.raises(WorkspaceError, match=r"protected|secrets"):
        PathGate([tmp_path]).pass_through(path)


@pytest.mark.parametrize("path", ASKED_EACH_TIME)
def test_what_is_run_unseen_or_believed_is_asked_for_each_time(tmp_path: Path, path: str) -> None:
    assert PathGate([tmp_path]).pass_through(path).is_sensitive


@pytest.mark.parametrize("path", ORDINARY)
def test_what_a_person_runs_by_their_own_command_is_ordinary(tmp_path: Path, path: str) -> None:
    assert not PathGate([tmp_path]).pass_through(path).is_sensitive


async def test_a_glob_with_braces_keeps_files_from_a_model(tmp_path: Path) -> None:
    (tmp_path / "server.pem").write_text("secret\n")
    workspace = DiskWorkspace([tmp_path], exclude=("*.{pem,key}",))
    with pytest.raises(WorkspaceError, match="secrets"):
        await workspace.read("server.pem")
    assert await workspace.list_files() == ()


def tree(root: Path) -> list[Path]:
    return sorted(root.rglob("*"))


def create(path: str) -> FileChange:
    return FileChange(ChangeKind.CREATE, path, "", "x\n")


@pytest.mark.parametrize(
    ("there", "made"),
    [
        ([], ["evil/HEAD", "evil/config", "evil/objects/x", "evil/refs/x"]),
        ([], ["evil/head", "evil/OBJECTS/x", "evil/Refs/x"]),
        ([], ["HEAD", "objects/x", "refs/x"]),
        (["evil/HEAD", "evil/objects/x"], ["evil/refs/heads/x"]),
        (["evil/HEAD"], ["evil/commondir"]),
    ],
)
async def test_no_patch_makes_a_repository_of_git(tmp_path: Path, there: list[str], made: list[str]) -> None:
    """git would believe its configuration, which names programs to run."""
    for path in there:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("x\n")
    before = tree(tmp_path)
    workspace = DiskWorkspace([tmp_path])
    with pytest.raises(WorkspaceError, match="repository of git"):
        await workspace.apply([create(path) for path in made])
    assert tree(tmp_path) == before


async def test_a_move_makes_none_either(tmp_path: Path) -> None:
    for path in ("evil/HEAD", "evil/objects/x", "a.txt"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("x\n")
    with pytest.raises(WorkspaceError, match="repository of git"):
        await DiskWorkspace([tmp_path]).apply(
            [FileChange(ChangeKind.RENAME, "a.txt", "x\n", "x\n", new_path="evil/refs/x")]
        )


async def test_names_that_only_resemble_one_are_ordinary(tmp_path: Path) -> None:
    made = ["docs/HEAD", "docs/refs/x", "objects/x"]
    assert (await DiskWorkspace([tmp_path]).apply([create(path) for path in made])).created == tuple(made)
