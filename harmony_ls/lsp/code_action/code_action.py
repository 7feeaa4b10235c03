"""``textDocument/codeAction`` and ``codeAction/resolve``: places become offsets, changes become a workspace edit.

The list says what could be done and is made without the text's being looked at or the model's being asked; what an
action comes to is computed when it is chosen. Actions carry all that they need in their data, and nothing is kept.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from lsprotocol import types
from pygls.exceptions import JsonRpcException, JsonRpcInvalidParams

from harmony_ls.errors import UserError
from harmony_ls.features.code_actions.actions import Action, Subject, action_named
from harmony_ls.features.code_actions.listing import Offer, Place, offers, refusal
from harmony_ls.features.diagnostics import MOST_DIAGNOSTICS, DiagnosticNote
from harmony_ls.features.document import DocumentSnapshot
from harmony_ls.lsp.code_action.edit import edit_of_document, edit_of_tests
from harmony_ls.lsp.connection.reading import SEVERITY_NAMES
from harmony_ls.lsp.documents.documents import Document, targets_of
from harmony_ls.lsp.documents.naming import folder_around, name_of
from harmony_ls.lsp.documents.positions import position_of
from harmony_ls.lsp.documents.text import Position
from harmony_ls.lsp.progress import WorkProgress
from harmony_ls.lsp.services import Services
from harmony_ls.lsp.workspace.edit import EditMeans

if TYPE_CHECKING:
    from harmony_ls.features.code_actions.writing import Job

__all__ = ["code_action", "resolve_code_action"]

_OPEN_CHAT: Final = "harmony-ls.openChat"
"""The client's command that the action "explain" calls, with what `harmony/chat` takes as text and attachments."""

_logger = logging.getLogger(__name__)

# Some compilers say thousands of characters in one diagnostic. All of it goes to the client and comes back.
_LONGEST_MESSAGE = 1_000


@dataclass(frozen=True, slots=True)
class _Choice:
    """An action at a place of a document, as it goes to the client in the action's data and comes back.

    ``digest`` is that of the document's text. ``diagnostics`` are lists of a first line, a last line (from 0), a
    message, a severity and a source.
    """

    action: Action
    uri: str
    version: int | None
    start: Position
    end: Position
    digest: str
    diagnostics: tuple[tuple[int, int, str, str, str], ...] = ()

    def data(self) -> dict[str, Any]:
        """The choice as JSON."""
        return {
            "action": self.action.name,
            "uri": self.uri,
            "version": self.version,
            "range": [self.start.line, self.start.character, self.end.line, self.end.character],
            "digest": self.digest,
            "diagnostics": [list(each) for each in self.diagnostics],
        }


async def code_action(services: Services, params: types.CodeActionParams) -> list[types.CodeAction]:
    """List the actions for a range. A client that cannot resolve one gets it at once where it asks for that one alone.

    Without ``resolveSupport`` an edit can only come with the list, and a list at each move of the cursor must not wait
    for a model. So the edit is computed where a person asked for a single kind, as editors do for a key that is bound
    to an action.
    """
    await services.configured()
    document = services.documents.get(params.text_document.uri)
    if document is None:
        return []
    try:
        bare = await _located(services, document)
    except UserError as error:  # a list at each move of the cursor should not say this each time
        _logger.warning("no code actions for %s: %s", document.uri, error)
        return []
    place = _place(services, document, bare, params)
    made = offers(place, services.configuration.settings)
    digest = document.digest() if any(not offer.reason for offer in made) else ""
    shown = [
        (offer, _choice(offer.action, document, params, digest)) for offer in made if _is_shown(services, offer, place)
    ]
    if _resolves(services):
        return [_listed(services, offer, choice, params) for offer, choice in shown]
    listed = [_listed(services, offer, choice, params) for offer, choice in shown if _is_whole(offer)]
    edited = [(offer, choice) for offer, choice in shown if not _is_whole(offer)]
    if place.invoked and place.only is not None and len(place.only) == 1 and len(edited) == 1:
        [(offer, choice)] = edited
        action = _listed(services, offer, choice, params)
        action.edit = await _edit(services, choice, params.work_done_token)
        action.data = None
        listed.append(action)
    return listed


async def resolve_code_action(services: Services, action: types.CodeAction) -> types.CodeAction:
    """Compute the edit of an action that was chosen."""
    if action.data is None:
        return action  # nothing is missing in it
    action.edit = await _edit(services, _choice_in(action.data), None)
    return action


