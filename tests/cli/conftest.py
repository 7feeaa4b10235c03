"""A scripted GPT-OSS to talk with, and an environment in which nothing of the person's own counts."""

from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path

import pytest

from tests.models import Rule
from tests.session.support import final, said, scripted_gpt_oss

GptOss = Callable[..., Path]


@pytest.fixture(scope="session")
def gpt_oss(tmp_path_factory: pytest.TempPathFactory) -> GptOss:
    """Build a GPT-OSS that follows ``rules`` and says "Nothing is scripted." to everything else."""
    folder = tmp_path_factory.mktemp("gpt-oss")
    numbers = count(1)

    def build(*rules: Rule) -> Path:
        otherwise = Rule(said("")[len("<|start|>user<|message|>") :], final("Nothing is scripted."))
        return scripted_gpt_oss(
            folder / f"gpt-oss-{next(numbers)}", [*rules, otherwise], max_position_embeddings=32_768, rope_scaling=None
        )

    return build


@pytest.fixture
def own_environment(
    tmp_path: Path, harmony_vocabulary_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Mapping[str, str]:
    """The environment of a person without settings and history; it holds for this process too."""
    environment = {
        "HOME": str(tmp_path / "home"),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "TIKTOKEN_ENCODINGS_BASE": str(harmony_vocabulary_folder),
        "PYTHONUNBUFFERED": "1",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("NO_COLOR", raising=False)
    return environment
