"""The few pieces of SVG that the charts are made of: scales, axes, marks. Colours are classes of the page's style."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

__all__ = ["LinearScale", "LogScale", "document", "element", "number", "path_of", "text"]


@dataclass(frozen=True, slots=True)
class LinearScale:
    """Values ``low``..``high`` on pixels ``start``..``end``."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low) if self.high > self.low else 0.0
        return self.start + min(1.0, max(0.0, share)) * (self.end - self.start)


@dataclass(frozen=True, slots=True)
class LogScale:
    """The same on a logarithmic scale. ``shift`` is added first, so that 0 can be drawn."""

    low: float
    high: float
    start: float
    end: float
    shift: float = 0.0

    def __call__(self, value: float) -> float:
        low, high = math.log10(self.low + self.shift), math.log10(self.high + self.shift)
        share = (math.log10(max(value + self.shift, 1e-9)) - low) / (high - low) if high > low else 0.0
        return self.start + min(1.0, max(0.0, share)) * (self.end - self.start)


def number(value: float) -> str:
    """A coordinate, short."""
    return f"{value:.1f}".removesuffix(".0")


def element(name: str, content: str = "", /, **attributes: str | float) -> str:
    """One element. ``class_`` means class, and underscores in names mean hyphens."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(value if isinstance(value, str) else number(value))}"'
        for key, value in attributes.items()
    )
    return f"<{name}{written}>{content}</{name}>" if content else f"<{name}{written}/>"


def text(x: float, y: float, content: str, class_: str, anchor: str = "start") -> str:
    """A piece of text."""
    return element("text", escape(content), x=x, y=y, class_=class_, text_anchor=anchor)


def path_of(points: Sequence[tuple[float, float]]) -> str:
    """The data of a path through points."""
    return "".join(f"{'L' if index else 'M'}{number(x)} {number(y)}" for index, (x, y) in enumerate(points))


def document(width: float, height: float, label: str, parts: Iterable[str]) -> str:
    """An SVG picture that fills its box; ``label`` is what a screen reader says."""
    return (
        f'<svg viewBox="0 0 {number(width)} {number(height)}" width="{number(width)}" height="{number(height)}" '
        f'role="img" aria-label="{escape(label)}" xmlns="http://www.w3.org/2000/svg">{"".join(parts)}</svg>'
    )
