"""The calibration curve: what each confidence threshold shows, and how right that is. Pure drawing."""

from collections.abc import Mapping, Sequence
from typing import Any

from harmony_ls.cli.bench.inline.report import svg

__all__ = ["SERIES", "calibration_chart"]

SERIES = (
    ("quiet_rate", "quiet", "quiet after a finished statement"),
    ("shown_first_identifier_rate", "first", "of what is shown: first identifier right"),
    ("shown_exact_rate", "exact", "of what is shown: exact rest of the line"),
    ("show_rate", "show", "something is shown"),
)
"""Key, style and name of each curve."""


def calibration_chart(
    rows: Sequence[Mapping[str, Any]], default: float, width: float = 1060, height: float = 360
) -> str:
    """The four rates by threshold; the default threshold is marked."""
    scale_x = svg.LinearScale(0, 0.9, 58, width - 20)
    scale_y = svg.LinearScale(0, 1, height - 44, 22)
    parts = []
    for share in (0, 0.25, 0.5, 0.75, 1):
        y = scale_y(share)
        parts.append(svg.element("line", x1=58, x2=width - 20, y1=y, y2=y, class_="grid"))
        parts.append(svg.text(50, y + 4, f"{share:.0%}", "tick", "end"))
    for tenth in range(10):
        parts.append(svg.text(scale_x(tenth / 10), height - 24, f"{tenth / 10:g}", "tick", "middle"))
    parts.append(svg.text(width - 20, height - 6, "least probability of the first tokens", "axis-title", "end"))
    x = scale_x(default)
    parts.append(svg.element("line", x1=x, x2=x, y1=22, y2=height - 44, class_="limit"))
    parts.append(svg.text(x + 6, 16, f"default {default:g}", "note"))
    for key, kind, name in SERIES:
        points = [(scale_x(row["threshold"]), scale_y(row[key]), row) for row in rows if row[key] is not None]
        if not points:
            continue
        parts.append(svg.element("path", d=svg.path_of([(x, y) for x, y, _ in points]), class_=f"line bold {kind}"))
        for x, y, row in points:
            title = svg.element("title", f"at {row['threshold']:g}: {name} {row[key]:.1%}")
            parts.append(svg.element("circle", title, cx=x, cy=y, r=3.6, class_=f"dot {kind}"))
    return svg.document(width, height, "What each confidence threshold shows and how right it is", parts)
