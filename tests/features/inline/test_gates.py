"""When a completion is asked for at all."""

from dataclasses import replace

import pytest

from harmony_ls.features.document import DocumentSnapshot
from harmony_ls.features.inline.gates import TypingHistory, apply_selection, check, observe, restore_selection
from harmony_ls.features.inline.request import (
    InlineCompletion,
    InlineCompletionRequest,
    Reason,
    SelectedCompletion,
    Source,
)
from harmony_ls.settings.models import InlineCompletionSettings

SETTINGS = InlineCompletionSettings()
NEW = TypingHistory()


def request(
    marked: str,
    *,
    invoked: bool = False,
    path: str | None = "/project/a.py",
    uri: str = "",
    selected: str | None = None,
) -> InlineCompletionRequest:
    """A request at ``<|>``. A selected item replaces what stands between ``<`` ... ``>`` marks ``[[`` and ``]]``."""
    start, end = marked.find("[["), marked.find("]]")
    offset = marked.replace("[[", "").replace("]]", "").index("<|>")
    text = marked.replace("<|>", "").replace("[[", "").replace("]]", "")
    selection = None
    if selected is not None:
        n_marks_before_end = 2 + (3 if marked.index("<|>") < end else 0)
        selection = SelectedCompletion(start, end - n_marks_before_end, selected)
    document = DocumentSnapshot(uri or f"file://{path}", path, "python", 1, text)
    return InlineCompletionRequest(document, offset, invoked, selection)


def reason(
    asked: InlineCompletionRequest, history: TypingHistory = NEW, settings: InlineCompletionSettings = SETTINGS
) -> Reason | None:
    refusal = check(asked, history, settings)
    return refusal.reason if refusal else None


def test_an_ordinary_place_is_fine() -> None:
    assert reason(request("import os\nos.<|>\n")) is None


def test_switched_off() -> None:
    settings = InlineCompletionSettings(enabled=False)
    assert reason(request("import os<|>", invoked=True), settings=settings) is Reason.DISABLED


def test_only_when_asked_for() -> None:
    settings = InlineCompletionSettings(trigger="invoked")
    assert reason(request("import os<|>"), settings=settings) is Reason.NOT_TRIGGERED
    assert reason(request("import os<|>", invoked=True), settings=settings) is None


@pytest.mark.parametrize(
    "path",
    [
        "/a/.env",
        "/a/.ENV",
        "/a/b/.env.local",
        "/a/Server.PEM",
        "/a/.ssh/config",
        "C:\\Users\\me\\.npmrc",
        "/a/id_rsa.pub",
    ],
)
def test_files_with_secrets_are_never_read(path: str) -> None:
    asked = request("TOKEN=<|>", invoked=True, path=path)
    assert reason(asked) is Reason.EXCLUDED_FILE


def test_a_document_is_judged_by_what_its_links_lead_to_too() -> None:
    asked = request("TOKEN=<|>", path="/a/notes.txt")
    for targets, expected in (
        (("/a/.env",), Reason.EXCLUDED_FILE),
        (("/a/.env", "/vault/production"), Reason.EXCLUDED_FILE),
        (("/home/me/.ssh/config",), Reason.EXCLUDED_FILE),
        (("/b/notes.txt",), None),
    ):
        linked = replace(asked, document=replace(asked.document, link_targets=targets))
        assert reason(linked) is expected


def test_a_person_is_told_which_name_excludes_a_file() -> None:
    named = check(request("TOKEN=<|>", path="/a/.env"), NEW, SETTINGS)
    hidden = request("TOKEN=<|>", path="/a/notes.txt")
    led = check(replace(hidden, document=replace(hidden.document, link_targets=("/b/.env",))), NEW, SETTINGS)
    assert named is not None
    assert led is not None
    assert named.detail == "Nothing is completed in this file: '.env' excludes it (inlineCompletion.exclude)."
    assert "its path has led to /b/.env, and '.env' excludes that" in led.detail


