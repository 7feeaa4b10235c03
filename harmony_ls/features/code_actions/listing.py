"""What is offered at a place, decided from what is known of it without looking at the text or at the model.

Editors ask for this list at every move of the cursor. They say when they do so on their own: then nothing is offered
but what the place itself calls for, the mending of its diagnostics and the rewriting of selected code.

Diagnostics are those that the editor sends along. Neovim sends a server none but its own, so that there nothing is
mended without a mapping that sends all (the README has it). No action of its own says "mend whatever is wrong here": a
model that is told of no fault finds one in sound code too, and `improve` already asks for what the code misses.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from harmony_ls.features.code_actions.actions import ACTIONS, Action, Subject
from harmony_ls.features.code_actions.tests_location import has_test_files, is_test_file
from harmony_ls.features.document import DocumentSnapshot
from harmony_ls.features.exclusion import exclusion
from harmony_ls.settings.models import Settings

__all__ = ["LONGEST_SELECTION", "Offer", "Place", "offers", "refusal"]

LONGEST_SELECTION = 60_000
"""The longest piece of code, in characters, that a model is asked to write anew: it would take many minutes."""

_LONGEST_MESSAGE = 60


@dataclass(frozen=True, slots=True)
class Place:
    """Where actions are asked for.

    ``document`` may come without its text. ``n_characters`` is the length of the document, ``n_selected`` that of the
    selection. ``messages`` are those of the diagnostics. ``invoked``: a person asked, and not the editor on its own.
    ``only`` are the kinds that are asked for, None for all. ``opens_chat`` and ``creates_files`` say what the client
    can do.
    """

    document: DocumentSnapshot
    in_sync: bool
    n_characters: int
    n_selected: int
    messages: Sequence[str] = ()
    only: Sequence[str] | None = None
    invoked: bool = True
    opens_chat: bool = False
    creates_files: bool = False
    in_workspace: bool = False


@dataclass(frozen=True, slots=True)
class Offer:
    """An action with the title that a person sees. ``reason`` says why it cannot be used just now, if it cannot."""

    action: Action
    title: str
    reason: str = ""


def offers(place: Place, settings: Settings) -> tuple[Offer, ...]:
    """The actions for a place, those that cannot be used there just now included."""
    fitting = [action for action in ACTIONS if _is_asked_for(action, place) and _fits(action, place)]
    if not fitting:
        return ()
    reason = refusal(place, settings)
    return tuple(Offer(action, _title(action, place), reason or _length_fault(action, place)) for action in fitting)


def _length_fault(action: Action, place: Place) -> str:
    if action.subject not in (Subject.CODE, Subject.TESTS) or place.n_selected <= LONGEST_SELECTION:
        return ""
    return f"The selection has {place.n_selected:,} characters, and {LONGEST_SELECTION:,} is the limit. Select less."


def _is_asked_for(action: Action, place: Place) -> bool:
    if place.only is None:
        return not action.on_request
    if action.on_request and not place.invoked:
        # Editors run whole families of these whenever a file is saved, and a model takes too long for that: it must
        # have been named itself.
        return any(_contains(action.kind, kind) for kind in place.only)
    return any(_contains(kind, action.kind) for kind in place.only)


def _contains(kind: str, other: str) -> bool:
    """Whether ``other`` is the kind or below it; the empty kind is above all."""
    return not kind or other == kind or other.startswith(f"{kind}.")


def _fits(action: Action, place: Place) -> bool:
    if action.languages and place.document.language_id not in action.languages:
        return False
    match action.subject:
        case Subject.DIAGNOSTICS:
            return bool(place.messages)
        case Subject.TESTS:
            return (place.invoked or place.n_selected > 0) and _can_have_tests(place)
        case Subject.CHAT:
            return place.opens_chat and (place.invoked or place.n_selected > 0)
        case _:
            return place.invoked or place.n_selected > 0


def _can_have_tests(place: Place) -> bool:
    path = place.document.path
    return (
        place.creates_files
        and place.in_workspace
        and path is not None
        and has_test_files(place.document.language_id)
        and not is_test_file(path, place.document.language_id)
    )


def _title(action: Action, place: Place) -> str:
    if action.name != "fix":
        return action.title
    if len(place.messages) > 1:
        return f"Fix {len(place.messages)} problems with harmony-ls"
    message = " ".join(place.messages[0].split())
    shown = message if len(message) <= _LONGEST_MESSAGE else f"{message[: _LONGEST_MESSAGE - 1].rstrip()}…"
    return f"{action.title}: {shown}" if shown else action.title


def refusal(place: Place, settings: Settings) -> str:
    """Why nothing can be done in this document; empty where something can."""
    if not place.in_sync:
        return "An edit of the document could not be read. Close the document and open it again."
    limit = settings.inline_completion.max_document_kb
    if place.n_characters > limit * 1024:
        return f"The document is larger than {limit} KiB (inlineCompletion.maxDocumentKb)."
    if excluded := exclusion(place.document, settings.inline_completion.exclude):
        return f"The model never reads this file: {excluded}."
    if settings.chat.model is None and settings.model is None:
        return "The small model inside the package only completes code. Name a chat model in the setting chat.model."
    return ""
