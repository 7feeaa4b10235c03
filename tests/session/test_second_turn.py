"""The second turn of a chat reads only what is new, whatever kind of cache the model has."""

from pathlib import Path

import pytest

from harmony_ls.engine.generation.request import Sampling
from harmony_ls.session.session import Session
from harmony_ls.settings.models import ChatSettings
from tests.session.support import answer, chat_model, usages

LONG = "Tell me about the value of the result. " * 12


@pytest.mark.parametrize("kind", ["tiny_llama", "tiny_qwen2", "tiny_gpt_oss"])
@pytest.mark.parametrize("use_harmony", [None, False], ids=["its own format", "its chat template"])
async def test_the_second_turn_computes_what_is_new(
    kind: str, use_harmony: bool | None, request: pytest.FixtureRequest, harmony_vocabulary: None
) -> None:
    folder: Path = request.getfixturevalue(kind)
    async with chat_model(folder, use_harmony=use_harmony) as model:
        session = Session(model, ChatSettings(max_tokens=40), overrides=Sampling())
        await answer(session, LONG)
        first = session.last_pass
        events = await answer(session, "And the other one?")
        second = session.last_pass
    assert first is not None
    assert second is not None
    seen = (*first.prompt.tokens, *first.generated)
    shared = 0
    while shared < len(second.prompt.tokens) and seen[shared : shared + 1] == second.prompt.tokens[shared : shared + 1]:
        shared += 1
    assert shared >= len(first.prompt.tokens)
    n_new = len(second.prompt.tokens) - shared
    assert usages(events)[0].computed_tokens <= 1.2 * n_new


@pytest.mark.parametrize("kind", ["tiny_llama", "tiny_gpt_oss"])
async def test_a_warm_conversation_says_what_a_cold_one_says(
    kind: str, request: pytest.FixtureRequest, harmony_vocabulary: None
) -> None:
    folder: Path = request.getfixturevalue(kind)
    written = []
    async with chat_model(folder) as model:
        session = Session(model, ChatSettings(max_tokens=30), overrides=Sampling())
        await answer(session, LONG)
        history = session.history
        await answer(session, "And the other one?")
        assert session.last_pass is not None
        written.append((session.last_pass.prompt.tokens, session.last_pass.generated))
    async with chat_model(folder) as model:
        session = Session(model, ChatSettings(max_tokens=30), overrides=Sampling())
        session.history = history
        await answer(session, "And the other one?")
        assert session.last_pass is not None
        written.append((session.last_pass.prompt.tokens, session.last_pass.generated))
    assert written[0] == written[1]
