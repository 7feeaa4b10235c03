"""Merging: precedence key by key, all spellings, and bad input that takes nothing good with it."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmony_ls.settings import Settings, Source, client_source, read_user_file, read_workspace, resolve, user_file
from harmony_ls.settings.fields import setting_fields
from harmony_ls.settings.sources import DEFAULT, MAX_FILE_BYTES


def test_without_sources_the_defaults_hold() -> None:
    resolved = resolve([])
    assert resolved.settings == Settings()
    assert resolved.message == ""
    assert set(resolved.origins.values()) == {DEFAULT}


def test_later_sources_win_key_by_key() -> None:
    resolved = resolve(
        [
            Source("file", {"logLevel": "debug", "inlineCompletion": {"maxTokens": 10, "maxLines": 3}}),
            Source("editor", {"inlineCompletion": {"maxTokens": 20}}),
            Source("command line", {"model": "some/model"}),
        ]
    )
    assert resolved.problems == ()
    assert resolved.settings.model == "some/model"
    assert resolved.settings.log_level == "debug"
    assert resolved.settings.inline_completion.max_tokens == 20
    assert resolved.settings.inline_completion.max_lines == 3
    assert resolved.origins["inlineCompletion.maxTokens"] == "editor"
    assert resolved.origins["inlineCompletion.maxLines"] == "file"
    assert resolved.origins["inlineCompletion.eagerness"] == DEFAULT


@pytest.mark.parametrize(
    "values",
    [
        {"inlineCompletion": {"maxTokens": 7}},
        {"inline_completion": {"max_tokens": 7}},
        {"inline-completion": {"max-tokens": 7}},
        {"inlineCompletion.maxTokens": 7},
    ],
)
def test_all_spellings_of_a_key(values: dict[str, object]) -> None:
    resolved = resolve([Source("any", values)])
    assert resolved.problems == ()
    assert resolved.settings.inline_completion.max_tokens == 7


def test_the_same_key_twice_is_reported() -> None:
    resolved = resolve([Source("any", {"logLevel": "debug", "log-level": "error"})])
    assert resolved.settings.log_level == "debug"
    assert resolved.problems == ("logLevel: set twice, the first counts (any)",)


def test_bad_keys_are_all_reported_and_take_nothing_with_them() -> None:
    values = {
        "modle": "x",
        "enabled": False,
        "logLevel": "loud",
        "trustRemoteCode": None,
        "engine": 3,
        "inlineCompletion": {
            "maxTokens": "64",
            "deadlineMs": 5,
            "exclude": ["a", 1],
            "eagerness": "quiet",
            "fim": {"prefix": "<P>", "suffix": 2, "infix": "x"},
        },
    }
    resolved = resolve([Source("editor", values)])
    assert resolved.settings.inline_completion.eagerness == "quiet"
    assert resolved.settings.inline_completion.max_tokens == 64
    assert resolved.message.splitlines() == [
        "harmony-ls: 11 settings are ignored.",
        "- modle: no such setting; did you mean model? (editor)",
        "- enabled: no such setting; did you mean inlineCompletion.enabled? (editor)",
        "- logLevel: must be 'debug', 'info', 'warning' or 'error', not 'loud' (editor)",
        "- trustRemoteCode: must be true or false, not null (editor)",
        "- engine: must be a group of settings, not 3 (editor)",
        "- inlineCompletion.maxTokens: must be an integer, not '64' (editor)",
        "- inlineCompletion.deadlineMs: must be greater than or equal to 50, not 5 (editor)",
        "- inlineCompletion.exclude[1]: must be a string, not 1 (editor)",
        "- inlineCompletion.fim.suffix: must be a string, not 2 (editor)",
        "- inlineCompletion.fim.middle: must be given (editor)",
        "- inlineCompletion.fim.infix: no such setting (editor)",
    ]


def test_a_key_that_turns_bad_keeps_its_last_good_value() -> None:
    lower = Source("file", {"inlineCompletion": {"maxTokens": 10}})
    before = resolve([lower, Source("editor", {"inlineCompletion": {"maxTokens": 20}})])
    after = resolve([lower, Source("editor", {"inlineCompletion": {"maxTokens": "oops"}})], before)
    assert after.settings.inline_completion.max_tokens == 20
    assert after.origins["inlineCompletion.maxTokens"] == "editor"
    removed = resolve([lower, Source("editor")], after)
    assert removed.settings.inline_completion.max_tokens == 10


def test_null_leaves_an_optional_setting_to_the_sources_below() -> None:
    resolved = resolve([Source("file", {"model": "some/model"}), Source("editor", {"model": None, "engine": None})])
    assert resolved.settings.model == "some/model"
    assert resolved.problems == ()


def test_markers_are_set_as_a_whole() -> None:
    markers = {"prefix": "<P>", "suffix": "<S>", "middle": "<M>", "order": "spm"}
    resolved = resolve([Source("editor", {"inlineCompletion": {"fim": markers}})])
    assert resolved.problems == ()
    assert resolved.settings.inline_completion.fim is not None
    assert resolved.settings.inline_completion.fim.order == "spm"


def test_a_workspace_may_not_choose_the_model_or_trust_code(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(
        '[tool.harmony-ls]\nmodel = "evil/model"\ntrust-remote-code = true\nlog_level = "debug"\n'
        'inline-completion = { max-lines = 2, max-tokens = 32, fim = { prefix = "a", suffix = "b", middle = "c" } }\n'
        "[tool.harmony-ls.engine]\nprompt-cache-mb = 0\n"
    )
    resolved = resolve([read_workspace(tmp_path)])
    settings = resolved.settings
    assert settings == Settings.model_validate({"inlineCompletion": {"maxLines": 2}})
    refused = {problem.partition(":")[0] for problem in resolved.problems}
    assert refused == {
        "model",
        "trustRemoteCode",
        "logLevel",
        "inlineCompletion.maxTokens",
        "inlineCompletion.fim",
        "engine.promptCacheMb",
    }
    assert all("only you may" in problem for problem in resolved.problems)


def test_code_is_trusted_by_the_person_alone() -> None:
    """An editor passes on what a repository's own settings say, so its word is not enough; its default is no fault."""
    mine = Source("config.toml", {"trustRemoteCode": True})
    for name in ("initializationOptions", "the editor's settings"):
        refused = resolve([client_source(name, {"trustRemoteCode": True})])
        assert refused.settings.trust_remote_code is False
        [problem] = refused.problems
        assert problem.startswith("trustRemoteCode: an editor may not set this")
        assert str(user_file()) in problem
        assert "--trust-remote-code" in problem
        for value in (False, None):
            resolved = resolve([mine, client_source(name, {"trustRemoteCode": value})])
            assert (resolved.settings.trust_remote_code, resolved.problems) == (True, ())
    assert resolve([Source("command line", {"trustRemoteCode": True})]).settings.trust_remote_code


