"""The page of a result: headline figures, the charts, the table of numbers, and how it all was measured."""

from collections.abc import Sequence
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Any

from harmony_ls.cli.bench.inline.course import BenchResult
from harmony_ls.cli.bench.inline.replay import KeyRecord
from harmony_ls.cli.bench.inline.report.calibration_chart import SERIES, calibration_chart
from harmony_ls.cli.bench.inline.report.key_charts import answer_bar, answer_curve, line_strip
from harmony_ls.cli.bench.inline.report.method import conditions, method
from harmony_ls.cli.bench.inline.report.overview_chart import overview_chart
from harmony_ls.cli.bench.inline.targets import TARGETS
from harmony_ls.cli.bench.inline.typing_blocks import Block
from harmony_ls.cli.bench.table import format_value

__all__ = ["render"]

_STYLE = Path(__file__).with_name("style.css")


def render(document: dict[str, Any], result: BenchResult) -> str:
    """The whole page as text."""
    model = document["model"]["name"] if document["model"] else "no model"
    sections = [
        f"<h1>Inline completion with {escape(str(model))}</h1>",
        f'<p class="lead">{escape(_lead(document))}</p>',
        '<p class="partial">The run was interrupted. These are the figures up to that moment.</p>'
        if document["partial"]
        else "",
        "".join(f'<p class="partial">Not measured: {escape(fault)}</p>' for fault in document["faults"]),
        _cards(document),
        _lines(result.keys, result.blocks),
        _answers(document, result.keys),
        _calibration(document),
        _numbers(document),
        method(document),
        conditions(document),
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>harmony-ls bench inline: {escape(str(model))}</title>\n"
        f"<style>\n{_STYLE.read_text(encoding='utf-8')}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(section for section in sections if section)
        + "\n</main>\n</body>\n</html>\n"
    )


def _lead(document: dict[str, Any]) -> str:
    machine = document["machine"]
    measured = f"Measured on {document['date'][:10]}, {machine['processor']}, {machine['cores']} cores"
    if "n_keys" in document:
        return f"{document['n_keys']:,} keys typed into {document['n_lines']} lines of real Python files. {measured}."
    return f"{measured}."


def _cards(document: dict[str, Any]) -> str:
    cards = []
    if (ratio := document.get("ttft_ratio_with_model")) is not None:
        ours = document["compared_ours_with_model_first_token_ms_p50"]
        theirs = document["mlx_lm_server_with_model_first_token_ms_p50"]
        told = f"of mlx_lm.server's time to the first token where the model is asked: {ours:.0f} ms / {theirs:.0f} ms"
        cards.append((f"{ratio:.2f}", told + _of_all(document, "ttft_ratio_with_model", "ttft_ratio_vs_mlx_lm_server")))
    if (ratio := document.get("latency_ratio_with_model")) is not None:
        told = "of its time to the whole answer where the model is asked"
        if (shown := document.get("latency_ratio_shown_with_model")) is not None:
            told += f"; {shown:.2f} where its text is shown (n {document['n_compared_keys_shown_with_model']})"
        told += _of_all(document, "latency_ratio_with_model", "latency_ratio_vs_mlx_lm_server")
        cards.append((f"{ratio:.2f}", told))
    if (rate := document.get("compared_answered_without_model_rate")) is not None:
        cards.append((f"{rate:.0%}", f"of the {document['n_compared_keys']} compared keys are answered without it"))
    if (recomputed := document.get("recomputed_p50")) is not None:
        told = f"prompt tokens computed again per key that asks the model, of {document['prompt_tokens_p50']:g}"
        cards.append((f"{recomputed:g}", told))
    if (rate := document.get("answered_without_model_rate")) is not None:
        cards.append(
            (
                f"{rate:.0%}",
                "of all keys are answered without the model: no suggestion is accepted, all is typed through",
            )
        )
    if (latency := document.get("key_ms_p95")) is not None:
        cards.append((f"{latency:.0f} ms", f"for 95 % of all keys; {document['key_ms_p50']:.0f} ms for half of them"))
    if (rate := document.get("shown_first_identifier_rate")) is not None:
        told = f"of what is shown begins with the right identifier; something is shown in {document['show_rate']:.0%}"
        cards.append((f"{rate:.0%}", told))
    if (rate := document.get("quiet_rate")) is not None:
        cards.append((f"{rate:.0%}", "quiet where nothing belongs"))
    told = "".join(
        f'<div class="card"><b>{escape(value)}</b><span>{escape(name)}</span></div>' for value, name in cards
    )
    return f'<div class="cards">{told}</div>' if cards else ""


def _of_all(document: dict[str, Any], key: str, key_of_all: str) -> str:
    """How sure a ratio is, and the same ratio over all compared keys."""
    interval = document["intervals"].get(key)
    between = "" if interval is None else f", 95 % interval {interval['low']:.2f} to {interval['high']:.2f}"
    over_all = document.get(key_of_all)
    of_all = "" if over_all is None else f"; {over_all:.2f} over all {document['samples'][key_of_all]} compared keys"
    return f" (ratio of medians, n {document['samples'][key]}{between}){of_all}"