# The list


async def _located(services: Services, document: Document) -> DocumentSnapshot:
    """The document without its text, with where its links lead. Raises ContentModified if it changes meanwhile: what
    was a place in it may be another one then; and UserError if the disk does not answer."""
    n_changes = document.n_changes
    link_targets = await targets_of(document)
    if services.documents.get(document.uri) is not document or document.n_changes != n_changes:
        raise _content_modified()
    return replace(document.bare(), link_targets=link_targets)


def _place(services: Services, document: Document, bare: DocumentSnapshot, params: types.CodeActionParams) -> Place:
    start, end = _offsets(document, *_ends(params.range))
    context = params.context
    return Place(
        document=bare,
        in_sync=document.in_sync,
        n_characters=document.text.n_characters,
        n_selected=end - start,
        messages=[each.message for each in context.diagnostics],
        only=None if context.only is None else [str(getattr(kind, "value", kind)) for kind in context.only],
        invoked=context.trigger_kind is not types.CodeActionTriggerKind.Automatic,
        opens_chat=services.client_opens_chat,
        creates_files="create" in EditMeans.of(services).operations,
        in_workspace=bare.path is not None and folder_around(bare.path, services.configuration.folders) is not None,
    )


def _ends(where: types.Range) -> tuple[Position, Position]:
    return position_of(where.start), position_of(where.end)


def _offsets(document: Document, start: Position, end: Position) -> tuple[int, int]:
    one, other = document.text.offset_at(start), document.text.offset_at(end)
    return min(one, other), max(one, other)


def _is_shown(services: Services, offer: Offer, place: Place) -> bool:
    """Whether an offer goes to the client: why something cannot be done is told to a person who asked for it."""
    if not offer.reason:
        return True
    return place.invoked and bool(services.client_can("text_document.code_action.disabled_support"))


def _resolves(services: Services) -> bool:
    support = services.client_can("text_document.code_action.resolve_support")
    keeps_data = services.client_can("text_document.code_action.data_support")
    return support is not None and "edit" in support.properties and bool(keeps_data)


def _is_whole(offer: Offer) -> bool:
    """Whether an action needs no edit any more."""
    return offer.action.subject is Subject.CHAT or bool(offer.reason)


def _listed(services: Services, offer: Offer, choice: _Choice, params: types.CodeActionParams) -> types.CodeAction:
    tags = services.client_can("text_document.code_action.tag_support.value_set") or ()
    listed = types.CodeAction(title=offer.title, kind=offer.action.kind)
    if types.CodeActionTag.LlmGenerated in tags:
        listed.tags = [types.CodeActionTag.LlmGenerated]
    if offer.action.subject is Subject.DIAGNOSTICS:
        listed.diagnostics = params.context.diagnostics
    if offer.reason:
        listed.disabled = types.CodeActionDisabled(reason=offer.reason)
    elif offer.action.subject is Subject.CHAT:
        attachment = {"kind": "selection", "uri": choice.uri, "range": services.protocol.unstructure(params.range)}
        arguments = [{"text": "/explain", "attachments": [attachment]}]
        listed.command = types.Command(title=offer.title, command=_OPEN_CHAT, arguments=arguments)
    else:
        listed.data = choice.data()
    return listed


def _choice(action: Action, document: Document, params: types.CodeActionParams, digest: str) -> _Choice:
    start, end = _ends(params.range)
    diagnostics = params.context.diagnostics if action.subject is Subject.DIAGNOSTICS else ()
    return _Choice(
        action=action,
        uri=document.uri,
        version=document.version,
        start=start,
        end=end,
        digest=digest,
        diagnostics=tuple(_described(each) for each in diagnostics),
    )


def _described(diagnostic: types.Diagnostic) -> tuple[int, int, str, str, str]:
    start, end = diagnostic.range.start, diagnostic.range.end
    # One that ends before the first character of a line does not reach into it.
    last = end.line + 1 if end.character > 0 or end.line <= start.line else end.line
    severity = SEVERITY_NAMES.get(int(diagnostic.severity), "") if diagnostic.severity is not None else ""
    source = " ".join(str(each) for each in (diagnostic.source, diagnostic.code) if each is not None)
    return start.line, last, diagnostic.message[:_LONGEST_MESSAGE], severity, source


# Resolving


def _choice_in(data: object) -> _Choice:
    """The choice in an action's data. Raises JsonRpcInvalidParams for what this server never sent."""
    try:
        return _read(data)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise JsonRpcInvalidParams("codeAction/resolve: the data is not that of an action of this server") from error