def test_a_document_without_a_path_is_judged_by_its_uri() -> None:
    assert reason(request("a = <|>", path=None, uri="untitled:.env")) is Reason.EXCLUDED_FILE
    assert reason(request("a = <|>", path=None, uri="vscode-remote://host/a/%2eenv?x=1")) is Reason.EXCLUDED_FILE
    assert reason(request("a = 1<|>", path=None, uri="untitled:Untitled-1")) is None
    assert reason(request("a = 1<|>", path=None, uri="http://[no-host/.env")) is Reason.EXCLUDED_FILE


@pytest.mark.parametrize(
    ("glob", "path", "expected"),
    [
        ("*.lock", "/a/b/uv.lock", True),
        ("*.lock", "/a/b/uv.locked", False),
        ("generated", "/a/generated/b.py", True),
        ("generated/**", "/a/generated/deep/b.py", True),
        ("src/*.py", "/a/src/b.py", True),
        ("src/*.py", "/a/src/deep/b.py", False),
        ("src/**/b.py", "/a/src/b.py", True),
        ("src/**/b.py", "/a/src/x/y/b.py", True),
        ("**/*.{min,bundle}.js", "/a/b.BUNDLE.js", True),
        ("**/*.{min,bundle}.js", "/a/b.js", False),
        ("[", "/a/[", True),
        ("[!a].py", "/b.py", True),
        ("/", "/a/b", False),
        ("**", "/a/b", True),
    ],
)
def test_globs(glob: str, path: str, expected: bool) -> None:
    settings = InlineCompletionSettings(exclude=(glob,))
    assert (reason(request("import os<|>", path=path), settings=settings) is Reason.EXCLUDED_FILE) is expected


def test_a_glob_cannot_stall_the_server() -> None:
    settings = InlineCompletionSettings(exclude=("*a" * 40 + "b", "**/" * 40 + "b", "{a,b}" * 40))
    assert reason(request("import os<|>", path="/" + "a/" * 200 + "c" + "a" * 254), settings=settings) is None


def test_sizes() -> None:
    small = InlineCompletionSettings(max_document_kb=1)
    assert reason(request("a = 1\n" * 200 + "b<|>"), settings=small) is Reason.DOCUMENT_TOO_LARGE
    assert reason(request("a = 1\n" + "x" * 2_001 + "<|>")) is Reason.LINE_TOO_LONG
    assert reason(request("a = <|>" + "x" * 300_000, invoked=True)) is Reason.LINE_TOO_LONG
    assert reason(request("x" * 300_000 + "\r\na = <|>\r\n" + "x" * 300_000)) is None


@pytest.mark.parametrize("offset", [-1, 6, 10**9])
def test_positions_outside(offset: int) -> None:
    document = DocumentSnapshot("file:///a.py", "/a.py", "python", 1, "a = 1")
    assert reason(InlineCompletionRequest(document, offset, invoked=True)) is Reason.POSITION_OUTSIDE


@pytest.mark.parametrize(
    "rest",
    [
        "",
        "  ",
        ")",
        '")',
        "])",
        "});",
        "):",
        ") {",
        "`)",
        "]]",
        ";",
        ",",
        "</p>",
        "></div>",
        " */",
        " -->",
        " %>",
        "'''",
    ],
)
def test_an_inert_rest_of_the_line_is_no_obstacle(rest: str) -> None:
    assert reason(request(f"value = f(<|>{rest}\nmore = 1")) is None
    assert reason(request(f"value = f(<|>{rest}\r\nmore = 1")) is None


@pytest.mark.parametrize("rest", ["x", "o)", " + 1", ") + 1", ") -> None:", "(", "{}", ".name", "=", ")) as x:", "#"])
def test_text_right_of_the_cursor_needs_an_explicit_request(rest: str) -> None:
    assert reason(request(f"value = f(<|>{rest}\n")) is Reason.MID_LINE
    assert reason(request(f"value = f(<|>{rest}\n", invoked=True)) is None


def test_a_long_inert_rest_is_judged_quickly() -> None:
    assert reason(request("value = <|>" + ") " * 990 + "x")) is Reason.MID_LINE


