"""The declaration of the settings: defaults, ranges, documentation, and which keys a repository may not set."""

import pytest
from pydantic import ValidationError

from harmony_ls.settings import Settings
from harmony_ls.settings.fields import setting_fields

FIELDS = {setting.key: setting for setting in setting_fields()}


def test_the_defaults_are_valid_and_frozen() -> None:
    settings = Settings()
    assert Settings.model_validate(settings.model_dump(by_alias=True)) == settings
    with pytest.raises(ValidationError):
        settings.model = "other"  # type: ignore[misc]


@pytest.mark.parametrize("key", FIELDS)
def test_every_setting_is_explained(key: str) -> None:
    description = FIELDS[key].field.description
    assert description is not None
    assert description.strip().endswith((".", "?"))


def test_what_a_repository_may_not_set() -> None:
    assert {key for key, setting in FIELDS.items() if setting.scope == "own"} == {
        "trustRemoteCode",
        "tools.browser",
        "tools.python",
        "tools.pythonImage",
        "tools.dockerHost",
        "browser.searchBackend",
        "browser.searchEndpoint",
        "browser.searchKey",
        "browser.allowedHosts",
    }
    assert {key for key, setting in FIELDS.items() if setting.scope == "user"} == {
        "model",
        "memoryBudgetGb",
        "idleUnloadMinutes",
        "logLevel",
        "inlineCompletion.maxTokens",
        "inlineCompletion.prefixTokens",
        "inlineCompletion.suffixTokens",
        "inlineCompletion.maxDocumentKb",
        "inlineCompletion.fim",
        "chat.model",
        "chat.temperature",
        "chat.topP",
        "chat.topK",
        "chat.minP",
        "chat.maxTokens",
        "chat.maxToolCalls",
        "chat.maxTurnTokens",
        "chat.maxTurnSeconds",
        "tools.applyPatch",
        "tools.pythonMemoryMb",
        "tools.pythonSeconds",
        "engine.prefillStepTokens",
        "engine.promptCacheMb",
    }
    assert {key for key, setting in FIELDS.items() if setting.scope == "add"} == {"inlineCompletion.exclude"}


@pytest.mark.parametrize(
    ("section", "key", "good", "bad"),
    [
        ("inlineCompletion", "maxTokens", [1, 512], [0, 513, "64", 1.5, True, None]),
        ("inlineCompletion", "maxLines", [1, 100], [0, 101]),
        ("inlineCompletion", "deadlineMs", [50, 10_000], [49, 10_001, -1]),
        ("inlineCompletion", "prefixTokens", [16, None], [0, "many"]),
        ("inlineCompletion", "suffixTokens", [0, None], [-1]),
        ("inlineCompletion", "exclude", [[], ["*.py"]], ["*.py", [1], [""], {}]),
        ("inlineCompletion", "enabled", [True, False], ["yes", 1, None]),
        ("inlineCompletion", "eagerness", ["quiet", "normal", "eager"], ["QUIET", ""]),
        ("tools", "dockerHost", ["unix:///run/engine.sock", "tcp://10.0.0.1:2375", None, " "], ["ssh://x", "/run/x"]),
        ("tools", "pythonSeconds", [0.5, 120], [0, -1, "120"]),
        ("tools", "pythonMemoryMb", [64], [63, 1.5]),
        ("engine", "promptCacheMb", [0], [-1, float("nan")]),
        (
            "browser",
            "searchEndpoint",
            ["http://localhost:8888/search", "https://search.example", None, " "],
            [
                "ftp://search.example",
                "search.example",
                "https://me:secret@search.example",
                "https://search.example/?q=",
            ],
        ),
        ("browser", "searchKey", ["abc-123", None], ["a b", "a\r\nX: y", "schlüssel"]),
        ("browser", "allowedHosts", [[], ["localhost:80", "[::1]:8080"]], ["localhost:80", ["localhost"], ["::1:80"]]),
    ],
)
def test_ranges_and_types(section: str, key: str, good: list[object], bad: list[object]) -> None:
    for value in good:
        Settings.model_validate({section: {key: value}})
    for value in bad:
        with pytest.raises(ValidationError):
            Settings.model_validate({section: {key: value}})


@pytest.mark.parametrize("budget", [0, -1, float("inf"), float("nan"), "8", 10**400])
def test_a_memory_budget_is_a_sane_number(budget: object) -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate({"memoryBudgetGb": budget})


def test_a_blank_model_is_the_embedded_one() -> None:
    assert Settings.model_validate({"model": "  "}).model is None
