"""The special tokens of Harmony, looked up in a vocabulary by name. Ids differ between vocabularies, names do not."""

from dataclasses import dataclass

from harmony_ls.prompts.tokenizer import Tokenizer

__all__ = ["HarmonyMarkers", "markers_of"]


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


def markers_of(tokenizer: Tokenizer) -> HarmonyMarkers | None:
    """The markers of a vocabulary; None where one of them is missing, so that the model cannot speak Harmony."""
    names = ("start", "end", "message", "channel", "constrain", "return", "call")
    ids = [tokenizer.token_id(f"<|{name}|>") for name in names]
    found = [token for token in ids if token is not None]
    if len(found) < len(names):
        return None
    return HarmonyMarkers(*found, end_of_text=tokenizer.token_id("<|endoftext|>"))
