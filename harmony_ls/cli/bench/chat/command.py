"""``harmony-ls bench chat``: which models are measured, and what their figures come to."""

import argparse
import operator
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from harmony_ls.cli.bench.chat.numbers import ChatRecord, ChatSizes, measure_chat
from harmony_ls.cli.bench.chat.shapes import SHAPES, Shape, write_shape
from harmony_ls.cli.bench.document import machine, versions
from harmony_ls.cli.bench.running import Outcome, Say, run_bench
from harmony_ls.engine.engine import Engine
from harmony_ls.engine.model import ModelSpec
from harmony_ls.errors import HarmonyLsError
from harmony_ls.session.chat_model import load_chat_model

__all__ = ["SHAPES", "ChatPlan", "bench_chat"]

_MIN_DECODE_RATIO = 0.95
_MAX_TURN2_RATIO = 1.2
_MAX_PARSER_US = 20.0


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
        lambda say: _run(plan, text, result, say), result, lambda: _document(result), _print, as_json=as_json
    )


async def _run(plan: ChatPlan, text: str, result: _Result, say: Say) -> None:
    subjects: list[tuple[str, Shape | None]] = [(model, None) for model in plan.models]
    subjects = subjects or [(name, SHAPES[name]) for name in plan.shapes]
    for name, shape in subjects:
        with tempfile.TemporaryDirectory(prefix="harmony-ls-bench-") as folder:
            try:
                async with Engine() as engine:
                    reference = name
                    if shape is not None:
                        say(f"Making the shape {name}")
                        reference = str(await write_shape(engine, shape, Path(folder) / name))
                    say(f"Loading {name}")
                    spec = ModelSpec(reference, trust_remote_code=plan.trust_remote_code)
                    chat_model = await load_chat_model(engine, spec)
                    say(f"Measuring {name}")
                    record = ChatRecord()
                    result.records.append(record)
                    await measure_chat(chat_model, text, plan.sizes, record, _nothing)
            except (HarmonyLsError, OSError, ValueError) as error:
                result.faults.append(f"{name}: {error}")


def _nothing() -> None:
    """Each model takes a minute; a line at its beginning is progress enough."""


def _document(result: _Result) -> dict[str, Any]:
    """The numbers under their keys. Of several models the worst counts."""
    records = result.records
    numbers: dict[str, float | None] = {
        "decode_ratio_vs_mlx_lm": _worst(min, [record.decode_ratio for record in records]),
        "parser_us_per_token": _worst(max, [record.parser_us for record in records]),
    }
    for kind in dict.fromkeys(record.model_type for record in records):
        ratios = [record.turn2_ratio for record in records if record.model_type == kind]
        numbers[f"turn2_prefill_ratio_{kind}"] = _worst(max, ratios)
    return {
        "bench": "chat",
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "partial": result.is_partial,
        "faults": result.faults,
        "machine": machine(),
        "versions": versions(),
        **{key: None if value is None else round(value, 4) for key, value in numbers.items()},
        "verdicts": {key: _verdict(key, value) for key, value in numbers.items()},
        "models": [_model(record) for record in records],
    }


def _model(record: ChatRecord) -> dict[str, Any]:
    def median(values: Sequence[float]) -> float | None:
        return round(sorted(values)[len(values) // 2], 2) if values else None

    return {
        "name": record.model,
        "type": record.model_type,
        "precision": record.precision,
        "gigabytes": round(record.n_bytes / 1e9, 2),
        "device": record.device,
        "prompt_format": record.summary,
        "decode_tokens_per_second": median(record.session_rates),
        "mlx_lm_tokens_per_second": median(record.mlx_lm_rates),
        "decode_ratio_vs_mlx_lm": None if record.decode_ratio is None else round(record.decode_ratio, 4),
        "n_decode_pairs": len(record.mlx_lm_rates),
        "prefill_tokens_per_second": None if record.prefill_rate is None else round(record.prefill_rate, 1),
        "turn2_computed_and_new_tokens": record.turn2,
        "parser_us_per_token": None if record.parser_us is None else round(record.parser_us, 2),
    }


def _worst(choose: Callable[[list[float]], float], values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return choose(known) if known else None


def _target(key: str) -> tuple[str, float]:
    if key == "decode_ratio_vs_mlx_lm":
        return ">=", _MIN_DECODE_RATIO
    return "<=", _MAX_PARSER_US if key == "parser_us_per_token" else _MAX_TURN2_RATIO


def _verdict(key: str, value: float | None) -> str:
    if value is None:
        return "not measured"
    comparison, bound = _target(key)
    compare = operator.ge if comparison == ">=" else operator.le
    return "met" if compare(value, bound) else "missed"


def _print(document: dict[str, Any], console: Console) -> None:
    table = Table(title="harmony-ls bench chat" + (" (partial)" if document["partial"] else ""), title_justify="left")
    for column in ("number", "measured", "target", "verdict"):
        table.add_column(column)
    for key, verdict in document["verdicts"].items():
        value, (comparison, bound) = document[key], _target(key)
        style = {"met": "green", "missed": "bold red"}.get(verdict, "yellow")
        table.add_row(key, "-" if value is None else f"{value:g}", f"{comparison} {bound:g}", verdict, style=style)
    console.print(table)
    for model in document["models"]:
        console.print(
            f"{model['name']} ({model['type']}, {model['precision']}, {model['gigabytes']} GB, {model['device']}): "
            f"{model['decode_tokens_per_second']} tokens/s, mlx-lm alone {model['mlx_lm_tokens_per_second']}; "
            f"prefill {model['prefill_tokens_per_second']} tokens/s; {model['prompt_format']}",
            markup=False,
            highlight=False,
        )