def test_a_file_that_cannot_be_read_any_more_keeps_its_last_settings(tmp_path: Path) -> None:
    """Also those that another source outranked at that time; and they go with the file."""
    path = tmp_path / "config.toml"
    path.write_text('model = "my/model"\nlogLevel = "error"\n')
    before = resolve([read_user_file(path), Source("editor", {"logLevel": "debug"})])
    path.write_text('model = "my/mod\n')
    broken = resolve([read_user_file(path)], before)
    assert (broken.settings.model, broken.settings.log_level) == ("my/model", "error")
    assert len(broken.problems) == 1
    assert resolve([read_user_file(path)], broken).settings == broken.settings
    path.unlink()
    assert resolve([read_user_file(path)], broken).settings == Settings()


def test_a_workspace_can_exclude_more_files_but_not_fewer(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.harmony-ls.inline-completion]\nexclude = ["*.gen.py"]\n')
    default = Settings().inline_completion.exclude
    assert resolve([read_workspace(tmp_path)]).settings.inline_completion.exclude == (*default, "*.gen.py")
    mine = Source("file", {"inlineCompletion": {"exclude": ["mine"]}})
    assert resolve([mine, read_workspace(tmp_path)]).settings.inline_completion.exclude == ("mine", "*.gen.py")


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"[tool.harmony-ls\n", id="syntax"),
        pytest.param(b"\xff\xfe\x00", id="not UTF-8"),
        pytest.param(b"a = " + b"[" * 100_000, id="deep nesting"),
        pytest.param(b"#" * (MAX_FILE_BYTES + 1), id="too large"),
        pytest.param(b"[tool]\nharmony-ls = 3\n", id="not a table"),
    ],
)
def test_a_broken_file_is_a_problem(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_bytes(content)
    source = read_workspace(tmp_path)
    assert len(source.problems) == 1
    assert str(tmp_path) in source.problems[0]
    assert resolve([source]).settings == Settings()


def test_a_named_pipe_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pyproject.toml")
    assert read_workspace(tmp_path) == Source(str(tmp_path / "pyproject.toml"), workspace=True)


@pytest.mark.parametrize("content", ["", "tool = 3\n", "[tool.other]\nmodel = 1\n"])
def test_a_project_that_says_nothing(content: str, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(content)
    assert resolve([read_workspace(tmp_path)]) == resolve([])


def test_the_users_file(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    assert resolve([read_user_file(path)]) == resolve([])
    path.write_text('\ufeffmodel = "my/model"\n[inline-completion]\nmax-lines = 2\n', encoding="utf-8")
    resolved = resolve([read_user_file(path)])
    assert (resolved.settings.model, resolved.settings.inline_completion.max_lines) == ("my/model", 2)
    assert resolved.origins["model"] == str(path)
    assert user_file().parts[-2:] == ("harmony-ls", "config.toml")


@pytest.mark.parametrize("section", ["harmony", "harmony-ls"])
def test_an_editor_may_send_the_section_or_its_content(section: str) -> None:
    assert client_source("editor", {section: {"logLevel": "debug"}}).values == {"logLevel": "debug"}
    assert client_source("editor", {"logLevel": "debug"}).values == {"logLevel": "debug"}
    assert client_source("editor", {section: None}) == client_source("editor", None) == Source("editor", client=True)


@pytest.mark.parametrize("values", [3, "text", [1], True])
def test_an_editor_that_sends_no_object(values: object) -> None:
    source = client_source("editor", values)
    assert source.values == {}
    assert "must be an object" in source.problems[0]


def test_a_flood_of_bad_keys_stays_readable() -> None:
    values = {f"{number}\n{'k' * 5000}": 1 for number in range(500)}
    resolved = resolve([Source("pyproject.toml", values)])
    assert len(resolved.message.splitlines()) == 22
    assert len(resolved.message) < 3000


def test_only_the_problems_that_are_shown_come_with_a_suggestion() -> None:
    """Looking for what was meant takes so long that thousands of unknown keys would stop the server."""
    resolved = resolve([Source("pyproject.toml", {f"modle{number}": 1 for number in range(100)})])
    assert [number for number, problem in enumerate(resolved.problems) if "did you mean" in problem] == [*range(20)]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text("aM._-\n\0é", max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("aM._-\n\0é", max_size=5), inner, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from(
    [setting.key for setting in setting_fields()] + ["inlineCompletion", "engine", "", ".", "engine.", "a.b.c"]
)


@given(st.lists(st.dictionaries(KEYS, JSON, max_size=4), max_size=3), st.booleans())
def test_nothing_a_client_sends_raises(all_values: list[dict[str, object]], workspace: bool) -> None:
    sources = [Source(str(number), values, workspace=workspace) for number, values in enumerate(all_values)]
    resolved = resolve(sources)
    assert resolve(sources, resolved).settings == resolved.settings
    assert isinstance(resolved.message, str)
