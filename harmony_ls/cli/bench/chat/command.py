"""``harmony-ls bench chat``: which models are measured, and what their figures come to."""

import argparse
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harmony_ls.cli.bench.chat.numbers import ChatRecord, ChatSizes, measure_chat
from harmony_ls.cli.bench.document import bench_document
from harmony_ls.cli.bench.figures import median
from harmony_ls.cli.bench.running import Outcome, Watcher, run_bench
from harmony_ls.cli.bench.shapes import SHAPES, Shape, write_shape
from harmony_ls.cli.bench.table import print_numbers
from harmony_ls.cli.bench.targets import Target
from harmony_ls.engine.engine import Engine
from harmony_ls.engine.models.model import ModelSpec
from harmony_ls.errors import HarmonyLsError
from harmony_ls.session.chat_model import load_chat_model

__all__ = ["SHAPES", "ChatPlan", "bench_chat"]

_DECODE = Target(
    "decode_ratio_vs_mlx_lm",
    "Tokens a second of a session / of mlx-lm alone, with the same prompt in turns, median of the pairs",
    "x",
    ">=",
    0.95,
)
_PARSER = Target("parser_us_per_token", "Reading one token of an answer, events included, median", "us", "<=", 20.0)


@dataclass(frozen=True, slots=True)
class ChatPlan:
    """What is asked for: models by name, or shapes that the bench makes itself."""

    models: tuple[str, ...] = ()
    shapes: tuple[str, ...] = ("llama", "gpt-oss")
    sizes: ChatSizes = field(default_factory=ChatSizes)
    trust_remote_code: bool = False


@dataclass(slots=True)
class _Result(Outcome):
    records: list[ChatRecord] = field(default_factory=list)


def bench_chat(plan: ChatPlan, *, as_json: bool) -> int:
    """Run the bench and show its result; return the exit code."""
    result = _Result()
    # A text that is on every machine, and long enough for the longest prompt.
    text = Path(argparse.__file__).read_text(encoding="utf-8")
    return run_bench(
        lambda watcher: _run(plan, text, result, watcher),
        result,
        lambda: _document(result),
        lambda document, console: print_numbers(document, _targets(result), console, _models(document)),
        as_json=as_json,
    )


async def _run(plan: ChatPlan, text: str, result: _Result, watcher: Watcher) -> None:
    subjects: list[tuple[str, Shape | None]] = [(model, None) for model in plan.models]
    subjects = subjects or [(name, SHAPES[name]) for name in plan.shapes]
    for name, shape in subjects:
        with tempfile.TemporaryDirectory(prefix="harmony-ls-bench-") as folder:
            try:
                async with Engine() as engine:
                    reference = name
                    if shape is not None:
                        watcher.begin(f"Making the shape {name}", None)
                        reference = str(await write_shape(engine, shape, Path(folder) / name))
                    watcher.begin(f"Loading {name}", None)
                    spec = ModelSpec(reference, trust_remote_code=plan.trust_remote_code)
                    chat_model = await load_chat_model(engine, spec)
                    watcher.begin(f"Measuring {name}", plan.sizes.n_measurements)
                    record = ChatRecord()
                    result.records.append(record)
                    await measure_chat(chat_model, text, plan.sizes, record, watcher.advance)
            except (HarmonyLsError, OSError, ValueError) as error:
                result.faults.append(f"{name}: {error}")


def _targets(result: _Result) -> tuple[Target, ...]:
    """The targets of the models that were measured: each kind of cache is judged alone."""
    kinds = dict.fromkeys(record.model_type for record in result.records)
    turn2 = tuple(
        Target(
            f"turn2_prefill_ratio_{kind}",
            f"Tokens that a second turn of {kind} computed / that are new in its prompt, median",
            "x",
            "<=",
            1.2,
        )
        for kind in kinds
    )
    return (_DECODE, _PARSER, *turn2)


def _document(result: _Result) -> dict[str, Any]:
    """The numbers under their keys. Of several models the worst counts."""
    records = result.records
    numbers: dict[str, float | None] = {
        _DECODE.key: _worst(min, [record.decode_ratio for record in records]),
        _PARSER.key: _worst(max, [record.parser_us for record in records]),
    }
    samples = {_DECODE.key: min((len(record.mlx_lm_rates) for record in records), default=0)}
    for kind in dict.fromkeys(record.model_type for record in records):
        of_kind = [record for record in records if record.model_type == kind]
        key = f"turn2_prefill_ratio_{kind}"
        numbers[key] = _worst(max, [record.turn2_ratio for record in of_kind])
        samples[key] = min(len(record.turn2) for record in of_kind)
    conditions = {"models": [_model(record) for record in records]}
    notes = ["Of several models the worst counts."] if len(records) > 1 else []
    return bench_document(
        "chat", result, _targets(result), numbers, samples=samples, notes=notes, conditions=conditions
    )


def _model(record: ChatRecord) -> dict[str, Any]:
    return {
        "name": record.model,
        "type": record.model_type,
        "precision": record.precision,
        "gigabytes": record.n_bytes / 1e9,
        "device": record.device,
        "prompt_format": record.summary,
        "decode_tokens_per_second": median(record.session_rates),
        "mlx_lm_tokens_per_second": median(record.mlx_lm_rates),
        "decode_ratio_vs_mlx_lm": record.decode_ratio,
        "n_decode_pairs": len(record.mlx_lm_rates),
        "prefill_tokens_per_second": record.prefill_rate,
        "turn2_computed_and_new_tokens": record.turn2,
        "parser_us_per_token": record.parser_us,
    }


def _worst(choose: Callable[[list[float]], float], values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return choose(known) if known else None


def _models(document: dict[str, Any]) -> list[str]:
    """What was measured, a line for each model."""

    def told(value: float | None) -> str:
        return "-" if value is None else f"{value:,.1f}"

    return [
        f"{model['name']} ({model['type']}, {model['precision']}, {model['gigabytes']:.2f} GB, {model['device']}): "
        f"{told(model['decode_tokens_per_second'])} tokens/s, mlx-lm alone {told(model['mlx_lm_tokens_per_second'])}; "
        f"prefill {told(model['prefill_tokens_per_second'])} tokens/s; {model['prompt_format']}"
        for model in document["models"]
    ]
