"""A GPT-OSS with the files of a downloaded one: they are all that Harmony needs, and nothing is translated."""

from datetime import date
from pathlib import Path

import pytest

from harmony_ls.messages import Conversation, Message, Role, ToolSpec
from harmony_ls.prompts.harmony.format import HarmonyFormat, harmony_format
from tests.engine.tokenizers import read
from tests.harmony_vocabulary import PublishedTokenizer, published_encoding, published_ranks
from tests.mlx_thread import run_with_mlx
from tests.real_gpt_oss import build_real_gpt_oss


@pytest.fixture(scope="session")
def real_gpt_oss(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_real_gpt_oss(tmp_path_factory.mktemp("models") / "real-gpt-oss", published_ranks())


@pytest.mark.slow
def test_it_is_spoken_to_in_harmony_from_its_own_files_alone(
    real_gpt_oss: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    subject = harmony_format(read(real_gpt_oss), real_gpt_oss, {"TMPDIR": str(tmp_path)})
    conversation = Conversation(
        (Message(Role.SYSTEM, "Be terse."), Message(Role.USER, "What is <|end|>? 💖")),
        (ToolSpec("python", "", {"type": "string"}), ToolSpec("list_files", "List the files.")),
        started=date(2026, 1, 2),
    )
    expected = HarmonyFormat(PublishedTokenizer(), published_encoding()).render(conversation)
    assert subject.render(conversation) == expected
    assert "published" in subject.summary
    assert subject.stop_tokens == {200_002, 200_012, 199_999}

    def generate() -> list[int]:
        from mlx_lm import load, stream_generate

        model, tokenizer = load(str(real_gpt_oss))
        return [step.token for step in stream_generate(model, tokenizer, list(expected.tokens), max_tokens=8)]

    tokens = run_with_mlx(generate)
    assert len(tokens) == 8
    assert all(0 <= token < 201_088 for token in tokens)
