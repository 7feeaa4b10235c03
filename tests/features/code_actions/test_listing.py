"""What is offered where, and what is not offered unless it is asked for."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from harmony_ls.features.code_actions.actions import ACTIONS, KINDS
from harmony_ls.features.code_actions.listing import LONGEST_SELECTION, Offer, Place, offers
from harmony_ls.features.code_actions.question import prompt_text
from harmony_ls.features.document import DocumentSnapshot
from harmony_ls.settings.models import Settings

SETTINGS = Settings.model_validate({"chat": {"model": "some/model"}})
PYTHON = Place(
    document=DocumentSnapshot("file:///code/shop/prices.py", "/code/shop/prices.py", "python", 1, ""),
    in_sync=True,
    n_characters=500,
    n_selected=40,
    opens_chat=True,
    creates_files=True,
    in_workspace=True,
)
REWRITING = ["improve", "simplify", "add_types", "document"]


def names(made: Sequence[Offer]) -> list[str]:
    return [offer.action.name for offer in made]


def at(language: str, path: str | None = "/code/a", uri: str = "file:///code/a") -> Place:
    return replace(PYTHON, document=DocumentSnapshot(uri, path, language, 1, ""))


def test_a_person_who_asks_is_offered_everything_that_fits() -> None:
    assert names(offers(PYTHON, SETTINGS)) == [*REWRITING, "write_tests", "explain"]
    assert names(offers(replace(PYTHON, messages=["wrong"]), SETTINGS))[0] == "fix"
    assert names(offers(replace(PYTHON, n_selected=0), SETTINGS)) == [*REWRITING, "write_tests", "explain"]


def test_an_editor_that_asks_on_its_own_is_offered_what_the_place_calls_for() -> None:
    """It asks at every move of the cursor, and shows a sign where there is something."""
    alone = replace(PYTHON, invoked=False, n_selected=0)
    assert offers(alone, SETTINGS) == ()
    assert names(offers(replace(alone, messages=["wrong"]), SETTINGS)) == ["fix"]
    assert names(offers(replace(alone, n_selected=5), SETTINGS)) == [*REWRITING, "write_tests", "explain"]


@pytest.mark.parametrize(
    ("only", "expected"),
    [
        ([], []),
        (["quickfix"], ["fix"]),
        (["refactor"], [*REWRITING, "write_tests"]),
        (["refactor.rewrite"], REWRITING),
        (["refactor.rewrite.harmony.simplify"], ["simplify"]),
        (["refactor.rewrite.harmony.simpl"], []),
        (["refactor.extract", "harmony"], ["explain"]),
        (["source"], ["fix_all"]),
        (["source.fixAll"], ["fix_all"]),
        (["source.organizeImports"], []),
        ([""], ["fix", *REWRITING, "write_tests", "explain", "fix_all"]),
    ],
)
def test_kinds_that_are_asked_for_choose(only: list[str], expected: list[str]) -> None:
    assert names(offers(replace(PYTHON, messages=["wrong"], only=only), SETTINGS)) == expected


@pytest.mark.parametrize(
    ("only", "expected"),
    [(["source.fixAll"], []), (["source"], []), (["source.fixAll.harmony"], ["fix_all"])],
)
def test_saving_a_file_asks_no_model_unless_it_is_named(only: list[str], expected: list[str]) -> None:
    place = replace(PYTHON, messages=["wrong"], only=only, invoked=False)
    assert names(offers(place, SETTINGS)) == expected


def test_types_and_tests_are_for_languages_that_have_them() -> None:
    assert names(offers(at("rust"), SETTINGS)) == ["improve", "simplify", "document", "explain"]
    assert "add_types" in names(offers(at("typescript"), SETTINGS))
    assert "write_tests" in names(offers(at("go"), SETTINGS))


@pytest.mark.parametrize(
    "place",
    [
        at("python", None, "untitled:Untitled-1"),
        at("python", "/code/tests/test_a.py"),
        replace(PYTHON, creates_files=False),
        replace(PYTHON, in_workspace=False),
    ],
    ids=["untitled", "tests themselves", "a client that creates no files", "outside the workspace"],
)
def test_tests_are_offered_only_where_they_have_a_place(place: Place) -> None:
    assert names(offers(place, SETTINGS)) == [*REWRITING, "explain"]


def test_a_client_without_the_chat_is_offered_no_explanation() -> None:
    assert "explain" not in names(offers(replace(PYTHON, opens_chat=False), SETTINGS))


@pytest.mark.parametrize(
    ("place", "settings", "says"),
    [
        (PYTHON, Settings(), "Name a chat model in the setting chat.model"),
        (replace(PYTHON, in_sync=False), SETTINGS, "open it again"),
        (replace(PYTHON, n_characters=3_000_000), SETTINGS, "larger than 2048 KiB"),
        (at("dotenv", "/code/.env", "file:///code/.env"), SETTINGS, "'.env' excludes it"),
    ],
    ids=["no chat model", "out of sync", "too large", "a secret"],
)
def test_what_cannot_be_done_says_why(place: Place, settings: Settings, says: str) -> None:
    made = offers(replace(place, messages=["wrong"]), settings)
    assert made
    assert all(says in offer.reason for offer in made)


def test_the_model_that_completes_is_talked_to_where_no_other_is_named() -> None:
    settings = Settings.model_validate({"model": "some/model"})
    assert {offer.reason for offer in offers(PYTHON, settings)} == {""}


def test_a_huge_selection_is_not_written_anew() -> None:
    reasons = {offer.action.name: offer.reason for offer in offers(replace(PYTHON, n_selected=10**6), SETTINGS)}
    assert reasons.pop("explain") == ""
    assert all(f"{LONGEST_SELECTION:,} is the limit" in reason for reason in reasons.values())


@pytest.mark.parametrize(
    ("messages", "title"),
    [
        (["is not\n  defined"], "Fix with harmony-ls: is not defined"),
        (["word " * 100], f"Fix with harmony-ls: {('word ' * 12).rstrip()}…"),
        ([""], "Fix with harmony-ls"),
        (["one", "two"], "Fix 2 problems with harmony-ls"),
    ],
)
def test_a_fix_is_named_after_what_it_fixes(messages: list[str], title: str) -> None:
    place = replace(PYTHON, messages=messages, only=["quickfix"])
    assert [offer.title for offer in offers(place, SETTINGS)] == [title]


def test_every_action_has_a_kind_of_its_own_and_a_prompt() -> None:
    assert len(set(KINDS)) == len(ACTIONS)
    for action in ACTIONS:
        if action.name != "explain":  # its prompt is that of the conversation's command
            assert len(prompt_text(action.name)) > 100
