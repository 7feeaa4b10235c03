"""A prompt cache file of another day: Harmony's prompts begin with the date, so the one of the file is told."""

from collections.abc import Mapping
from datetime import date
from pathlib import Path

import pytest

from harmony_ls import TokenGenerator
from harmony_ls.messages import Message, Role
from tests.cli.test_options import CODE, answer, generate
from tests.models import build_model

THEN = date(2026, 1, 2)


@pytest.fixture
def gpt_oss(tmp_path: Path) -> Path:
    """A random GPT-OSS, whose caches cannot be cut."""
    return build_model(tmp_path / "gpt-oss", "gpt_oss")


def file_of(model: Path, file: Path, instructions: str) -> int:
    """Write what all questions with these instructions had in common on that day; how many tokens that is."""
    with TokenGenerator(str(model)) as generator:
        questions = (
            generator.render([Message(Role.SYSTEM, instructions), Message(Role.USER, text)], started=THEN)
            for text in ("a", "b")
        )
        shared = [first for first, second in zip(*questions, strict=True) if first == second]
        marker = generator.model.tokenizer.token_id("<|start|>")
        assert marker is not None
        # Up to where the question begins: what follows it is the same, too.
        n_held = len(shared) - shared[::-1].index(marker, shared[::-1].index(marker) + 1) - 1
        generator.save_prompt_cache(file, shared[:n_held])
    return n_held


def test_the_date_of_the_file_is_told_to_the_model_and_to_the_person(
    gpt_oss: Path, own_environment: Mapping[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "code.safetensors"
    n_held = file_of(gpt_oss, file, CODE)
    asked = ["--system", CODE, "--prompt", "Why?", "--prompt-cache-file", str(file)]
    usage = answer(gpt_oss, *asked)["usage"]
    assert usage["prompt_tokens_details"]["cached_tokens"] == n_held > 30
    result = generate(gpt_oss, *asked)
    assert result.exit_code == 0
    assert f"The model is told the date {THEN}" in " ".join(result.stderr.split())


def test_a_file_that_does_not_serve_changes_no_date(
    gpt_oss: Path, own_environment: Mapping[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "code.safetensors"
    file_of(gpt_oss, file, "Something else.")
    result = generate(gpt_oss, "--system", CODE, "--prompt", "Why?", "--prompt-cache-file", str(file))
    assert result.exit_code == 0
    assert str(THEN) not in result.stderr
    assert "the whole prompt is computed" in " ".join(result.stderr.split())
