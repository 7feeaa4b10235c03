"""The last outcomes of inline completion, with reasons, for status and doctor.

It holds no text of a document but the newest prompt.
"""

import statistics
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import PurePath
from typing import Any

from harmony_ls.features.inline.request import InlineCompletionRequest, Offer

__all__ = ["Journal", "Speeds"]

_KEPT = 200
_N_FOR_SPEED = 20


@dataclass(frozen=True, slots=True)
class Speeds:
    """How fast the model has been in its last completions: medians, None where nothing was measured yet.

    ``first_token_ms`` is the time from the request to the first token that adds to what was typed.
    """

    tokens_per_second: float | None = None
    first_token_ms: float | None = None


@dataclass(frozen=True, slots=True)
class _Entry:
    at: str
    file: str
    offset: int
    invoked: bool
    outcome: str
    detail: str
    stats: dict[str, Any]


class Journal:
    """A ring of outcomes."""

    def __init__(self) -> None:
        self._entries: deque[_Entry] = deque(maxlen=_KEPT)
        self._counts: Counter[str] = Counter()
        self._last_prompt: Callable[[], str] = str

    def note_prompt(self, describe: Callable[[], str]) -> None:
        """Remember the newest prompt; it becomes text only when a person asks for the report."""
        self._last_prompt = describe

    def record(self, request: InlineCompletionRequest, offer: Offer) -> None:
        """Add one outcome."""
        outcome = offer.items[0].source.value if offer.items else (offer.reason.value if offer.reason else "")
        self._counts[outcome] += 1
        name = PurePath(request.document.path).name if request.document.path else request.document.uri[-60:]
        self._entries.append(
            _Entry(
                at=datetime.now().astimezone().isoformat(timespec="milliseconds"),
                file=name,
                offset=request.offset,
                invoked=request.invoked,
                outcome=outcome,
                detail=offer.detail,
                stats=asdict(offer.stats),
            )
        )

    @property
    def speeds(self) -> Speeds:
        """The speeds of the last twenty completions that the model was asked for."""
        asked = [entry.stats for entry in self._entries if entry.stats["prompt_tokens"]][-_N_FOR_SPEED:]
        paces = [stats["tokens_per_second"] for stats in asked if stats["tokens_per_second"] is not None]
        first = [stats["first_token_ms"] for stats in asked if stats["first_token_ms"] is not None]
        return Speeds(_median(paces, digits=1), _median(first, digits=1))

    def report(self) -> dict[str, Any]:
        """Counts by outcome since the start, latency and recomputed tokens of the kept ones, and the newest entries."""
        asked = [entry for entry in self._entries if entry.stats["prompt_tokens"]]
        return {
            "counts": dict(self._counts.most_common()),
            "withModel": {
                "requests": len(asked),
                "medianTotalMs": _median([entry.stats["total_ms"] for entry in asked]),
                "medianFirstTokenMs": _median(
                    [entry.stats["first_token_ms"] for entry in asked if entry.stats["first_token_ms"] is not None]
                ),
                "medianComputedPromptTokens": _median([entry.stats["computed_prompt_tokens"] for entry in asked]),
            },
            "last": [asdict(entry) for entry in list(self._entries)[-20:][::-1]],
            "lastPrompt": self._last_prompt(),
        }


def _median(values: list[float], *, digits: int = 3) -> float | None:
    return round(statistics.median(values), digits) if values else None
