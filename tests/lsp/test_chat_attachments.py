"""What goes with a message: taken by the server from its own documents, as the model sees it."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.lsp.chatting import chatting, say
from tests.lsp.peer import Peer
from tests.models import Rule
from tests.session.support import final, scripted_gpt_oss

TEXT = """import math


@cached
def area(radius):
    return math.pi * radius ** 2


def other():
    pass
"""


@pytest.fixture
def echo(tmp_path: Path, harmony_vocabulary: None) -> Path:
    """A model that answers whatever it is asked."""
    return scripted_gpt_oss(
        tmp_path / "model", [Rule("<|start|>assistant", final("Seen."))], max_position_embeddings=32_768
    )


async def shown(peer: Peer, state: Path, text: str, *attachments: dict[str, Any]) -> str:
    """What the model is shown of a message with attachments, as the stored conversation has it."""
    turn = await say(peer, text, attachments=list(attachments))
    session = turn.result["sessionId"]
    [file] = (state / "harmony-ls" / "chats").rglob(f"{session}.json")
    content: str = json.loads(file.read_text())["conversation"]["turns"][0][0]["content"]
    return content


def git(folder: Path, *arguments: str) -> None:
    names = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    subprocess.run(["git", *names, *arguments], cwd=folder, check=True, capture_output=True)


def place(line: int, character: int) -> dict[str, int]:
    return {"line": line, "character": character}


async def test_attachments_are_what_the_documents_hold(echo: Path, tmp_path: Path) -> None:
    state, project = tmp_path / "state", tmp_path / "project"
    project.mkdir()
    (project / "shapes.py").write_text("on disk\n")
    (project / "inner").mkdir()
    (project / "notes.md").write_text("# Notes\n")
    (project / ".env").write_text("SECRET=1\n")
    (project / "link.txt").symlink_to(project / ".env")
    uri = (project / "shapes.py").as_uri()
    async with chatting(echo, state, project) as peer:
        peer.open(uri, TEXT)
        selection = {"kind": "selection", "uri": uri, "range": {"start": place(5, 4), "end": place(5, 10)}}
        assert (
            await shown(peer, state, "What?", selection) == "`shapes.py`, line 6:\n```python\nreturn\n```\n\nWhat?"
        ), "the buffer's text, not the disk's"

        symbol = await shown(peer, state, "What?", {"kind": "symbol", "uri": uri, "position": place(5, 8)})
        assert symbol.startswith("`shapes.py`, lines 4 to 6:\n```python\n@cached\ndef area(radius):\n    return")
        assert "other" not in symbol

        file = await shown(peer, state, "What?", {"kind": "file", "uri": (project / "notes.md").as_uri()})
        assert file == "`notes.md`:\n```\n# Notes\n```\n\nWhat?"

        diagnostics = [
            {"range": {"start": place(5, 11), "end": place(5, 15)}, "message": "no math", "severity": 1, "source": "x"},
            {"message": {"kind": "markdown", "value": "odd\n one"}},
            {},
        ]
        told = await shown(peer, state, "/fix gently", {"kind": "diagnostics", "uri": uri, "diagnostics": diagnostics})
        assert "line 6: error (x): no math\nline 1: odd one\nline 1: no message\n" in told
        assert "return math.pi" in told
        assert told.endswith("\n\ngently"), "what was said after the command stands last"
        assert "/fix" not in told

        far = TEXT + "\n" * 300 + "z = q\n"
        peer.replace_all(uri, far)
        at_the_end = {"range": {"start": place(311, 4)}, "message": "no q"}
        beyond = {"range": {"start": place(10**9, 0)}, "message": "nowhere"}
        told = await shown(
            peer,
            state,
            "/fix",
            {"kind": "diagnostics", "uri": uri, "diagnostics": [at_the_end, diagnostics[0], beyond]},
        )
        assert told.count("\n") < 50, "what lies between is left out"
        assert "`shapes.py`, lines 1 to 11:\n```python\nimport math" in told
        assert "z = q\n" in told
        assert (
            "Diagnostics of `shapes.py`:\n```\nline 312: no q\nline 6: error (x): no math\nline 1000000001: now" in told
        )
        many = [{"range": {"start": place(number, 0)}, "message": "x"} for number in range(0, 310, 2)]
        told = await shown(peer, state, "/fix", {"kind": "diagnostics", "uri": uri, "diagnostics": many})
        assert "and 55 more" in told
        peer.replace_all(uri, TEXT)

        cells = {f"vscode-notebook-cell:{project.as_posix()}/a.ipynb#{each}": f"x = {each}\n" for each in "12"}
        items = [{"uri": cell, "languageId": "python", "version": 1, "text": text} for cell, text in cells.items()]
        notebook = {
            "uri": (project / "a.ipynb").as_uri(),
            "notebookType": "jupyter-notebook",
            "version": 1,
            "cells": [{"kind": 2, "document": cell} for cell in cells],
        }
        peer.notify("notebookDocument/didOpen", {"notebookDocument": notebook, "cellTextDocuments": items})
        whole = {"start": place(0, 0), "end": place(10**9, 10**9)}
        first, second = cells
        of_cells = await shown(
            peer, state, "What?", {"kind": "file", "uri": first}, {"kind": "selection", "uri": second, "range": whole}
        )
        assert of_cells.count("```python\nx = ") == 2, of_cells
        link = (project / "link.txt").as_uri()
        peer.open(link, "SECRET=1\n", "plaintext")

        for attachment, reason in (
            ({"kind": "file", "uri": link}, "not shown to the model"),
            ({"kind": "diff", "uri": (tmp_path / "outside.py").as_uri()}, "outside the workspace"),
            ({"kind": "diff", "uri": first}, "outside the workspace"),
            ({"kind": "file", "uri": (project / ".env").as_uri()}, "secrets"),
            ({"kind": "file", "uri": (tmp_path / "outside.py").as_uri()}, "outside the workspace"),
            ({"kind": "file", "uri": (project / "missing.py").as_uri()}, "does not exist"),
            ({"kind": "file", "uri": project.as_uri()}, f"{project} is a folder"),
            ({"kind": "file", "uri": f"{project.as_uri()}/"}, "is a folder"),
            ({"kind": "file", "uri": (project / "inner").as_uri()}, "is a folder"),
            ({"kind": "file", "uri": tmp_path.as_uri()}, "outside the workspace"),
            ({"kind": "selection", "uri": uri}, "needs a range"),
            ({"kind": "symbol", "uri": uri, "position": place(0, 0)}, "no function, class or block"),
            ({"kind": "diagnostics", "uri": uri, "diagnostics": []}, "no diagnostics"),
            ({"kind": "diff"}, "git says"),
        ):
            turn = await say(peer, "What?", attachments=[attachment])
            assert reason in turn.error["message"]

        peer.replace_all(uri, "x = 1\n" * 200_001)
        for attachment in ({"kind": "file", "uri": uri}, {"kind": "selection", "uri": uri, "range": whole}):
            turn = await say(peer, "What?", attachments=[attachment])
            assert "1,000,000 is the limit" in turn.error["message"]
        turn = await say(peer, "What?", attachments=[{"kind": "file", "uri": uri}] * 51)
        assert "too many" in turn.error["message"]


async def test_the_diff_is_that_of_the_repository_without_its_secrets_or_its_programs(
    echo: Path, tmp_path: Path
) -> None:
    state, project = tmp_path / "state", tmp_path / "project"
    project.mkdir()

    git(project, "init", "--quiet")
    for name in ("a.py", "key.pem", "clé.pem", "moved.pem"):
        (project / name).write_text("old\n" * 20)
    (project / ".gitattributes").write_text("*.py filter=evil diff=evil\n")
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--message", "Begin")
    for name in ("a.py", "key.pem", "clé.pem"):
        (project / name).write_text("new\n")
    (project / "moved.pem").unlink()
    witness = tmp_path / "witness"
    for name in ("filter.evil.clean", "diff.evil.textconv", "diff.evil.command", "diff.external", "core.fsmonitor"):
        git(project, "config", name, f"touch {witness}; cat")
    git(project, "config", "filter.evil.required", "true")
    async with chatting(echo, state, project) as peer:
        text = await shown(peer, state, "/commit", {"kind": "diff"})
        assert "-old\n+new\n" in text
        assert text.count("diff --git") == 1
        assert "pem" not in text
        assert "a.py" in text
        assert not witness.exists()


async def test_the_diff_of_a_folder_is_that_of_what_is_in_it(echo: Path, tmp_path: Path) -> None:
    """Also of the folder that the editor has opened, under the name of a link or not."""
    state, project = tmp_path / "state", tmp_path / "project"
    (project / "inner").mkdir(parents=True)
    git(project, "init", "--quiet")
    for name in ("a.py", "inner/b.py"):
        (project / name).write_text("old\n")
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--message", "Begin")
    for name in ("a.py", "inner/b.py"):
        (project / name).write_text(f"new {name}\n")
    (tmp_path / "link").symlink_to("project")
    for folder in (project, tmp_path / "link"):
        async with chatting(echo, state, folder) as peer:
            whole = await shown(peer, state, "/commit", {"kind": "diff", "uri": folder.as_uri()})
            assert whole.count("+new ") == 2
            inner = await shown(peer, state, "/commit", {"kind": "diff", "uri": (folder / "inner").as_uri()})
            assert inner.count("+new ") == 1
            assert "+new inner/b.py" in inner
            up = await shown(peer, state, "/commit", {"kind": "diff", "uri": f"{folder.as_uri()}/inner/.."})
            assert up.count("+new ") == 2
    async with chatting(echo, state, project / "inner") as peer:
        own = await shown(peer, state, "/commit", {"kind": "diff"})
        assert own.count("diff --git") == 1, "what is around the workspace is not shown"
        assert "+new inner/b.py" in own


async def test_no_path_leads_the_diff_out_of_the_workspace(echo: Path, tmp_path: Path) -> None:
    """The workspace may be a part of a repository."""
    state, project = tmp_path / "state", tmp_path / "repository" / "project"
    project.mkdir(parents=True)
    git(project.parent, "init", "--quiet")
    for name in ("outside.py", "project/a.py"):
        (project.parent / name).write_text("old\n")
    git(project.parent, "add", "--all")
    git(project.parent, "commit", "--quiet", "--message", "Begin")
    (project.parent / "outside.py").write_text("new\n")
    (project / "out").symlink_to("..")
    async with chatting(echo, state, project) as peer:
        for name, reason in (
            ("..", "outside the workspace"),
            ("../outside.py", "outside the workspace"),
            ("out/outside.py", "outside the workspace"),
            ("a.py/../../outside.py", "outside the workspace"),
            ("out", "outside the workspace"),
        ):
            turn = await say(peer, "/commit", attachments=[{"kind": "diff", "uri": f"{project.as_uri()}/{name}"}])
            assert reason in turn.error["message"], name


async def test_with_several_folders_the_diff_is_that_of_what_is_attached_or_of_all(echo: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    folders = [tmp_path / name for name in ("one", "two", "still", "bare")]
    for folder in folders:
        folder.mkdir()
        (folder / "a.py").write_text("old\n")
        if folder.name != "bare":
            git(folder, "init", "--quiet")
            git(folder, "add", "--all")
            git(folder, "commit", "--quiet", "--message", "Begin")
    one, two, still, bare = folders
    (one / "a.py").write_text("new one\n")
    (two / "a.py").write_text("new two\n")
    (two / "inner").mkdir()
    (two / "inner" / "b.py").write_text("inner\n")
    uris = [{"uri": each.as_uri(), "name": each.name} for each in (two, two / "inner", still, bare)]
    async with chatting(echo, state, one) as peer:
        peer.notify("workspace/didChangeWorkspaceFolders", {"event": {"added": uris, "removed": []}})
        both = await shown(peer, state, "/commit", {"kind": "diff"})
        assert both.count("diff --git") == 2
        assert both.index("Changes since the last commit in `one`:\n```diff") < both.index("+new one")
        assert both.index("+new one") < both.index("in `two`") < both.index("+new two")

        file = {"kind": "file", "uri": (two / "a.py").as_uri()}
        of_two = await shown(peer, state, "/commit", {"kind": "diff"}, file)
        assert "+new two" in of_two
        assert "+new one" not in of_two
        assert "Changes since the last commit:" in of_two

        nested = await shown(peer, state, "What?", {"kind": "file", "uri": (two / "inner" / "b.py").as_uri()})
        assert nested.startswith("`b.py`:\n"), "the innermost folder names it"

        # An untitled document says nothing of a folder, and one that is not saved yet is in the nearest that is there.
        unsaved = (two / "later" / "b.py").as_uri()
        for uri in ("untitled:Untitled-1", unsaved):
            peer.open(uri, "x = 1\n")
        untitled = await shown(peer, state, "/commit", {"kind": "diff"}, {"kind": "file", "uri": "untitled:Untitled-1"})
        assert untitled.count("diff --git") == 2
        new = await shown(peer, state, "/commit", {"kind": "diff"}, {"kind": "file", "uri": unsaved})
        assert new.count("diff --git") == 1

        for uri, reason in (((still / "a.py").as_uri(), "Nothing has changed"), ((bare / "a.py").as_uri(), "git says")):
            turn = await say(peer, "/commit", attachments=[{"kind": "diff"}, {"kind": "file", "uri": uri}])
            assert reason in turn.error["message"]
