"""A file has the names that links give it, too: what a tool reads under a protected one is protected under all."""

import subprocess
import sys
from pathlib import Path

import pytest

from harmony_ls.edits.changes import ChangeKind, FileChange
from harmony_ls.errors import WorkspaceError
from harmony_ls.workspace.disk import DiskWorkspace
from harmony_ls.workspace.gate import PathGate
from harmony_ls.workspace.links import found_links, link_targets, other_names, written_names


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    for path in ("tooling/settings.json", "src/a.py", "scripts/pre-commit", "sub/deep/x.txt", "config/production"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text("x\n")
    (root / ".git" / "hooks").mkdir(parents=True)
    return root


def link(link: Path, target: str) -> None:
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(target)


LINKED = [
    (".vscode", "tooling", "tooling/settings.json", ".vscode"),
    ("sub/deep/.vscode", "../../tooling", "tooling/settings.json", ".vscode"),
    (".vscode/settings.json", "../tooling/settings.json", "tooling/settings.json", ".vscode"),
    (".git/hooks/pre-commit", "../../scripts/pre-commit", "scripts/pre-commit", ".git"),
    (".env", "config/production", "config/production", ".env"),
    (".ssh", "config", "config/production", r"\.ssh/\*\*"),
]


@pytest.mark.parametrize(("name", "target", "path", "glob"), LINKED, ids=[each[0] for each in LINKED])
async def test_what_a_protected_link_leads_to_is_protected_by_every_path(
    root: Path, name: str, target: str, path: str, glob: str
) -> None:
    link(root / name, target)
    link(root / "harmless", path)
    by_link = name if (root / name).is_file() else f"{name}/{Path(path).name}"
    workspace = DiskWorkspace([root])
    for written in (path, "harmless", str(root / path)):
        with pytest.raises(WorkspaceError, match=rf"\({glob}.*, being .*{Path(name).name}.* too\)"):
            await workspace.read(written)
        with pytest.raises(WorkspaceError):
            await workspace.check([FileChange(ChangeKind.UPDATE, written, "x\n", "y\n")])
    with pytest.raises(WorkspaceError, match=glob):
        await workspace.read(by_link)
    assert path not in await workspace.list_files()
    assert "src/a.py" in await workspace.list_files()


async def test_a_new_file_in_a_folder_that_a_protected_link_leads_to_is_refused(root: Path) -> None:
    link(root / ".vscode", "tooling")
    change = FileChange(ChangeKind.CREATE, "tooling/tasks.json", "", "{}\n")
    with pytest.raises(
        WorkspaceError, match=r"tooling/tasks\.json is protected \(\.vscode, being \.vscode/tasks\.json"
    ):
        await DiskWorkspace([root]).apply([change])
    assert not (root / "tooling" / "tasks.json").exists()


async def test_a_protected_name_in_the_middle_of_the_way_counts(root: Path) -> None:
    """Neither how the path is written nor where it leads says what it goes through."""
    link(root / "way", "hidden/.vscode/inner")
    link(root / "hidden" / ".vscode" / "inner", "../../src")
    with pytest.raises(WorkspaceError, match=r"being hidden/\.vscode/inner/a\.py too"):
        await DiskWorkspace([root]).read("way/a.py")


async def test_links_of_links_are_followed_backwards(root: Path) -> None:
    link(root / ".idea", "middle")
    link(root / "middle" / "conf", "../tooling")
    with pytest.raises(WorkspaceError, match=r"being \.idea/conf/settings\.json too"):
        await DiskWorkspace([root]).read("tooling/settings.json")


async def test_a_sensitive_name_of_any_kind_makes_a_file_sensitive(root: Path) -> None:
    """As it is written, as it is called by a link, and where it leads."""
    link(root / ".github", "tooling")
    change = FileChange(ChangeKind.UPDATE, "tooling/settings.json", "x\n", "y\n")
    through = FileChange(ChangeKind.UPDATE, ".github/settings.json", "x\n", "y\n")
    link(root / "CLAUDE.md", "src/a.py")
    believed = FileChange(ChangeKind.UPDATE, "src/a.py", "x\n", "y\n")
    workspace = DiskWorkspace([root])
    for each in (change, through, believed):
        assert len(await workspace.check([each])) == 1
    ordinary = FileChange(ChangeKind.UPDATE, "sub/deep/x.txt", "x\n", "y\n")
    assert await workspace.check([ordinary]) == ()


async def test_links_that_name_everything_once_more_protect_nothing(root: Path) -> None:
    """A plugin that an editor loads from the folder in which it is developed, for one."""
    link(root / ".vim" / "pack" / "me" / "start" / "plugin", "../../../../..")
    link(root / "sub" / "again", ".")
    link(root / "sub" / "deep" / "up", "../..")
    assert (await DiskWorkspace([root]).read("sub/deep/x.txt")).text == "x\n"
    assert (await DiskWorkspace([root]).read("src/a.py")).text == "x\n"


async def test_a_link_from_another_root_counts_and_one_from_outside_is_not_known(root: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    link(other / ".vscode", str(root / "tooling"))
    assert (await DiskWorkspace([root]).read("tooling/settings.json")).text == "x\n"
    with pytest.raises(WorkspaceError, match="protected"):
        await DiskWorkspace([root, other]).read("tooling/settings.json")


def test_folders_that_link_to_each_other_have_an_end(tmp_path: Path) -> None:
    for number in range(12):
        (tmp_path / f"{number}" / "in").mkdir(parents=True)
        for other in range(12):
            if other != number:
                link(tmp_path / f"{number}" / "in" / f"to-{other}", f"../../{other}")
    links = found_links([tmp_path.resolve()])
    names = list(other_names(links, tmp_path.resolve(), ("0", "in", "a.txt")))
    assert 11 <= len(names) < 300
    assert ("1", "in", "to-0", "in", "a.txt") in names


def test_a_link_that_leads_to_itself_has_an_end(tmp_path: Path) -> None:
    link(tmp_path / "loop", "loop")
    assert ("loop", "x") in list(written_names([tmp_path], tmp_path / "loop" / "x"))
    assert found_links([tmp_path.resolve()]) == {}


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux: only its /proc has links that may not be read")
def test_links_that_cannot_be_read_are_passed_over() -> None:
    """Everything in the folder of a process is looked at, as in a workspace that somebody opened at the root."""
    links = found_links([Path("/proc/self"), Path("/proc/1")])
    assert all(target.startswith("/proc/") for target in links)


def test_what_a_path_leads_to_has_every_name_on_the_way(tmp_path: Path) -> None:
    folder = tmp_path.resolve()
    (folder / "vault").mkdir()
    (folder / "vault" / "production").write_text("x\n")
    link(folder / ".env", "vault/production")
    link(folder / "notes.txt", ".env")
    link(folder / "vault" / "up", "..")
    link(folder / "here", "vault/up")
    through = str(folder / "vault" / "production")
    assert link_targets(through) == ()
    assert link_targets(f"{folder}/vault/../vault//production") == ()
    assert link_targets(str(folder / ".env")) == (through,)
    assert link_targets(str(folder / "notes.txt")) == (str(folder / ".env"), through)
    way = link_targets(str(folder / "here" / "notes.txt"))
    assert str(folder / "vault" / "up" / "notes.txt") in way
    assert way[-2:] == (str(folder / ".env"), through)


def test_what_a_path_leads_to_need_not_be_there(tmp_path: Path) -> None:
    folder = tmp_path.resolve()
    link(folder / "broken", ".env")
    link(folder / "loop", "loop")
    link(folder / "long", "x" * 300)
    assert link_targets(str(folder / "broken")) == (str(folder / ".env"),)
    assert set(link_targets(str(folder / "loop"))) <= {str(folder / "loop")}
    assert link_targets(str(folder / "long"))[-1] == str(folder / ("x" * 300))
    assert link_targets(str(folder / "missing" / "file")) == ()


SEARCHING = """
import sys, threading
from harmony_ls.workspace.gate import PathGate

root, n_threads = sys.argv[1], 8
searched = []
sys.addaudithook(lambda event, arguments: event == "os.scandir" and searched.append(arguments[0]))
gate, together = PathGate([root]), threading.Barrier(n_threads)

def passes():
    together.wait()
    gate.pass_through("src/a.py")

threads = [threading.Thread(target=passes) for _ in range(n_threads)]
for each in threads:
    each.start()
for each in threads:
    each.join()
print(searched.count(str(gate.roots[0])))
"""


def test_links_are_searched_by_one_thread_for_all(root: Path) -> None:
    """What is found serves for many times as long as it took, so that the last thread may well search again."""
    for number in range(500):
        (root / "many" / str(number)).mkdir(parents=True)
    program = [sys.executable, "-c", SEARCHING, str(root)]
    n_searches = int(subprocess.run(program, check=True, capture_output=True, text=True).stdout)
    assert 1 <= n_searches <= 2


def test_a_link_that_is_made_later_is_found(root: Path) -> None:
    gate = PathGate([root])
    gate.pass_through("tooling/settings.json")
    link(root / ".vscode", "tooling")

    def until_it_is_refused() -> None:
        while True:
            gate.pass_through("tooling/settings.json")

    with pytest.raises(WorkspaceError, match="protected"):
        until_it_is_refused()
