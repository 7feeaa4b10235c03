"""mlx-lm by itself, in a process of its own: what it generates from a model folder, and how well it foresees texts.

    asked(folder, messages=..., max_tokens=..., texts=...)

The process computes in float32 with OpenBLAS, as the product does on a CPU; nothing else of the product is in it.
"""

import json
import math
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.mlx_thread import run_with_mlx

__all__ = ["Said", "asked"]

PATIENCE = 240.0


@dataclass(frozen=True)
class Said:
    """``tokens`` and ``text`` of a greedy answer, and the perplexity per token of each text."""

    tokens: list[int]
    text: str
    perplexities: list[float]


def asked(
    folder: Path, *, messages: Sequence[Mapping[str, str]] = (), max_tokens: int = 0, texts: Sequence[str] = ()
) -> Said:
    """What mlx-lm makes of a model folder; no answer is generated without messages."""
    question = {"folder": str(folder), "messages": list(messages), "max_tokens": max_tokens, "texts": list(texts)}
    command = [sys.executable, "-m", "tests.mlx_lm_program"]
    done = subprocess.run(
        command, input=json.dumps(question), capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 0, done.stderr
    return Said(**json.loads(done.stdout))


def _answer(question: Mapping[str, Any]) -> dict[str, Any]:
    import mlx.core as mx
    import mlx.nn as nn
    from mlx_lm import load, stream_generate
    from mlx_lm.utils import dequantize_model

    network, tokenizer = load(question["folder"])
    if mx.default_device() == mx.Device(mx.cpu):
        dequantize_model(network)
        network.set_dtype(mx.float32)
    tokens, text = [], ""
    if question["messages"]:
        prompt = tokenizer.apply_chat_template(question["messages"], add_generation_prompt=True)
        for step in stream_generate(network, tokenizer, prompt, max_tokens=question["max_tokens"]):
            tokens.append(step.token)
            text += step.text
    perplexities = []
    for each in question["texts"]:
        ids = mx.array(tokenizer.encode(each))
        losses = nn.losses.cross_entropy(network(ids[None, :-1])[0], ids[1:])
        perplexities.append(math.exp(losses.mean().item()))
    return {"tokens": tokens, "text": text, "perplexities": perplexities}


if __name__ == "__main__":
    from harmony_ls.engine.worker.blas import preload_openblas

    preload_openblas()
    asked_for = json.load(sys.stdin)
    json.dump(run_with_mlx(lambda: _answer(asked_for)), sys.stdout)