def _read(data: Any) -> _Choice:
    action = action_named(data["action"])
    first, first_character, last, last_character = map(int, data["range"])
    version = data["version"]
    if action is None or action.subject is Subject.CHAT or not (version is None or isinstance(version, int)):
        raise ValueError("no such action")
    if min(first, first_character, last, last_character) < 0:
        raise ValueError("no such place")
    diagnostics = tuple(
        (int(start), int(end), str(message), str(severity), str(source))
        for start, end, message, severity, source in data["diagnostics"]
    )
    if (action.subject is Subject.DIAGNOSTICS) != bool(diagnostics) or len(diagnostics) > MOST_DIAGNOSTICS:
        raise ValueError("no such diagnostics")
    if any(min(start, end) < 0 for start, end, *_ in diagnostics):
        raise ValueError("no such place")
    return _Choice(
        action=action,
        uri=str(data["uri"]),
        version=version,
        start=Position(first, first_character),
        end=Position(last, last_character),
        digest=str(data["digest"]),
        diagnostics=diagnostics,
    )


async def _edit(services: Services, choice: _Choice, token: int | str | None) -> types.WorkspaceEdit:
    """Ask the model, and say what is to be changed. Raises ContentModified as soon as the document is another one."""
    document = services.documents.get(choice.uri)
    if document is None or document.version != choice.version or document.digest() != choice.digest:
        raise _content_modified()
    bare = await _located(services, document)
    start, end = _offsets(document, choice.start, choice.end)
    place = Place(bare, document.in_sync, document.text.n_characters, end - start)
    if reason := refusal(place, services.configuration.settings):
        raise UserError(reason)
    warnings: list[str] = []
    job = partial(_job, services, choice, document.snapshot(), (start, end), warnings.append)
    work = asyncio.create_task(_work(services, choice, document, job, token))
    watch = _Watch(choice.uri, work)
    services.documents.listen(watch)
    services.status.work_begun()
    try:
        edit = await work
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if not watch.is_modified or (task is not None and task.cancelling()):
            raise
        raise _content_modified() from None
    finally:
        services.status.work_ended()
    if watch.is_modified:
        raise _content_modified()
    for message in warnings:
        services.window_show_message(types.ShowMessageParams(type=types.MessageType.Warning, message=message))
    return edit


class _Watch:
    """Ends work on a document when that changes: what would come of it fits no more."""

    def __init__(self, uri: str, work: "asyncio.Task[types.WorkspaceEdit]") -> None:
        self.is_modified = False
        self._uri = uri
        self._work = work

    def document_changed(self, uri: str, *, was_opened: bool = False) -> None:
        if uri == self._uri:
            self.is_modified = True
            self._work.cancel()


async def _work(
    services: Services,
    choice: _Choice,
    document: Document,
    job_of: Callable[[WorkProgress], "Job"],
    token: int | str | None,
) -> types.WorkspaceEdit:
    settings = services.configuration.settings
    with WorkProgress(services, choice.action.title, token) as progress:
        models = await services.backend.chat_models(settings)
        job = job_of(progress)
        async with models.using(settings, on_progress=progress.loading) as chat_model:
            if choice.action.subject is Subject.TESTS:
                return await edit_of_tests(services, job, chat_model, settings.chat)
            return await edit_of_document(services, document, job, chat_model, settings.chat)


def _job(
    services: Services,
    choice: _Choice,
    snapshot: DocumentSnapshot,
    offsets: tuple[int, int],
    warn: Callable[[str], None],
    progress: WorkProgress,
) -> "Job":
    # Only here: it imports the engine, which has been done on a thread by now.
    from harmony_ls.features.code_actions.writing import Job

    return Job(
        action=choice.action,
        document=snapshot,
        name=name_of(choice.uri, services.configuration.folders),
        start=offsets[0],
        end=offsets[1],
        notes=tuple(
            DiagnosticNote(start + 1, message or "no message", severity, source)
            for start, _, message, severity, source in choice.diagnostics
        ),
        note_lines=tuple((start, end) for start, end, *_ in choice.diagnostics),
        tell=progress.say,
        warn=warn,
    )


def _content_modified() -> JsonRpcException:
    return JsonRpcException(
        "The document has changed since the action was offered. Ask for it again.",
        int(types.LSPErrorCodes.ContentModified),
    )
