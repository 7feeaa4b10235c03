"""A document as a feature sees it: one immutable text with its identity. It knows no positions, only offsets."""

from dataclasses import dataclass

__all__ = ["DocumentSnapshot"]


@dataclass(frozen=True, slots=True)
class DocumentSnapshot:
    """The text of one open document at one moment.

    ``text`` is exactly the client's text, line endings included. Offsets into it count Unicode code points.
    ``path`` is the file's path where the URI names one, else None. ``version`` is the client's document version.
    ``link_targets`` are the paths that ``path`` has led to by links, as far as that was looked up.
    """

    uri: str
    path: str | None
    language_id: str
    version: int | None
    text: str
    link_targets: tuple[str, ...] = ()
