"""What a bench promises: its numbers with their meanings and bounds, and the verdict on each that was measured.

Every bench has a table of targets beside its command. Nothing is measured here.
"""

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["Bound", "Target", "Unit", "Verdict", "judge", "told_bound"]

Verdict = Literal["met", "missed", "not measured", "not promised"]
Unit = Literal["", "tokens", "%", "ms", "us", "x"]
"""A plain count, tokens, a share (1 is shown as 100 %), milliseconds, microseconds, a ratio."""

Bound = Callable[[Mapping[str, Any]], float | None]
"""A bound that other numbers of the same run decide; None where these were not measured."""

_COMPARE: dict[str, Callable[[float, float], bool]] = {"<=": operator.le, ">=": operator.ge}


@dataclass(frozen=True, slots=True)
class Target:
    """One number: its key, what exactly it is, its unit, and its bound. Without a comparison it is told, not promised.

    ``meaning`` is all that a reader of the table or of the JSON is told, so it says what is measured and what is not.
    """

    key: str
    meaning: str
    unit: Unit = ""
    comparison: Literal["<=", ">="] | None = None
    bound: float | Bound | None = None

    def bound_in(self, numbers: Mapping[str, Any]) -> float | None:
        """The bound in a run that measured ``numbers``; None where there is none, or where it is not known."""
        if self.comparison is None or self.bound is None:
            return None
        return self.bound(numbers) if callable(self.bound) else self.bound


def judge(target: Target, numbers: Mapping[str, Any]) -> Verdict:
    """Whether a number keeps its promise."""
    value, bound = numbers.get(target.key), target.bound_in(numbers)
    if value is None:
        return "not measured"
    if target.comparison is None:
        return "not promised"
    if bound is None:
        return "not measured"
    return "met" if _COMPARE[target.comparison](value, bound) else "missed"


def told_bound(target: Target, numbers: Mapping[str, Any]) -> str | None:
    """The promise as people read it, such as ``<= 1.3``; None where there is none."""
    bound = target.bound_in(numbers)
    return None if bound is None else f"{target.comparison} {round(bound, 3):g}"
