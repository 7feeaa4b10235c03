"""A message of Harmony while it is being written, its header first. What comes of it is for the parser to say."""

from dataclasses import dataclass, field
from enum import Enum

from harmony_ls.messages import ToolCall
from harmony_ls.prompts.harmony.header import HarmonyHeader, HeaderPart, PartKind

__all__ = ["OpenHeader", "OpenMessage", "Purpose"]


class Purpose(Enum):
    """What is made of a message.

    ``UNDECIDED`` has shown nothing yet by which to tell whether it is for the person. ``ARGUMENTS`` looks like those of
    a call without a recipient, and is held back until its end. ``OTHER`` is no part of the answer.
    """

    TEXT = "text"
    REASONING = "reasoning"
    CALL = "call"
    UNDECIDED = "undecided"
    ARGUMENTS = "arguments"
    OTHER = "other"


@dataclass(slots=True)
class OpenMessage:
    """A message that has begun.

    ``is_exact``: ``tokens`` are all that stood in the text, and spell it and nothing else. ``tool`` and ``index`` are
    those of a call, and ``call`` is there once it is finished.
    """

    header: HarmonyHeader
    purpose: Purpose
    pieces: list[str] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    is_exact: bool = True
    index: int = 0
    tool: str = ""
    call: ToolCall | None = None

    @property
    def text(self) -> str:
        """What was written so far, without the bytes of an unfinished character."""
        return "".join(self.pieces)


@dataclass(slots=True)
class OpenHeader:
    """A header that is being written: its parts, and the ordinary tokens among it."""

    kinds: list[PartKind]
    texts: list[bytearray]
    tokens: list[int]
    n_bytes: int = 0

    @classmethod
    def of(cls, kind: PartKind) -> "OpenHeader":
        """A header that has just begun."""
        return cls([kind], [bytearray()], [])

    @property
    def kind(self) -> PartKind:
        """What the header begins with."""
        return self.kinds[0]

    @property
    def text(self) -> str:
        """The first part, bytes that are no UTF-8 as lone surrogates."""
        return self.texts[0].decode("utf-8", "surrogateescape")

    @property
    def parts(self) -> list[HeaderPart]:
        """All parts, as `read_header` takes them."""
        texts = (text.decode("utf-8", "surrogateescape") for text in self.texts)
        return [HeaderPart(kind, text) for kind, text in zip(self.kinds, texts, strict=True)]

    def add_part(self, kind: PartKind) -> None:
        """Begin the part behind another marker."""
        self.kinds.append(kind)
        self.texts.append(bytearray())

    def add(self, token: int, data: bytes) -> None:
        """Go on with the last part."""
        self.texts[-1] += data
        self.tokens.append(token)
        self.n_bytes += len(data)
