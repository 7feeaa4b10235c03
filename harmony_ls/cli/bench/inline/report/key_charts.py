"""The charts of the replay: each compared line with its keys, and how soon keys were answered. Pure drawing."""

from collections.abc import Sequence

from harmony_ls.cli.bench.inline.replay import KeyRecord
from harmony_ls.cli.bench.inline.report import svg
from harmony_ls.cli.bench.inline.rival import RivalAnswer
from harmony_ls.features.inline.request import Source

__all__ = ["answer_bar", "answer_curve", "line_strip"]

_CELL = 14.0
_LEFT, _RIGHT = 58.0, 14.0
_LATENCY_TOP, _LATENCY_BOTTOM = 24.0, 124.0
_TOKENS_TOP, _TOKENS_BOTTOM = 158.0, 234.0
_TEXT_BASE = 256.0
_LONGEST_MS = 10_000
_LEAST_CELLS = 30
_EDITOR_LIMIT_MS = 750

_NAMES = {
    Source.MODEL.value: "from the model",
    Source.TYPED_THROUGH.value: "typed through",
    Source.CACHE.value: "from memory",
    Source.ADOPTED.value: "from the generation already running",
    "lowConfidence": "nothing: the model is not sure",
}


def line_strip(records: Sequence[KeyRecord]) -> str:
    """One typed line: above each of its characters the two latencies and the tokens that each had to compute."""
    width = _LEFT + _RIGHT + _CELL * max(_LEAST_CELLS, len(records))
    latency = svg.LogScale(1, _LONGEST_MS, _LATENCY_BOTTOM, _LATENCY_TOP)
    tokens = svg.LogScale(0, 3000, _TOKENS_BOTTOM, _TOKENS_TOP, shift=1)
    parts = [_grid(width, latency, (1, 10, 100, 1000, 10_000), ("1 ms", "10 ms", "100 ms", "1 s", "10 s"))]
    parts.append(_grid(width, tokens, (0, 10, 100, 1000), ("0", "10", "100", "1000")))
    parts.append(svg.text(_LEFT, _LATENCY_TOP - 12, "latency", "axis-title"))
    parts.append(svg.text(_LEFT, _TOKENS_TOP - 8, "prompt tokens computed", "axis-title"))
    places = [(_LEFT + _CELL * (index + 0.5), record) for index, record in enumerate(records)]
    rivals = [(x, record.rival) for x, record in places if record.rival is not None]
    parts.append(_line([(x, latency(answer.total_ms)) for x, answer in rivals], "theirs"))
    parts.append(_line([(x, latency(record.client_ms)) for x, record in places], "ours"))
    parts.append(_line([(x, tokens(answer.computed_tokens)) for x, answer in rivals], "theirs"))
    parts.append(_line([(x, tokens(record.computed_tokens)) for x, record in places], "ours"))
    for x, answer in rivals:
        parts.append(_dot(x, latency(answer.total_ms), "theirs", _tell_rival(answer)))
        parts.append(_dot(x, tokens(answer.computed_tokens), "theirs", _tell_rival(answer)))
    for x, record in places:
        kind = "ours" if record.used_model else "ours hollow"
        parts.append(_dot(x, latency(record.client_ms), kind, _tell(record)))
        parts.append(_dot(x, tokens(record.computed_tokens), kind, _tell(record)))
        shown = "\u23ce" if record.column == 0 else "\u00b7" if record.inserted == " " else record.inserted
        parts.append(svg.text(x, _TEXT_BASE, shown, "key", "middle"))
    typed = "".join(record.inserted for record in records).strip()
    label = f"Latency and computed prompt tokens for each key of: {typed}"
    return svg.document(width, _TEXT_BASE + 10, label, parts)


