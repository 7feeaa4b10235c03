"""The statistics of the bench: percentiles, intervals of shares, ratios of medians. It measures nothing itself."""

import math
import random
import statistics
from collections.abc import Sequence
from typing import NamedTuple

__all__ = [
    "Interval",
    "bootstrap_median",
    "bootstrap_ratio",
    "median",
    "percentile",
    "ratio_of_medians",
    "ratio_of_pairs",
    "share",
    "wilson_interval",
]

# The two-sided 95 % quantile of the normal distribution.
_Z = 1.959964


class Interval(NamedTuple):
    """A 95 % confidence interval."""

    low: float
    high: float


def median(values: Sequence[float]) -> float | None:
    """The median, or None of nothing."""
    return statistics.median(values) if values else None


def percentile(values: Sequence[float], percent: float) -> float | None:
    """The value below which ``percent`` of the values lie, interpolated between neighbours; None of nothing."""
    if not values:
        return None
    ordered = sorted(values)
    rank = (len(ordered) - 1) * percent / 100
    below = math.floor(rank)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (rank - below)


def ratio_of_medians(ours: Sequence[float], theirs: Sequence[float]) -> float | None:
    """median(ours) / median(theirs), or None where that is none."""
    numerator, denominator = median(ours), median(theirs)
    return numerator / denominator if numerator is not None and denominator else None


def ratio_of_pairs(ours: Sequence[float], theirs: Sequence[float]) -> float | None:
    """The median of ours / theirs over the pairs that are whole: an interrupted run may have half of one at its end."""
    return median([one / other for one, other in zip(ours, theirs, strict=False) if other])


def share(count: int, total: int) -> float | None:
    """``count`` of ``total``, or None where there is nothing to take a share of."""
    return count / total if total else None


def wilson_interval(count: int, total: int) -> Interval | None:
    """The interval of a share. It stays inside 0..1 and holds for small totals too (Wilson 1927)."""
    if not total:
        return None
    rate = count / total
    denominator = 1 + _Z**2 / total
    centre = (rate + _Z**2 / (2 * total)) / denominator
    half = _Z * math.sqrt(rate * (1 - rate) / total + _Z**2 / (4 * total**2)) / denominator
    return Interval(max(0.0, centre - half), min(1.0, centre + half))


def bootstrap_median(values: Sequence[float], seed: int, n_resamples: int = 1000) -> Interval | None:
    """The interval of a median, by resampling the values."""
    if len(values) < 2:
        return None
    randomness = random.Random(seed)
    medians = [statistics.median(randomness.choices(values, k=len(values))) for _ in range(n_resamples)]
    return _middle(medians)


def bootstrap_ratio(
    ours: Sequence[float], theirs: Sequence[float], seed: int, n_resamples: int = 1000
) -> Interval | None:
    """The interval of median(ours) / median(theirs) for paired values, by resampling the pairs."""
    if len(ours) < 2 or len(ours) != len(theirs):
        return None
    randomness = random.Random(seed)
    indices = range(len(ours))
    ratios = []
    for _ in range(n_resamples):
        chosen = randomness.choices(indices, k=len(ours))
        denominator = statistics.median([theirs[index] for index in chosen])
        if denominator > 0:
            ratios.append(statistics.median([ours[index] for index in chosen]) / denominator)
    return _middle(ratios)


def _middle(resampled: Sequence[float]) -> Interval | None:
    """Between what 95 % of the resamples lie."""
    low, high = percentile(resampled, 2.5), percentile(resampled, 97.5)
    return None if low is None or high is None else Interval(low, high)
