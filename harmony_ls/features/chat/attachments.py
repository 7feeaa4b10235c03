"""What goes along with a message: pieces of documents, diagnostics, changes; as the model is shown them.

Where they come from is a front end's matter. Nothing here reads a file.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from harmony_ls.errors import UserError
from harmony_ls.features.markdown import fenced

__all__ = ["Attachment", "refuse_too_much", "with_attachments"]

# What a model reads of this size fills the context of most, and takes minutes.
_MOST_CHARACTERS = 1_000_000


@dataclass(frozen=True, slots=True)
class Attachment:
    """One piece: ``label`` names it for a person and the model, ``text`` is what the model reads.

    ``language`` is an LSP language id, for the fence; empty where there is none.
    """

    label: str
    text: str
    language: str = ""


def refuse_too_much(message: str, attachments: Sequence[Attachment]) -> None:
    """Raise UserError where a message with what goes along is more than a model should be given."""
    n_attached = sum(len(attachment.text) for attachment in attachments)
    if len(message) + n_attached > _MOST_CHARACTERS:
        what, n_characters = ("attached", n_attached) if n_attached else ("said", len(message))
        raise UserError(
            f"What is {what} has {n_characters:,} characters, and {_MOST_CHARACTERS:,} is the limit of a message with "
            "what goes along. Attach the part that matters."
        )


def with_attachments(message: str, attachments: Sequence[Attachment]) -> str:
    """The message after what goes with it: the question stands last, and what is read before it can stay in a cache.

    Raises UserError as `refuse_too_much`.
    """
    refuse_too_much(message, attachments)
    pieces = [f"{each.label}:\n{fenced(each.text, each.language)}" for each in attachments]
    return "\n".join([*pieces, message])
