"""What ``harmony-ls bench lsp`` keeps of its measurements, and how large they are."""

from dataclasses import dataclass, field

__all__ = ["LspRecord", "LspSizes", "TypingRecord"]


@dataclass(frozen=True, slots=True)
class LspSizes:
    """How often each measurement is made, and how much is written in it.

    ``changes`` are the pairs of a request alone and a change beside each of two chats, in ``blocks`` in turns.
    """

    changes: int = 600
    blocks: int = 4
    idle_changes: int = 200
    burst_changes: int = 2_000
    code_actions: int = 200
    decode_pairs: int = 5
    decode_tokens: int = 128
    keys: int = 40
    requests: int = 20_000
    warm_up: int = 4_000


@dataclass(slots=True)
class TypingRecord:
    """Pairs that were measured one behind the other, in milliseconds: the smallest request alone, and a change of a
    document to the answer of that request behind it. An interrupted run may have half of a pair at the end.

    ``steps_ms`` are the mean lengths of the model's steps in the chats beside them, as the server counts them.
    ``cpu_seconds`` is what all threads of the server used in ``seconds``.
    """

    request_ms: list[float] = field(default_factory=list)
    change_ms: list[float] = field(default_factory=list)
    steps_ms: list[float] = field(default_factory=list)
    cpu_seconds: float = 0.0
    seconds: float = 0.0

    @property
    def added_ms(self) -> list[float]:
        """What the change added to the request, pair by pair."""
        return [change - request for request, change in zip(self.request_ms, self.change_ms, strict=False)]

    @property
    def n_pairs(self) -> int:
        """How many pairs are whole."""
        return min(len(self.request_ms), len(self.change_ms))


@dataclass(slots=True)
class LspRecord:
    """The raw figures; lists that grow, so that an interrupted run leaves what it has. Times are in milliseconds.

    ``change_cpu_ms`` is what one of many changes in a row costs the server's processor, nothing else being done.
    ``resident_bytes`` were taken evenly over the requests of the soak, after its warm-up, and ``n_edits`` counts its
    workspace edits. ``n_surplus`` counts answers beyond the first to a request. ``n_tool_calls`` ran while keys waited.
    """

    idle: TypingRecord = field(default_factory=TypingRecord)
    busy: TypingRecord = field(default_factory=TypingRecord)
    busy_deep: TypingRecord = field(default_factory=TypingRecord)
    change_cpu_ms: list[float] = field(default_factory=list)
    code_action_ms: list[float] = field(default_factory=list)
    chat_rates: list[float] = field(default_factory=list)
    mlx_lm_rates: list[float] = field(default_factory=list)
    idle_key_ms: list[float] = field(default_factory=list)
    busy_key_ms: list[float] = field(default_factory=list)
    n_tool_calls: int = 0
    resident_bytes: list[int] = field(default_factory=list)
    n_requests: int = 0
    n_unanswered: int = 0
    n_surplus: int = 0
    n_edits: int = 0