def test_nothing_typed_yet() -> None:
    assert reason(request("<|>\nimport os")) is Reason.NOTHING_TYPED
    assert reason(request(" \n\n a<|>")) is Reason.NOTHING_TYPED
    assert reason(request("<|>\nimport os", invoked=True)) is None


def history_of(*marked: str) -> TypingHistory:
    history = NEW
    for text in marked:
        asked = request(text)
        history = observe(history, asked.document, asked.offset)
    return history


@pytest.mark.parametrize(
    ("snapshots", "n_deletions"),
    [
        (["abc<|>"], 0),
        (["abc<|>", "ab<|>"], 1),
        (["abc<|>", "ab<|>", "a<|>"], 2),
        (["abcd<|>", "abc<|>", "ab<|>", "a<|>"], 3),
        (["abc<|>", "ab<|>", "abx<|>"], 0),
        (["abc<|>", "ab<|>", "ab<|>"], 1),
        (["abc<|>", "ab<|>", "<|>ab"], 0),
        (["f(<|>)", "f<|>"], 1),
        (["a<|>bc", "a<|>c"], 1),
        (["long name<|>", "x<|>"], 0),
        (["x = long name<|>", "x = l<|>"], 1),
        (["x = <|>long name", "x = y<|>"], 0),
        (["abc<|>", "abd<|>"], 0),
        (["x" * 500 + "<|>", "x<|>"], 1),
        (["<|>"], 0),
    ],
)
def test_deletions_are_told_from_typing(snapshots: list[str], n_deletions: int) -> None:
    assert history_of(*snapshots).n_deletions == n_deletions


def test_deleting_is_silent_until_it_invites() -> None:
    asked = request("value = a<|>")
    assert reason(asked, TypingHistory(n_deletions=1)) is Reason.DELETING
    assert reason(asked, TypingHistory(n_deletions=2)) is Reason.DELETING
    assert reason(asked, TypingHistory(n_deletions=3)) is None
    assert reason(request("value = a<|>", invoked=True), TypingHistory(n_deletions=1)) is None


def test_a_selected_item_that_extends_what_is_typed() -> None:
    asked = request("console[[.lo<|>]]\n", selected=".log")
    assert reason(asked) is None
    accepted = apply_selection(asked)
    assert accepted.document.text[: accepted.offset] == "console.log"
    completion = InlineCompletion("('hello')", accepted.offset, accepted.offset, Source.MODEL)
    assert restore_selection(asked, completion) == InlineCompletion(".log('hello')", 7, 10, Source.MODEL)


def test_a_completion_with_a_selected_item_replaces_the_items_range_alone() -> None:
    asked = request("print([[na<|>]])\n", selected="name")
    accepted = apply_selection(asked)
    at = accepted.offset
    assert restore_selection(asked, InlineCompletion(".upper())", at, at + 1, Source.MODEL)) == InlineCompletion(
        "name.upper()", 6, 8, Source.MODEL
    )
    assert restore_selection(asked, InlineCompletion(").x", at, at + 1, Source.MODEL)) is None


def test_an_item_may_replace_text_right_of_the_cursor() -> None:
    asked = request("print([[na<|>xy]])\n", selected="name")
    assert reason(asked) is None
    assert apply_selection(asked).document.text == "print(name)\n"


@pytest.mark.parametrize(
    ("marked", "selected"),
    [
        ("x = [[con<|>]]\n", "Console"),
        ("x = [[pri<|>]]\n", "print()"),
        ("x = [[pri<|>]]\n", "print${1:x}"),
        ("x = [[pri<|>\n]]\n", "print"),
        ("x = [[pri]] <|>\n", "print"),
    ],
)
def test_other_items_are_left_to_the_completion_list(marked: str, selected: str) -> None:
    assert reason(request(marked, selected=selected)) is Reason.COMPLETION_LIST
    assert reason(request(marked, selected=selected, invoked=True)) is Reason.COMPLETION_LIST


def test_without_a_selection_nothing_changes() -> None:
    asked = request("x = <|>")
    completion = InlineCompletion("value", 4, 4, Source.CACHE)
    assert apply_selection(asked) is asked
    assert restore_selection(asked, completion) is completion
