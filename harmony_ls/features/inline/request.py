"""The values of an inline completion: what is asked, what is offered, and the reason where nothing is.

Plain frozen data in editor terms (code-point offsets into one document); the language server translates them.
"""

from dataclasses import dataclass, field
from enum import StrEnum

from harmony_ls.features.document import DocumentSnapshot

__all__ = [
    "InlineCompletion",
    "InlineCompletionRequest",
    "Offer",
    "OfferStats",
    "Reason",
    "SelectedCompletion",
    "Source",
]


@dataclass(frozen=True, slots=True)
class SelectedCompletion:
    """The item that is selected in the editor's completion list: ``text`` would replace ``start``..``end``."""

    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class InlineCompletionRequest:
    """What the editor asks: a completion at ``offset`` of ``document``.

    ``invoked`` is true when a person asked by a command, false when the editor asks while typing.
    """

    document: DocumentSnapshot
    offset: int
    invoked: bool = False
    selected: SelectedCompletion | None = None


class Source(StrEnum):
    """Where an offered text comes from. Only ``MODEL`` cost a generation of its own."""

    TYPED_THROUGH = "typedThrough"
    CACHE = "cache"
    ADOPTED = "adopted"
    MODEL = "model"


class Reason(StrEnum):
    """Why nothing is offered. Every empty offer has one; ``harmony-ls doctor`` and ``harmony/doctor`` show them."""

    DISABLED = "disabled"
    NOT_OPEN = "notOpen"
    EXCLUDED_FILE = "excludedFile"
    DOCUMENT_TOO_LARGE = "documentTooLarge"
    LINE_TOO_LONG = "lineTooLong"
    POSITION_OUTSIDE = "positionOutside"
    NOT_TRIGGERED = "notTriggered"
    DELETING = "deleting"
    MID_LINE = "midLine"
    NOTHING_TYPED = "nothingTyped"
    COMPLETION_LIST = "completionList"
    MODEL_LOADING = "modelLoading"
    MODEL_FAILED = "modelFailed"
    SUPERSEDED = "superseded"
    CANCELLED = "cancelled"
    TIMED_OUT = "timedOut"
    LOW_CONFIDENCE = "lowConfidence"
    EMPTY_ANSWER = "emptyAnswer"
    REPEATS_DOCUMENT = "repeatsDocument"
    REPEATS_ITSELF = "repeatsItself"
    TOO_SHORT = "tooShort"
    UNSAFE_TEXT = "unsafeText"
    NOT_SHOWABLE = "notShowable"
    INTERNAL_ERROR = "internalError"


@dataclass(frozen=True, slots=True)
class OfferStats:
    """What one offer cost. Times are milliseconds since the request; token counts are zero without the model.

    ``healed_tokens`` of the ``generated_tokens`` only spelled again what was typed. ``first_token_ms`` is the time to
    the first token that adds to it, or ends the answer. ``tokens_per_second`` is the pace after the first token, None
    where there is no second one.
    """

    prompt_tokens: int = 0
    computed_prompt_tokens: int = 0
    generated_tokens: int = 0
    healed_tokens: int = 0
    first_token_ms: float | None = None
    tokens_per_second: float | None = None
    total_ms: float = 0.0
    confidence: float | None = None


@dataclass(frozen=True, slots=True)
class InlineCompletion:
    """One completion: ``text`` replaces ``start``..``end`` of the document (both code-point offsets)."""

    text: str
    start: int
    end: int
    source: Source


@dataclass(frozen=True, slots=True)
class Offer:
    """The one answer to a request: items, best first, or none and the reason. ``detail`` is a sentence for doctor."""

    items: tuple[InlineCompletion, ...] = ()
    reason: Reason | None = None
    detail: str = ""
    stats: OfferStats = field(default_factory=OfferStats)
