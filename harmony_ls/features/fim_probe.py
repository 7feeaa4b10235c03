"""The proof that a model was trained on the fill-in-the-middle markers of its vocabulary.

Markers in a vocabulary prove nothing: some models carry them untrained, others answer in prose. A few tiny holes are
filled when such a model is first loaded; the verdict is remembered by the identity of the model's files.
"""

import hashlib
import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path

import platformdirs

from harmony_ls.engine.engine import Engine
from harmony_ls.engine.generation.request import FinishReason, GenerationRequest
from harmony_ls.engine.models.model import Model
from harmony_ls.engine.worker.worker import Priority
from harmony_ls.prompts.fim import FimFormat

__all__ = ["HOLES", "FimVerdict", "probe_fim"]

log = logging.getLogger(__name__)

_MAX_TOKENS = 24

# (before, middle, after): holes that any code model fills, in four languages, each middle forced by what surrounds it.
HOLES: tuple[tuple[str, str, str], ...] = (
    ("def add(a, b):\n    return a", " + b", "\n\n\nassert add(1, 2) == 3\n"),
    ("numbers = [1, 2, 3]\nfor number in ", "numbers", ":\n    print(number)\n"),
    ("import json\n\n\ndef load(text):\n    return json.", "loads(text)", '\n\n\nload("{}")\n'),
    ("function square(x) {\n  return x * ", "x", ";\n}\n"),
    ("for (int i = 0; i < 10; ", "i++", ") {\n  sum += i;\n}\n"),
    ("<ul>\n  <li>one</li>\n  <li>two", "</li>", "\n</ul>\n"),
)


@dataclass(frozen=True, slots=True)
class FimVerdict:
    """How a model filled the holes: how many it was given, filled exactly, and ended by itself."""

    holes: int
    exact: int
    ended: int

    @property
    def trained(self) -> bool:
        """A model that was never trained on the markers fills none, or runs on through nearly all of them."""
        return self.exact >= 2 and self.ended >= self.holes // 2

    def __str__(self) -> str:
        return f"probe: {self.exact} of {self.holes} holes filled exactly, {self.ended} ended by themselves"


async def probe_fim(engine: Engine, model: Model, fim: FimFormat) -> FimVerdict:
    """Fill the holes, or recall how this model did. Each hole is at most 24 tokens."""
    file = _verdict_file(model, fim)
    if (known := _read(file)) is not None:
        return known
    exact = ended = 0
    for before, middle, after in HOLES:
        text, finish = await _fill(engine, model, fim, before, after)
        exact += text.strip() == middle.strip()
        ended += finish is FinishReason.STOP
    verdict = FimVerdict(len(HOLES), exact, ended)
    log.info("%s: %s", model.name, verdict)
    _write(file, verdict)
    return verdict


async def _fill(
    engine: Engine, model: Model, fim: FimFormat, before: str, after: str
) -> tuple[str, FinishReason | None]:
    head, newline, line = before.rpartition("\n")
    encode = model.tokenizer.encode
    prompt = fim.render(encode(head + newline), encode(line), encode(after))
    request = GenerationRequest(
        prompt.tokens, _MAX_TOKENS, stop_tokens=fim.stop_tokens, priority=Priority.INTERACTIVE, cache_owner="probe"
    )
    generation = engine.generate(model, request)
    try:
        tokens = [token.id async for token in generation]
    finally:
        generation.cancel()
    text = model.tokenizer.decode(token for token in tokens if token not in fim.stop_tokens)
    return text, generation.stats.finish_reason


def _verdict_file(model: Model, fim: FimFormat) -> Path:
    """Named by what decides the verdict: configuration, weights and tokenizer of the model, the format, the holes."""
    identity = hashlib.sha256((model.path / "config.json").read_bytes())
    for file in sorted([*model.path.glob("model*.safetensors"), *model.path.glob("tokenizer*")]):
        identity.update(f"{file.name}:{file.stat().st_size}:{file.stat().st_mtime_ns}".encode())
    identity.update(f"{fim.family.name}:{fim.layout}:{sorted(fim.stop_tokens)}:{HOLES}".encode())
    return platformdirs.user_cache_path("harmony-ls") / "fim-probe" / f"{identity.hexdigest()[:32]}.json"


def _read(file: Path) -> FimVerdict | None:
    try:
        fields = json.loads(file.read_text(encoding="utf-8"))
        return FimVerdict(int(fields["holes"]), int(fields["exact"]), int(fields["ended"]))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _write(file: Path, verdict: FimVerdict) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(asdict(verdict)), encoding="utf-8")
    except OSError as error:
        log.warning("The probe's verdict could not be remembered in %s: %s", file, error)
