"""A small model that really answers (SmolLM2), through the product's doors: what no random or scripted model can tell.

It answers greedily, so the same each time. What is held here is not how clever it is, but that nothing on the way makes
it less so.
"""

import json
import math
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from harmony_ls.lsp.client import ResponseError
from tests.lsp.acting import ACTING, actions, applied, named, place, resolved
from tests.lsp.chatting import chatting, say
from tests.lsp.peer import Peer
from tests.mlx_lm_program import asked
from tests.smollm2 import NEEDS_SMOLLM2, built_smollm2, has_smollm2

pytestmark = [
    pytest.mark.skipif(not has_smollm2(), reason=NEEDS_SMOLLM2),
    pytest.mark.slow,
    pytest.mark.asyncio(loop_scope="module"),
]

PROSE = (
    "The harbour was quiet that morning. Two fishing boats lay against the wall, their nets hung up to dry, and an old "
    "man sat on a crate and mended one of them with a wooden needle. He did not look up when the ferry came in. The "
    "passengers walked past him in twos and threes, carrying their bags, and by noon the square behind the church was "
    "full of people who had come to buy bread, cheese and fresh vegetables at the weekly market."
)
NONSENSE = " ".join(sorted(PROSE.split()))
CODE = """def mean(values):
    total = 0
    for value in values:
        total += value
    return total / len(values)
"""
NESTED = """def fibonacci(n):
    if n == 0:
        return 0
    else:
        if n == 1:
            return 1
        else:
            return fibonacci(n - 1) + fibonacci(n - 2)
"""
QUESTION = "Write a Python function that reverses a string."
N_TOKENS = 24
"""A float32 model of this size writes ten tokens a second on a busy core."""


@pytest.fixture(scope="module")
def smollm2() -> Path:
    return built_smollm2()


def generate(model: Path, state: Path, *arguments: str) -> dict[str, Any]:
    """What ``harmony-ls generate --json`` says, in a process of its own and greedily."""
    command = [sys.executable, "-P", "-m", "harmony_ls", "generate", "--model", str(model), "--temperature", "0"]
    environment = {**os.environ, "XDG_CONFIG_HOME": str(state), "XDG_STATE_HOME": str(state)}
    done = subprocess.run(
        [*command, "--json", *arguments], capture_output=True, text=True, env=environment, check=True, timeout=240
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def peer(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Peer]:
    """A server that chats with the model, its answers greedy and at most 200 tokens long."""
    options = {
        "chat": {"model": str(smollm2), "temperature": 0, "maxTokens": 200},
        "inlineCompletion": {"enabled": False},
    }
    state = tmp_path_factory.mktemp("state")
    async with chatting(smollm2, state, capabilities=ACTING, settings=options) as peer:
        yield peer
        assert await peer.shutdown() == 0
        assert max(peer.answers.values()) == 1


async def test_the_command_writes_what_mlx_lm_alone_writes(smollm2: Path, tmp_path: Path) -> None:
    alone = asked(
        smollm2, messages=[{"role": "user", "content": QUESTION}], max_tokens=N_TOKENS, texts=[PROSE, NONSENSE, CODE]
    )
    # The model is read right: it foresees English and Python, and is surprised by words in no order.
    prose, nonsense, code = alone.perplexities
    assert prose < 30
    assert code < 10
    assert nonsense > 10 * prose
    answer = generate(smollm2, tmp_path, "--prompt", QUESTION, "--max-tokens", str(N_TOKENS), "--logprobs", "3")
    assert "def reverse_string" in answer["text"]
    assert (answer["text"], answer["usage"]["completion_tokens"]) == (alone.text, len(alone.tokens))
    for each in answer["logprobs"]:
        assert each["logprob"] <= 0
        # Greedily: nothing is likelier than what was written.
        assert each["top_logprobs"][0]["token"] == each["token"]
        assert sum(math.exp(other["logprob"]) for other in each["top_logprobs"]) <= 1.0001


async def test_a_chat_makes_sense_and_reads_nothing_twice(peer: Peer) -> None:
    first = await say(peer, "What is the capital of France?")
    assert first.text == "The capital of France is Paris."
    assert first.result["finishReason"] == "stop"
    second = await say(peer, "And the capital of Italy?", sessionId=first.result["sessionId"])
    assert "Rome" in second.text
    usage = second.result["usage"]
    assert usage["promptTokens"] - usage["computedTokens"] >= first.result["usage"]["promptTokens"]


async def test_a_code_action_comes_to_a_checked_edit_or_to_a_reason(peer: Peer) -> None:
    uri = "file:///code/mean.py"
    peer.open(uri, CODE)
    action = named(await actions(peer, uri, place((0, 5))), "refactor.rewrite.harmony.simplify")
    message = edit = None
    try:
        edit = await resolved(peer, action)
    except ResponseError as error:
        message = error.message
    if edit is None:
        assert message is not None
        assert message.startswith("The model")
        assert "<|" not in message
    else:
        [change] = edit["documentChanges"]
        text = applied(CODE, change["edits"])
        compile(text, uri, "exec")
        assert text != CODE
        assert "def mean(values):" in text


async def test_a_code_action_that_a_person_would_take(peer: Peer) -> None:
    """The prompt ends with the form of the answer, and shows the region last: else the model talks about it."""
    uri = "file:///code/fibonacci.py"
    peer.open(uri, NESTED)
    action = named(await actions(peer, uri, place((0, 5))), "refactor.rewrite.harmony.improve")
    [change] = (await resolved(peer, action))["documentChanges"]
    text = applied(NESTED, change["edits"])
    compile(text, uri, "exec")
    assert "elif n == 1:" in text
    assert "return fibonacci(n - 1) + fibonacci(n - 2)" in text
