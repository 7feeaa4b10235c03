"""The code action that writes tests: into the file where they belong, that of the disk, of the editor, or a new one."""

from pathlib import Path

import pytest

from harmony_ls.lsp.client import ResponseError
from harmony_ls.lsp.documents.text import Position
from tests.lsp.acting import acting, actions, applied, asked, named, place, resolved
from tests.lsp.peer import Peer

CODE = "def double(value):\n    return 2 * value\n"
IMPORT = "from shop.prices import double\n\n\n"
OLD_TESTS = f"{IMPORT}def test_one() -> None:\n    assert double(1) == 2\n"
NEW_TEST = "def test_two() -> None:\n    assert double(2) == 4\n"
RULES = [asked("write_tests", f"Here you are.\n\n```python\n{IMPORT}{NEW_TEST}```\n")]
KIND = "refactor.harmony.writeTests"


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    for path, text in (("shop/prices.py", CODE), ("tests/test_other.py", "")):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return folder


async def chosen(peer: Peer, workspace: Path) -> dict[str, object]:
    uri = (workspace / "shop/prices.py").as_uri()
    peer.open(uri, CODE)
    return named(await actions(peer, uri, place((0, 5))), KIND)


async def test_tests_go_into_a_new_file(tmp_path: Path, workspace: Path, harmony_vocabulary_folder: Path) -> None:
    async with acting(tmp_path, harmony_vocabulary_folder, RULES, workspace=workspace) as peer:
        action = await chosen(peer, workspace)
        creation, change = (await resolved(peer, action))["documentChanges"]
        uri = (workspace / "tests/test_prices.py").as_uri()
        options = {"overwrite": False, "ignoreIfExists": False}
        assert creation == {"kind": "create", "uri": uri, "options": options}
        assert change["textDocument"] == {"uri": uri, "version": None}
        assert applied("", change["edits"]) == f"{IMPORT}{NEW_TEST}"
        assert not (workspace / "tests/test_prices.py").exists(), "the editor creates it"
        assert await peer.shutdown() == 0


async def test_tests_are_added_to_those_that_there_are(
    tmp_path: Path, workspace: Path, harmony_vocabulary_folder: Path
) -> None:
    """As they are in the editor, where the file is open, saved or not."""
    (workspace / "tests/test_prices.py").write_text(OLD_TESTS)
    uri = (workspace / "tests/test_prices.py").as_uri()
    async with acting(tmp_path, harmony_vocabulary_folder, RULES, workspace=workspace) as peer:
        action = await chosen(peer, workspace)
        [change] = (await resolved(peer, action))["documentChanges"]
        assert change["textDocument"] == {"uri": uri, "version": None}
        assert applied(OLD_TESTS, change["edits"]) == f"{OLD_TESTS}\n\n{NEW_TEST}"
        unsaved = OLD_TESTS.rstrip() + "\r\n\r\n# unsaved"
        peer.open(uri, unsaved)
        peer.change(uri, Position(0, 0), Position(0, 0), "# first\n")
        [change] = (await resolved(peer, action))["documentChanges"]
        assert change["textDocument"] == {"uri": uri, "version": 2}
        text = f"# first\n{unsaved}"
        assert applied(text, change["edits"]) == f"{text}\n\n\n{NEW_TEST}"
        assert await peer.shutdown() == 0


async def test_tests_are_added_to_a_file_that_is_not_listed(
    tmp_path: Path, workspace: Path, harmony_vocabulary_folder: Path
) -> None:
    """Links are not followed when files are listed, and more files than one would look through are not listed."""
    (workspace / "tests/test_other.py").unlink()
    (workspace / "suites").mkdir()
    (workspace / "suites/prices.py").write_text(OLD_TESTS)
    (workspace / "shop/test_prices.py").symlink_to("../suites/prices.py")
    async with acting(tmp_path, harmony_vocabulary_folder, RULES, workspace=workspace) as peer:
        [change] = (await resolved(peer, await chosen(peer, workspace)))["documentChanges"]
        assert change["textDocument"] == {"uri": (workspace / "suites/prices.py").as_uri(), "version": None}
        assert applied(OLD_TESTS, change["edits"]) == f"{OLD_TESTS}\n\n{NEW_TEST}"
        assert await peer.shutdown() == 0


async def test_tests_that_are_open_by_another_path_are_changed_there(
    tmp_path: Path, workspace: Path, harmony_vocabulary_folder: Path
) -> None:
    """Other servers lead to files by their real paths. Opened once more, the file would not have what is unsaved."""
    (workspace / "tests/test_prices.py").write_text("# On disk.\n")
    (tmp_path / "link").symlink_to(workspace)
    uri = (workspace / "tests/test_prices.py").as_uri()
    async with acting(tmp_path, harmony_vocabulary_folder, RULES, workspace=tmp_path / "link") as peer:
        peer.open(uri, OLD_TESTS)
        [change] = (await resolved(peer, await chosen(peer, tmp_path / "link")))["documentChanges"]
        assert change["textDocument"] == {"uri": uri, "version": 1}
        assert applied(OLD_TESTS, change["edits"]) == f"{OLD_TESTS}\n\n{NEW_TEST}"
        assert await peer.shutdown() == 0


async def test_tests_have_no_place_that_may_not_be_written(
    tmp_path: Path, workspace: Path, harmony_vocabulary_folder: Path
) -> None:
    """The person is told before the model has written anything, and no file is made."""
    (workspace / ".gitignore").write_text("test_prices.py\n")
    async with acting(tmp_path, harmony_vocabulary_folder, [], workspace=workspace) as peer:
        action = await chosen(peer, workspace)
        with pytest.raises(ResponseError, match="ignored by version control"):
            await resolved(peer, action)
        listed = await actions(peer, (workspace / "shop/prices.py").as_uri(), place((0, 5)))
        assert KIND in [each["kind"] for each in listed]
        outside = (tmp_path / "elsewhere.py").as_uri()
        peer.open(outside, CODE)
        assert KIND not in [each["kind"] for each in await actions(peer, outside, place((0, 5)))]
        assert await peer.shutdown() == 0
