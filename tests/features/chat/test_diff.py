"""The diff of a repository that somebody else made: it shows its own files alone, and runs nothing of theirs."""

import asyncio
import os
import subprocess
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from harmony_ls.errors import UserError
from harmony_ls.features.chat.diff import repository_diff, repository_of

SECRET = "the person's own words\n"


def git(folder: Path, *arguments: str, **environment: str) -> str:
    names = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "protocol.file.allow=always"]
    process = subprocess.run(
        ["git", *names, *arguments], cwd=folder, check=True, capture_output=True, env={**os.environ, **environment}
    )
    return process.stdout.decode()


def repository(folder: Path, **files: str) -> Path:
    """A repository with one commit of these files; dots are written as two underscores."""
    folder.mkdir(parents=True, exist_ok=True)
    git(folder, "init", "--quiet", "--initial-branch", "main")
    for name, text in files.items():
        path = folder / name.replace("__", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    git(folder, "add", "--all", "--force")
    git(folder, "commit", "--quiet", "--message", "Begin")
    return folder


async def diff(folder: Path, *limits: Path, is_hidden: Callable[[str], bool] = lambda _: False) -> str:
    return await repository_diff(folder, limits or (folder,), is_hidden)


async def refused(folder: Path, *limits: Path) -> str:
    with pytest.raises(UserError) as refusal:
        await diff(folder, *limits)
    assert SECRET not in str(refusal.value)
    return str(refusal.value)


async def test_a_repository_whose_files_are_in_another_place_is_refused(tmp_path: Path) -> None:
    project = repository(tmp_path / "project", notes__txt="bait\n")
    home = tmp_path / "home"
    home.mkdir()
    (home / "notes.txt").write_text(SECRET)
    git(project, "config", "core.worktree", str(home))
    assert f"files are in {home}. That is another place" in await refused(project)
    with pytest.raises(UserError, match="another place"):
        await repository_of(project)

    # A folder around the workspace is none of these, and yet its other files are not shown.
    (tmp_path / "notes.txt").write_text(SECRET)
    git(project, "config", "core.worktree", str(tmp_path))
    assert "Nothing has changed in project" in await refused(project)


async def test_only_what_is_in_the_folders_is_shown(tmp_path: Path) -> None:
    """Git takes what `diff.relative` limits to be told from there, with the names of secrets cut short."""
    home = tmp_path / "home"
    for name in ("mine", "mine too", "other"):
        (home / name / "secrets").mkdir(parents=True)
        (home / name / "a.txt").write_text("old\n")
        (home / name / "secrets" / "b.txt").write_text("old\n")
    repository(home, diary__txt="old\n")
    (home / "diary.txt").write_text(SECRET)
    for name in ("mine", "mine too", "other"):
        (home / name / "a.txt").write_text(f"new {name}\n")
        (home / name / "secrets" / "b.txt").write_text(SECRET)
    mine, mine_too = home / "mine", home / "mine too"

    def is_hidden(name: str) -> bool:
        return name.startswith(os.path.join(home, "mine", "secrets")) or name.startswith(
            os.path.join(home, "mine too", "secrets")
        )

    text = await diff(mine, is_hidden=is_hidden)
    assert "+new mine\n" in text
    assert text.count("diff --git") == 1
    both = await diff(mine, mine, mine_too, tmp_path / "elsewhere", is_hidden=is_hidden)
    assert "+new mine too\n" in both
    assert both.count("diff --git") == 2
    (mine / "a.txt").unlink()
    gone = await diff(mine, mine / "a.txt", is_hidden=is_hidden)
    assert "-old\n" in gone
    (mine / "loop").symlink_to("loop")
    assert "Nothing has changed in a.py" in await refused(mine, mine / "loop" / "a.py")
    assert "Nothing has changed since" in await refused(mine, tmp_path / "elsewhere", tmp_path / "other")

    git(home, "config", "diff.relative", "true")
    assert SECRET not in await diff(mine, is_hidden=is_hidden)
    (tmp_path / "link").symlink_to(mine)
    linked = await diff(tmp_path / "link", is_hidden=is_hidden)
    assert linked.count("diff --git") == 1
    assert await diff(mine, tmp_path, is_hidden=lambda name: "txt" not in name) == await diff(home)


async def test_the_names_are_judged_beside_the_event_loop(tmp_path: Path) -> None:
    """There may be twenty thousand, which take most of a second."""
    project = repository(tmp_path / "project", **{f"{number}__txt": "old\n" for number in range(20)})
    for path in project.glob("*.txt"):
        path.write_text("new\n")
    threads: list[int] = []

    def is_hidden(name: str) -> bool:
        threads.append(threading.get_ident())
        return name.endswith("0.txt")

    assert (await diff(project, is_hidden=is_hidden)).count("diff --git") == 18
    assert len(threads) == 20
    assert threading.get_ident() not in threads


def by_file(evil: Path, secret: Path) -> None:
    (evil / ".git").write_text(f"gitdir: {secret / '.git'}\n")


def by_link(evil: Path, secret: Path) -> None:
    (evil / ".git").symlink_to(secret / ".git")


def by_common_folder(evil: Path, secret: Path) -> None:
    (evil / ".git").mkdir()
    (evil / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
    (evil / ".git" / "commondir").write_text(f"{secret / '.git'}\n")


def by_worktree_of_it(evil: Path, secret: Path) -> None:
    git(secret, "worktree", "add", "--quiet", "--detach", str(evil.parent / "linked"))
    (evil / ".git").write_text(f"gitdir: {secret / '.git' / 'worktrees' / 'linked'}\n")


def by_links_of_references(evil: Path, secret: Path) -> None:
    git(evil, "init", "--quiet", "--initial-branch", "main")
    borrow(evil, secret, "refs", "objects")


def by_a_link_of_one_reference(evil: Path, secret: Path) -> None:
    git(evil, "init", "--quiet", "--initial-branch", "main")
    borrow(evil, secret, "refs/heads/main")
    (evil / ".git" / "objects" / "info" / "alternates").write_text(f"{secret / '.git' / 'objects'}\n")


def by_a_link_of_the_index(evil: Path, secret: Path) -> None:
    repository(evil, a__txt="a\n")
    borrow(evil, secret, "index", "objects/info")
    (secret / ".git" / "objects" / "info" / "alternates").write_text(f"{secret / '.git' / 'objects'}\n")


def borrow(evil: Path, secret: Path, *names: str) -> None:
    for name in names:
        place = evil / ".git" / name
        if place.is_dir():
            place.rename(evil / f"was-{place.name}")
        place.unlink(missing_ok=True)
        place.symlink_to(secret / ".git" / name)


@pytest.mark.parametrize(
    "borrow_commits",
    [
        by_file,
        by_link,
        by_common_folder,
        by_worktree_of_it,
        by_links_of_references,
        by_a_link_of_one_reference,
        by_a_link_of_the_index,
    ],
)
async def test_a_repository_that_takes_its_commits_from_another_is_refused(
    tmp_path: Path, borrow_commits: Callable[[Path, Path], None]
) -> None:
    """Else all that the other has would be told as removed, or as added to the index."""
    secret = repository(tmp_path / "secret", diary__txt=SECRET)
    evil = tmp_path / "evil"
    evil.mkdir()
    borrow_commits(evil, secret)
    plain = git(evil, "diff", "HEAD") + git(evil, "diff", "--cached")
    assert SECRET in plain, "git itself shows it"
    assert "takes its commits from another place" in await refused(evil)


async def test_submodules_and_linked_worktrees_are_shown(tmp_path: Path) -> None:
    """Their `.git` leads to another place, too, but there they are known."""
    inner = repository(tmp_path / "inner", a__txt="old\n")
    project = repository(tmp_path / "project", b__txt="old\n")
    git(project, "submodule", "add", "--quiet", str(inner), "sub")
    git(project, "commit", "--quiet", "--message", "Add")
    git(project, "worktree", "add", "--quiet", str(tmp_path / "linked"))
    (project / "sub" / "a.txt").write_text("new sub\n")
    (tmp_path / "linked" / "b.txt").write_text("new linked\n")
    assert "+new sub" in await diff(project / "sub")
    assert "+new linked" in await diff(tmp_path / "linked")
    # The links that git once made itself stay inside.
    head = project / ".git" / "HEAD"
    head.unlink()
    head.symlink_to("refs/heads/main")
    (project / "b.txt").write_text("new\n")
    assert "+new\n" in await diff(project)


@pytest.fixture
def witness(tmp_path: Path) -> Path:
    """What a program of the repository leaves behind where it was run."""
    return tmp_path / "witness"


def program(witness: Path, rest: str) -> str:
    return f"touch {witness}; {rest}"


def with_filter(project: Path, witness: Path, name: str, *, required: bool) -> None:
    (project / ".gitattributes").write_text("*.txt filter=evil.one\n")
    git(project, "config", f"filter.evil.one.{name}", program(witness, "cat"))
    git(project, "config", "filter.evil.one.required", str(required))


def with_clean(project: Path, witness: Path) -> None:
    with_filter(project, witness, "clean", required=False)


def with_required_clean(project: Path, witness: Path) -> None:
    with_filter(project, witness, "clean", required=True)


def with_process(project: Path, witness: Path) -> None:
    with_filter(project, witness, "process", required=False)


def with_an_included_filter(project: Path, witness: Path) -> None:
    (project / ".gitattributes").write_text("*.txt filter=evil\n")
    (project / "settings").write_text(f'[filter "evil"]\n\tclean = "touch {witness}; cat"\n')
    git(project, "config", "include.path", "../settings")


def with_external(project: Path, witness: Path) -> None:
    git(project, "config", "diff.external", program(witness, "true"))


def with_command(project: Path, witness: Path) -> None:
    (project / ".gitattributes").write_text("*.txt diff=evil\n")
    git(project, "config", "diff.evil.command", program(witness, "true"))


def with_textconv(project: Path, witness: Path) -> None:
    (project / ".gitattributes").write_text("*.txt diff=evil\n")
    git(project, "config", "diff.evil.textconv", program(witness, "cat"))


def with_watcher(project: Path, witness: Path) -> None:
    git(project, "config", "core.fsmonitor", program(witness, "false"))
    git(project, "update-index", "--fsmonitor")


def with_hook(project: Path, witness: Path) -> None:
    hooks = project / "hooks"
    hooks.mkdir()
    (hooks / "post-index-change").write_text(f"#!/bin/sh\ntouch {witness}\n")
    (hooks / "post-index-change").chmod(0o755)
    git(project, "config", "core.hooksPath", str(hooks))


def with_pager(project: Path, witness: Path) -> None:
    for name in ("core.pager", "pager.diff"):
        git(project, "config", name, program(witness, "cat"))


def without_objects(project: Path, witness: Path, *settings: tuple[str, str]) -> None:
    """A partial clone: what it lacks is fetched when it is asked for."""
    blob = git(project, "rev-parse", "HEAD:a.txt").strip()
    (project / ".git" / "objects" / blob[:2] / blob[2:]).unlink()
    for name, value in (
        ("core.repositoryFormatVersion", "1"),
        ("extensions.partialClone", "origin"),
        ("remote.origin.promisor", "true"),
        ("remote.origin.fetch", "+refs/heads/*:refs/remotes/origin/*"),
        *settings,
    ):
        git(project, "config", name, value)


def with_remote_program(project: Path, witness: Path) -> None:
    url = ("remote.origin.url", f"ext::sh -c touch% {witness}")
    without_objects(project, witness, url, ("protocol.ext.allow", "always"))


def with_upload_program(project: Path, witness: Path) -> None:
    url, upload = ("remote.origin.url", str(project)), ("remote.origin.uploadpack", program(witness, "false"))
    without_objects(project, witness, url, upload, ("protocol.file.allow", "always"))


def with_shell_of_ssh(project: Path, witness: Path) -> None:
    url, ssh = ("remote.origin.url", "ssh://nowhere.invalid/x"), ("core.sshCommand", program(witness, "false"))
    without_objects(project, witness, url, ssh, ("protocol.ssh.allow", "always"))


HOSTILE: Sequence[Callable[[Path, Path], None]] = [
    with_clean,
    with_required_clean,
    with_process,
    with_an_included_filter,
    with_external,
    with_command,
    with_textconv,
    with_watcher,
    with_hook,
    with_pager,
    with_remote_program,
    with_upload_program,
    with_shell_of_ssh,
]


def plain_diff(project: Path) -> None:
    """What git does where nobody takes care."""
    os.utime(project / "b.txt", (2, 2))
    subprocess.run(["git", "diff", "HEAD"], cwd=project, check=False, capture_output=True)


@pytest.mark.parametrize("prepare", HOSTILE)
def test_no_program_that_a_repository_names_is_run(
    tmp_path: Path, witness: Path, prepare: Callable[[Path, Path], None]
) -> None:
    project = repository(tmp_path / "project", a__txt="old\n", b__txt="the same\n")
    (project / "a.txt").write_text("new\n")
    os.utime(project / "b.txt", (1, 1))  # so that git finds out that it is the same, and keeps that in its index
    prepare(project, witness)
    witness.unlink(missing_ok=True)
    if prepare in (with_remote_program, with_upload_program, with_shell_of_ssh):
        asyncio.run(refused(project))
    else:
        assert "-old\n+new\n" in asyncio.run(diff(project))
    assert not witness.exists()
    if prepare is not with_pager:  # there is no terminal
        plain_diff(project)
        assert witness.exists(), "git itself runs it"


def test_what_the_environment_says_of_git_is_not_meant_for_the_diff(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, witness: Path
) -> None:
    """An editor that `git commit` has started hands on where that is at work."""
    other = repository(tmp_path / "other", diary__txt=SECRET)
    project = repository(tmp_path / "project", a__txt="old\n", key__pem="old\n")
    for name in ("a.txt", "key.pem"):
        (project / name).write_text("new\n")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other / ".git" / "index"))
    monkeypatch.setenv("GIT_LITERAL_PATHSPECS", "1")
    monkeypatch.setenv("GIT_CONFIG_PARAMETERS", f"'core.fsmonitor'='touch {witness}; false'")
    text = asyncio.run(diff(project, is_hidden=lambda name: name.endswith(".pem")))
    assert text.count("diff --git") == 1
    assert "-old\n+new\n" in text
    assert not witness.exists()
