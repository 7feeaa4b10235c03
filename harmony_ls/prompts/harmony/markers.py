"""The special tokens of Harmony, looked up in a vocabulary by name. Ids differ between vocabularies, names do not."""

from dataclasses import dataclass
from enum import Enum

from harmony_ls.prompts.tokenizer import Tokenizer

__all__ = ["HarmonyMarkers", "MarkerKind", "markers_of"]


class MarkerKind(Enum):
    """What a special token means to Harmony; the values are its names in the vocabulary."""

    START = "<|start|>"
    END = "<|end|>"
    MESSAGE = "<|message|>"
    CHANNEL = "<|channel|>"
    CONSTRAIN = "<|constrain|>"
    RETURN = "<|return|>"
    CALL = "<|call|>"
    END_OF_TEXT = "<|endoftext|>"


@dataclass(frozen=True, slots=True)
class HarmonyMarkers:
    """The ids of Harmony's special tokens in one vocabulary (openai/harmony, docs/format.md)."""

    start: int
    end: int
    message: int
    channel: int
    constrain: int
    return_: int
    call: int
    end_of_text: int | None = None

    @property
    def stop_tokens(self) -> frozenset[int]:
        """What ends an assistant's generation; ``<|end|>`` only separates its messages."""
        stops = {self.return_, self.call}
        if self.end_of_text is not None:
            stops.add(self.end_of_text)
        return frozenset(stops)

    @property
    def kinds(self) -> dict[int, MarkerKind]:
        """What each of the ids means."""
        kinds = {
            self.start: MarkerKind.START,
            self.end: MarkerKind.END,
            self.message: MarkerKind.MESSAGE,
            self.channel: MarkerKind.CHANNEL,
            self.constrain: MarkerKind.CONSTRAIN,
            self.return_: MarkerKind.RETURN,
            self.call: MarkerKind.CALL,
        }
        return kinds if self.end_of_text is None else {self.end_of_text: MarkerKind.END_OF_TEXT} | kinds


def markers_of(tokenizer: Tokenizer) -> HarmonyMarkers | None:
    """The markers of a vocabulary; None where one of them is missing, so that the model cannot speak Harmony."""
    ids = {kind: tokenizer.token_id(kind.value) for kind in MarkerKind}
    found = {kind: token for kind, token in ids.items() if token is not None}
    if any(kind not in found for kind in MarkerKind if kind is not MarkerKind.END_OF_TEXT):
        return None
    return HarmonyMarkers(
        start=found[MarkerKind.START],
        end=found[MarkerKind.END],
        message=found[MarkerKind.MESSAGE],
        channel=found[MarkerKind.CHANNEL],
        constrain=found[MarkerKind.CONSTRAIN],
        return_=found[MarkerKind.RETURN],
        call=found[MarkerKind.CALL],
        end_of_text=found.get(MarkerKind.END_OF_TEXT),
    )
