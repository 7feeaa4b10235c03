"""The models that the bench makes itself: what one says by heart, and what cannot be said so."""

from pathlib import Path

import pytest

from harmony_ls.cli.bench.recitation import Recitation
from harmony_ls.cli.bench.shapes import SHAPES, write_shape
from harmony_ls.engine.engine import Engine
from harmony_ls.engine.generation.request import GenerationRequest, Sampling
from harmony_ls.engine.models.model import ModelSpec

TEXT = "Say this, and say this again: it is said twice.\nThen it ends."


def test_no_piece_stands_twice_in_a_recitation() -> None:
    pieces = Recitation("<|one|>" + "over and " * 20 + "<|two|>").pieces({"over", "\u0120and"})
    assert (pieces[0], pieces[-1]) == ("<|one|>", "<|two|>")
    assert len(set(pieces)) == len(pieces)
    assert not {"over", "\u0120and"} & set(pieces)
    assert "".join(pieces[1:-1]).replace("\u0120", " ") == "over and " * 20


@pytest.mark.parametrize(
    ("text", "why"),
    [("<|end|> and <|end|>", "twice"), ("na\u00efve", "printable ASCII"), ("abc", "too short")],
)
def test_what_cannot_be_recited_is_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Recitation(text).pieces(set())


@pytest.mark.parametrize(("shape", "end"), [("tiny", "<|im_end|>"), ("gpt-oss", "<|return|>")])
async def test_a_shape_says_its_text_by_heart_however_it_is_sampled(tmp_path: Path, shape: str, end: str) -> None:
    async with Engine() as engine:
        await write_shape(engine, SHAPES[shape], tmp_path, Recitation(TEXT + end))
        model = await engine.load(ModelSpec(str(tmp_path)))
        opened = [{"role": "user", "content": "What shall be said?"}]
        prompt = tuple(model.tokenizer.render_chat(opened).encode())
        ends = model.tokenizer.eos_token_ids
        request = GenerationRequest(
            prompt=prompt, max_tokens=200, sampling=Sampling(temperature=5.0, seed=1), stop_tokens=ends
        )
        tokens = [token.id async for token in engine.generate(model, request)]
    assert model.tokenizer.decode([token for token in tokens if token not in ends]) == TEXT
