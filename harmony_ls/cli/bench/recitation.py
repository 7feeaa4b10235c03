"""What a model of the bench says by heart: a text in tokens of which each has one place, so that each tells the next.

The pieces become tokens of their own, beside those of the tokenizer, which never cuts a prompt into them. The weights
that say them are `harmony_ls.engine.measuring.recited_weights`.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass

__all__ = ["Recitation", "is_marker"]

_MARKER = re.compile(r"(<\|\w+\|>)")
# About as long as the tokens of code are.
_PIECE_CHARACTERS = 4


@dataclass(frozen=True, slots=True)
class Recitation:
    """A text in ASCII, which may hold markers of its family, each of them once.

    ``is_endless``: it begins again where it ends. Otherwise the marker that ends an answer must be its last piece.
    """

    text: str
    is_endless: bool = False

    def pieces(self, known: Collection[str]) -> list[str]:
        """The text in pieces, spelled as byte-level vocabularies spell them, and markers, as they are.

        None stands in it twice, and none but the markers is one of the ``known`` tokens. Raises ValueError for a text
        that cannot be divided like this.
        """
        pieces: list[str] = []
        taken = set(known)
        for part in filter(None, _MARKER.split(self.text)):
            new = [part] if _MARKER.fullmatch(part) else _divided(_byte_level(part), taken)
            pieces += new
            taken.update(new)
        if len(set(pieces)) < len(pieces):
            raise ValueError("a marker stands in the recitation twice")
        return pieces


def is_marker(piece: str) -> bool:
    """Whether a piece is a marker."""
    return _MARKER.fullmatch(piece) is not None


def _divided(text: str, taken: set[str]) -> list[str]:
    """A text in new pieces, each as short as it can be; what is left at the end goes to the piece before."""
    pieces: list[str] = []
    piece = ""
    for letter in text:
        piece += letter
        if len(piece) >= _PIECE_CHARACTERS and piece not in taken and piece not in pieces:
            pieces.append(piece)
            piece = ""
    while piece and (len(piece) < _PIECE_CHARACTERS or piece in taken or piece in pieces):
        if not pieces:
            raise ValueError(f"{text!r} is too short to be recited")
        piece = pieces.pop() + piece
    return [*pieces, piece] if piece else pieces


def _byte_level(text: str) -> str:
    """ASCII as byte-level vocabularies spell it: blanks and line ends as letters that can be seen."""
    if not all(letter == "\n" or " " <= letter <= "~" for letter in text):
        raise ValueError("a recitation is printable ASCII with line ends")
    return text.replace(" ", "\u0120").replace("\n", "\u010a")
