"""The whole replay in one picture: latency and computed prompt tokens of every key, in order. Pure drawing."""

from collections.abc import Iterable, Sequence

from harmony_ls.cli.bench.inline.replay import KeyRecord
from harmony_ls.cli.bench.inline.report import svg

__all__ = ["overview_chart"]

_LEFT, _RIGHT = 58.0, 16.0


def overview_chart(records: Sequence[KeyRecord], width: float = 1060) -> str:
    """Two clouds of dots over the number of the key; vertical lines stand between files."""
    across = svg.LinearScale(0, max(1, len(records) - 1), _LEFT, width - _RIGHT)
    latency = svg.LogScale(0.3, 10_000, 170, 24)
    tokens = svg.LogScale(0, 3000, 330, 208, shift=1)
    parts = []
    for scale, values, names in (
        (latency, (1, 10, 100, 1000, 10_000), ("1 ms", "10 ms", "100 ms", "1 s", "10 s")),
        (tokens, (0, 10, 100, 1000), ("0", "10", "100", "1000")),
    ):
        for value, name in zip(values, names, strict=True):
            y = scale(value)
            parts.append(svg.element("line", x1=_LEFT, x2=width - _RIGHT, y1=y, y2=y, class_="grid"))
            parts.append(svg.text(_LEFT - 8, y + 4, name, "tick", "end"))
    for index in range(1, len(records)):
        if records[index].block != records[index - 1].block:
            x = across(index - 0.5)
            parts.append(svg.element("line", x1=x, x2=x, y1=24, y2=330, class_="grid"))
    parts.append(svg.text(_LEFT, 12, "latency", "axis-title"))
    parts.append(svg.text(_LEFT, 202, "prompt tokens computed", "axis-title"))
    parts.append(svg.text(width - _RIGHT, 350, f"{len(records):,} keys", "axis-title", "end"))
    numbered = list(enumerate(records))
    free = [(index, record) for index, record in numbered if not record.used_model]
    asked = [(index, record) for index, record in numbered if record.used_model]
    rivals = [(index, record.rival) for index, record in numbered if record.rival is not None]
    parts += [
        _cloud(((across(index), latency(answer.total_ms)) for index, answer in rivals), "theirs"),
        _cloud(((across(index), tokens(answer.computed_tokens)) for index, answer in rivals), "theirs"),
        _cloud(((across(index), latency(record.client_ms)) for index, record in free), "typed"),
        _cloud(((across(index), latency(record.client_ms)) for index, record in asked), "ours"),
        _cloud(((across(index), tokens(record.computed_tokens)) for index, record in asked), "ours"),
    ]
    return svg.document(width, 356, "Latency and computed prompt tokens of every key of the replay", parts)


def _cloud(points: Iterable[tuple[float, float]], kind: str) -> str:
    """Dots as one path: strokes without length have round ends, and thousands of them stay small."""
    data = "".join(f"M{svg.number(x)} {svg.number(y)}h0" for x, y in points)
    return svg.element("path", d=data, class_=f"cloud {kind}") if data else ""
