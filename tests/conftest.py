"""What every test may ask for: small real models, and ``--update`` to rewrite the expectations kept in files."""

import gc
import lzma
import os
import signal
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.distribution import GroupScheduling, longest_first
from tests.models import Rule, build_model, build_scripted_model

# Time is no criterion here: tests share their machine. In CI the examples are the same each time.
settings.register_profile(
    "harmony-ls", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize="CI" in os.environ
)
settings.load_profile("harmony-ls")


def pytest_configure() -> None:
    """Let Ctrl-C reach the programs that tests start, though a shell that runs pytest in the background ignores it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update", action="store_true", help="rewrite expectations in fixtures and generated documents")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where tests run beside each other, what takes long comes first."""
    if hasattr(config, "workerinput"):
        longest_first(items)


def pytest_collection_finish() -> None:
    """Look for no garbage among what was collected, which is there to the end.

    An engine that is closed looks for all garbage there is, and hundreds are: a fifth of a second each time.
    """
    gc.collect()
    gc.freeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> GroupScheduling | None:
    """Where tests run beside each other, some stay together (`tests.distribution`)."""
    return GroupScheduling(config, log) if config.option.dist == "loadgroup" else None


@pytest.fixture(scope="session")
def update(pytestconfig: pytest.Config) -> bool:
    """Whether expectations that are kept in files shall be rewritten instead of compared."""
    return bool(pytestconfig.getoption("--update"))


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama without fill-in-the-middle markers: full attention, so its cache can be trimmed."""
    return build_model(tmp_path_factory.mktemp("models") / "tiny-llama", "llama")


@pytest.fixture(scope="session")
def tiny_qwen2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Qwen2 with Qwen's fill-in-the-middle markers, declared ``special: false`` as in the real models."""
    return build_model(tmp_path_factory.mktemp("models") / "tiny-qwen2", "qwen2")


@pytest.fixture(scope="session")
def tiny_gpt_oss(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random GPT-OSS with a sliding window of 128 tokens: beyond it the cache cannot be trimmed."""
    return build_model(tmp_path_factory.mktemp("models") / "tiny-gpt-oss", "gpt_oss")


@pytest.fixture(scope="session")
def harmony_vocabulary_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with GPT-OSS's vocabulary under the name that openai_harmony looks for."""
    folder = tmp_path_factory.mktemp("vocabulary")
    packed = Path(__file__).parent.parent / "fixtures" / "harmony" / "o200k_base.tiktoken.xz"
    (folder / "o200k_base.tiktoken").write_bytes(lzma.decompress(packed.read_bytes()))
    return folder


@pytest.fixture
def harmony_vocabulary(monkeypatch: pytest.MonkeyPatch, harmony_vocabulary_folder: Path) -> None:
    """GPT-OSS's vocabulary is where a person who has it would point to it."""
    monkeypatch.setenv("TIKTOKEN_ENCODINGS_BASE", str(harmony_vocabulary_folder))


@pytest.fixture(scope="session")
def scripted_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Sequence[Rule]], Path]:
    """Build a model that replies by rules; loading it needs ``trust_remote_code``."""
    folder = tmp_path_factory.mktemp("scripted")
    numbers = count(1)

    def build(rules: Sequence[Rule]) -> Path:
        return build_scripted_model(folder / f"scripted-{next(numbers)}", rules)

    return build
