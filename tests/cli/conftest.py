"""A scripted GPT-OSS to talk with, and an environment in which nothing of the person's own counts."""

import io
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from pathlib import Path

import pytest
from rich.console import Console

from harmony_ls.cli.background import Background
from harmony_ls.cli.chat.approvals import Approvals
from harmony_ls.cli.chat.conversation import Chat
from harmony_ls.cli.chat.history import InputHistory
from harmony_ls.cli.chat.input import TerminalInput
from harmony_ls.cli.chat.opening import ChatOptions
from harmony_ls.cli.chat.plain_view import PlainView
from harmony_ls.engine.engine import Engine
from harmony_ls.engine.models.model import ModelSpec
from harmony_ls.session.chat_model import load_chat_model
from harmony_ls.session.session import Session
from harmony_ls.settings import Settings
from harmony_ls.workspace.disk import DiskWorkspace
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
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    harmony_vocabulary_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Mapping[str, str]:
    """The environment of a person without settings and history; it holds for this process too.

    The cache outlives a test, or each would make its own copy of OpenBLAS.
    """
    environment = {
        "HOME": str(tmp_path / "home"),
        "XDG_CACHE_HOME": str(tmp_path_factory.getbasetemp() / "cache"),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "TIKTOKEN_ENCODINGS_BASE": str(harmony_vocabulary_folder),
        "PYTHONUNBUFFERED": "1",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("NO_COLOR", raising=False)
    return environment


@pytest.fixture
def paper() -> io.StringIO:
    """What `chat` shows."""
    return io.StringIO()


@pytest.fixture
def chat(paper: io.StringIO, gpt_oss: GptOss, own_environment: Mapping[str, str], tmp_path: Path) -> Iterator[Chat]:
    """A chat in this process, with the event loop and the model that it needs, over the files of ``tmp_path``."""
    settings, engine, console = Settings(), Engine(), Console(file=paper)
    with Background() as background:
        model = background.run(load_chat_model(engine, ModelSpec(str(gpt_oss()), trust_remote_code=True)))
        yield Chat(
            Session(model, settings.chat),
            PlainView(console, console, hides_reasoning=False),
            TerminalInput(InputHistory(tmp_path / "history"), lambda _line: [], is_styled=False),
            background,
            Approvals(),
            settings,
            ChatOptions(tmp_path),
            DiskWorkspace([tmp_path]),
        )
        background.run(engine.close())
