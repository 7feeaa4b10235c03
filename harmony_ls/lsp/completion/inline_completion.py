"""``textDocument/inlineCompletion``: positions become offsets, the offer becomes items. The offer is made elsewhere.

Every way to an empty answer ends in `offer_at`, which keeps its reason in the journal.
"""

import asyncio
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Final, TypeVar

from lsprotocol import types

from harmony_ls.features.document import DocumentSnapshot
from harmony_ls.features.inline.request import (
    InlineCompletion,
    InlineCompletionRequest,
    Offer,
    Reason,
    SelectedCompletion,
)
from harmony_ls.features.line_ends import with_plain_line_ends
from harmony_ls.lsp.documents.documents import Document, path_of
from harmony_ls.lsp.documents.positions import position_of, range_between
from harmony_ls.lsp.messages.messages import HARMONY_OUTCOME, OutcomeParams
from harmony_ls.lsp.services import Services
from harmony_ls.settings.models import InlineCompletionSettings

__all__ = ["inline_completion", "offer_at"]

_Item = TypeVar("_Item")

_NOT_OPEN: Final = Offer(reason=Reason.NOT_OPEN, detail="The document is not open.")

_CHANGED: Final = Offer(reason=Reason.SUPERSEDED, detail="The document changed before the offer was made.")

_CANCELLED: Final = Offer(reason=Reason.CANCELLED, detail="The editor cancelled the request.")

_INVOKED_START_SECONDS: Final = 10.0
"""How long a person who asks by a command waits for the engine; a key waits no longer than its deadline."""


async def inline_completion(
    services: Services, params: types.InlineCompletionParams
) -> types.InlineCompletionList | None:
    """Answer with the items that fit the document as it is when the answer is sent, which may be none."""
    uri = params.text_document.uri
    document = services.documents.get(uri)
    version = None if document is None else document.version

    def item_of(completion: InlineCompletion) -> types.InlineCompletionItem | None:
        place = None if document is None else _range_of(document, completion)
        if place is None:
            return None
        # Editors give a text the line ends of their buffer; Neovim shows and inserts the "\r" of others as it is.
        return types.InlineCompletionItem(insert_text=with_plain_line_ends(completion.text), range=place)

    try:
        offer, items = await offer_at(
            services,
            uri,
            params.position,
            item_of,
            invoked=params.context.trigger_kind is types.InlineCompletionTriggerKind.Invoked,
            selected=params.context.selected_completion_info,
        )
    except asyncio.CancelledError:
        _tell(services, _outcome(uri, version, _CANCELLED))
        raise
    _tell(services, _outcome(uri, version, offer))
    return None if document is None else types.InlineCompletionList(items=items)


def _tell(services: Services, outcome: OutcomeParams) -> None:
    if services.client_wants_outcomes:
        services.protocol.notify(HARMONY_OUTCOME, outcome)


def _outcome(uri: str, version: int | None, offer: Offer) -> OutcomeParams:
    outcome = offer.items[0].source.value if offer.items else (offer.reason or "")
    return OutcomeParams(uri, version, str(outcome), offer.detail, asdict(offer.stats))


async def offer_at(
    services: Services,
    uri: str,
    position: types.Position,
    item_of: Callable[[InlineCompletion], _Item | None],
    *,
    invoked: bool,
    selected: types.SelectedCompletionInfo | None = None,
) -> tuple[Offer, list[_Item]]:
    """Ask for an offer at a position; return it with the items that ``item_of`` makes of it.

    ``item_of`` returns None for what the client cannot show. Where no item is left, the offer has a reason; either way
    it is recorded, here and nowhere else.
    """
    document = services.documents.get(uri)
    refusal = _refuse(document, services.configuration.settings.inline_completion)
    if document is None or refusal is not None:
        bare = DocumentSnapshot(uri, path_of(uri), "", None, "") if document is None else document.bare()
        request = InlineCompletionRequest(bare, 0, invoked)
        refusal = refusal or _NOT_OPEN
        services.record(request, refusal)
        return refusal, []
    n_changes = document.n_changes
    request = _request(document, position, invoked=invoked, selected=selected)
    try:
        offer = await _ask(services, document, request)
    except asyncio.CancelledError:
        services.record(request, _CANCELLED)
        raise
    items: list[_Item] = []
    if offer.items:
        if services.documents.get(uri) is not document or document.n_changes != n_changes:
            offer = replace(offer, items=(), reason=_CHANGED.reason, detail=_CHANGED.detail)
        elif not (items := [item for each in offer.items if (item := item_of(each)) is not None]):
            detail = "The suggestion replaces what the editor cannot replace at this place."
            offer = replace(offer, items=(), reason=Reason.NOT_SHOWABLE, detail=detail)
    services.record(request, offer)
    return offer, items


def _refuse(document: Document | None, settings: InlineCompletionSettings) -> Offer | None:
    """Say no where neither the text nor the engine is needed to know it."""
    if document is None:
        return _NOT_OPEN
    if not document.in_sync:
        return Offer(reason=Reason.INTERNAL_ERROR, detail="An edit of the document could not be read.")
    if not settings.enabled:
        detail = "Inline completion is switched off (inlineCompletion.enabled)."
        return Offer(reason=Reason.DISABLED, detail=detail)
    if document.text.n_characters > settings.max_document_kb * 1024:
        detail = (
            f"The document has {document.text.n_characters:,} characters, more than {settings.max_document_kb} KiB "
            "(inlineCompletion.maxDocumentKb)."
        )
        return Offer(reason=Reason.DOCUMENT_TOO_LARGE, detail=detail)
    return None


def _request(
    document: Document, position: types.Position, *, invoked: bool, selected: types.SelectedCompletionInfo | None
) -> InlineCompletionRequest:
    """Translate a question. It is done before the first ``await``: the text is the one that the client saw."""
    text = document.text
    return InlineCompletionRequest(
        document=document.snapshot(),
        offset=text.offset_at(position_of(position)),
        invoked=invoked,
        selected=None
        if selected is None
        else SelectedCompletion(
            start=text.offset_at(position_of(selected.range.start)),
            end=text.offset_at(position_of(selected.range.end)),
            text=selected.text,
        ),
    )


async def _ask(services: Services, document: Document, request: InlineCompletionRequest) -> Offer:
    within = services.configuration.settings.inline_completion.deadline_ms / 1000
    patience = max(within, _INVOKED_START_SECONDS) if request.invoked else within
    deadline, n_changes = asyncio.get_running_loop().time() + patience, document.n_changes
    services.status.work_begun()
    try:
        completer = await services.completer(within=patience)
        if completer is None:
            return Offer(reason=Reason.MODEL_LOADING, detail="The engine is being started.")
        try:
            async with asyncio.timeout_at(deadline):
                link_targets = await document.link_targets()
        except TimeoutError:
            return Offer(reason=Reason.TIMED_OUT, detail="The deadline passed before the disk said which file this is.")
        if services.documents.get(document.uri) is not document or document.n_changes != n_changes:
            return _CHANGED
        return await completer.offer(replace(request, document=replace(request.document, link_targets=link_targets)))
    finally:
        services.status.work_ended()


def _range_of(document: Document, item: InlineCompletion) -> types.Range | None:
    """Return what an item replaces; always given, since clients draw an item without a range at their cursor.

    None where it would span lines, which no client accepts.
    """
    start, end = document.text.position_at(item.start), document.text.position_at(item.end)
    return range_between(start, end) if start.line == end.line else None