def _lines(keys: Sequence[KeyRecord], blocks: Sequence[Block]) -> str:
    compared = [record for record in keys if record.rival is not None]
    if not compared:
        return ""
    parts = [
        "<h2>Key by key, beside mlx_lm.server</h2>",
        '<p class="explain">Each panel is one typed line, a key above its character. Both scales are logarithmic. '
        "Point at a dot for its figures.</p>",
        _legend(
            ("ours", "harmony-ls, asked the model"),
            ("hollow", "harmony-ls, answered without a generation"),
            ("theirs", "mlx_lm.server, same model, usual prompt"),
        ),
    ]
    parts.append('<div class="strips">')
    lines = [list(group) for _, group in groupby(compared, key=lambda record: (record.block, record.line))]
    # Short ones find room beside each other.
    for group in sorted(lines, key=len, reverse=True):
        block, line = group[0].block, group[0].line
        typed = blocks[block]
        place = f"{typed.file.package}/{typed.file.path}, line {typed.start + line + 1}"
        strip = line_strip(group)
        parts.append(f'<div class="panel"><p class="where">{escape(place)}</p><div class="scroll">{strip}</div></div>')
    return "\n".join([*parts, "</div>"])


def _answers(document: dict[str, Any], keys: Sequence[KeyRecord]) -> str:
    if not keys:
        return ""
    model = document["n_keys_with_model"] / document["n_keys"]
    shares = [
        ("typed", "typed through what is shown", document["answered_by_type_through"]),
        ("memory", "from memory", document["answered_by_cache"]),
        ("gate", "gated before the model", document["answered_by_gate"]),
        ("model", "asked the model", model),
    ]
    shares.append(("other", "waited for the generation that was running", 1 - sum(share for _, _, share in shares)))
    return "\n".join(
        [
            "<h2>How soon, and from where</h2>",
            '<p class="explain">The share of keys that had been answered after a time, with a suggestion or with '
            "nothing (the model is not sure, the deadline passed). mlx_lm.server always writes its whole answer; it "
            "was asked on the compared lines only.</p>",
            _legend(("ours", "harmony-ls, all keys"), ("theirs", "mlx_lm.server")),
            f'<div class="panel"><div class="scroll fit">{answer_curve(keys)}</div></div>',
            _legend(*((kind, f"{name}, {share:.0%}") for kind, name, share in shares if share > 0.0005)),
            f'<div class="panel"><div class="scroll fit">{answer_bar(shares)}</div></div>',
            "<h2>Every key</h2>",
            '<p class="explain">The whole replay from the first key to the last, file by file; the first key in a '
            "file reads its prompt for the first time.</p>",
            _legend(
                ("ours", "harmony-ls, asked the model"),
                ("typed", "harmony-ls, answered without a generation"),
                ("theirs", "mlx_lm.server"),
            ),
            f'<div class="panel"><div class="scroll fit">{overview_chart(keys)}</div></div>',
        ]
    )


def _calibration(document: dict[str, Any]) -> str:
    if not document.get("calibration"):
        return ""
    chart = calibration_chart(document["calibration"], document["settings"]["threshold"])
    return "\n".join(
        [
            "<h2>How sure before it is shown</h2>",
            f'<p class="explain">{document["n_cases"]} places in code and {document["n_quiet_cases"]} finished '
            "statements of packages that the embedded model never saw. A suggestion is shown when the probability of "
            "its first tokens reaches the threshold.</p>",
            _legend(*((kind, name) for _, kind, name in SERIES)),
            f'<div class="panel"><div class="scroll fit">{chart}</div></div>',
        ]
    )


def _numbers(document: dict[str, Any]) -> str:
    rows = []
    for target in TARGETS:
        verdict = document["verdicts"][target.key]
        interval = document["intervals"].get(target.key)
        n_samples = document["samples"].get(target.key, "")
        between = (
            ""
            if interval is None
            else f"{format_value(interval['low'], target.unit)} to {format_value(interval['high'], target.unit)}"
        )
        rows.append(
            f'<tr><td>{escape(target.meaning)}<span class="code">{target.key}</span></td>'
            f'<td class="number">{escape(format_value(document[target.key], target.unit))}</td>'
            f'<td class="number">{n_samples}</td>'
            f'<td class="number interval">{escape(between)}</td>'
            f'<td class="number">{escape(document["targets"].get(target.key, ""))}</td>'
            f'<td><span class="verdict {verdict.replace(" ", "-")}">{verdict}</span></td></tr>'
        )
    head = (
        '<tr><th>number</th><th class="number">measured</th><th class="number">n</th>'
        '<th class="number interval">95 % interval</th><th class="number">target</th><th>verdict</th></tr>'
    )
    table = f'<table class="numbers"><thead>{head}</thead><tbody>{"".join(rows)}</tbody></table>'
    return f'<h2>The numbers</h2>\n<div class="panel"><div class="scroll">{table}</div></div>'


def _legend(*entries: tuple[str, str]) -> str:
    items = "".join(
        f'<span><i class="{"hollow" if kind == "hollow" else "swatch-" + kind}"></i>{escape(name)}</span>'
        for kind, name in entries
    )
    return f'<div class="legend">{items}</div>'