def answer_curve(records: Sequence[KeyRecord], width: float = 1060, height: float = 300) -> str:
    """Which share of the keys had their whole answer after so many milliseconds."""
    scale_x = svg.LogScale(1, _LONGEST_MS, 58, width - 16)
    scale_y = svg.LinearScale(0, 1, height - 40, 16)
    parts = []
    for share in (0, 0.25, 0.5, 0.75, 1):
        y = scale_y(share)
        parts.append(svg.element("line", x1=58, x2=width - 16, y1=y, y2=y, class_="grid"))
        parts.append(svg.text(50, y + 4, f"{share:.0%}", "tick", "end"))
    for milliseconds, name in ((1, "1 ms"), (10, "10 ms"), (100, "100 ms"), (1000, "1 s"), (10_000, "10 s")):
        parts.append(svg.text(scale_x(milliseconds), height - 20, name, "tick", "middle"))
    limit = scale_x(_EDITOR_LIMIT_MS)
    parts.append(svg.element("line", x1=limit, x2=limit, y1=4, y2=height - 40, class_="limit"))
    parts.append(svg.text(limit - 6, 13, "VS Code gives up: 750 ms", "note", "end"))
    theirs = [record.rival.total_ms for record in records if record.rival is not None]
    for values, kind in ((theirs, "theirs"), ([record.client_ms for record in records], "ours")):
        if values:
            parts.append(
                svg.element("path", d=svg.path_of(_steps(values, scale_x, scale_y)), class_=f"line {kind} bold")
            )
    return svg.document(width, height, "Share of keys answered within a time", parts)


def answer_bar(shares: Sequence[tuple[str, str, float]], width: float = 1060) -> str:
    """One bar divided by how keys were answered: (class, name, share)."""
    parts, x = [], 0.0
    for kind, name, share in shares:
        length = share * width
        title = svg.element("title", f"{name}: {share:.1%}")
        parts.append(svg.element("rect", title, x=x, y=0, width=max(0.0, length - 2), height=34, rx=4, class_=kind))
        if length > 70:
            parts.append(svg.text(x + length / 2 - 1, 22, f"{share:.0%}", "bar-label", "middle"))
        x += length
    label = "How keys were answered: " + ", ".join(f"{name} {share:.0%}" for _, name, share in shares)
    return svg.document(width, 34, label, parts)


def _steps(values: Sequence[float], scale_x: svg.LogScale, scale_y: svg.LinearScale) -> list[tuple[float, float]]:
    """The points of a distribution; many values are thinned out, nobody sees the difference."""
    ordered = sorted(values)
    stride = max(1, len(ordered) // 400)
    chosen = [*range(0, len(ordered), stride), len(ordered) - 1]
    points = [(scale_x(ordered[index]), scale_y((index + 1) / len(ordered))) for index in chosen]
    return [(points[0][0], scale_y(0)), *points, (scale_x(_LONGEST_MS), scale_y(1))]


def _grid(width: float, scale: svg.LogScale, values: Sequence[float], names: Sequence[str]) -> str:
    parts = []
    for value, name in zip(values, names, strict=True):
        y = scale(value)
        parts.append(svg.element("line", x1=_LEFT, x2=width - _RIGHT, y1=y, y2=y, class_="grid"))
        parts.append(svg.text(_LEFT - 8, y + 4, name, "tick", "end"))
    return "".join(parts)


def _line(points: Sequence[tuple[float, float]], kind: str) -> str:
    return svg.element("path", d=svg.path_of(points), class_=f"line {kind}") if len(points) > 1 else ""


def _dot(x: float, y: float, kind: str, tell: str) -> str:
    return svg.element("circle", svg.element("title", tell), cx=x, cy=y, r=3.2, class_=f"dot {kind}")


def _tell(record: KeyRecord) -> str:
    outcome = _NAMES.get(record.outcome, f"nothing: {record.outcome}")
    told = f"harmony-ls: {record.client_ms:.1f} ms, {record.computed_tokens} prompt tokens computed, {outcome}"
    return _escaped(told + (f"; shown: {record.shown.splitlines()[0][:80]}" if record.shown.strip() else ""))


def _tell_rival(answer: RivalAnswer) -> str:
    return _escaped(
        f"mlx_lm.server: {answer.total_ms:.0f} ms, first token after {answer.first_token_ms:.0f} ms, "
        f"{answer.computed_tokens} of {answer.prompt_tokens} prompt tokens computed, {answer.generated_tokens} written"
    )


def _escaped(told: str) -> str:
    return told.replace("&", "&amp;").replace("<", "&lt;")
