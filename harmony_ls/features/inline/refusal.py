"""The word that every check of an inline completion says no with."""

from typing import NamedTuple

from harmony_ls.features.inline.request import Reason

__all__ = ["Refusal"]


class Refusal(NamedTuple):
    """Why nothing is offered: the reason code, and a sentence that a person can act on."""

    reason: Reason
    detail: str
