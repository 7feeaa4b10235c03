"""``textDocument/inlineCompletion``: positions become offsets, the offer becomes items. The offer is made elsewhere."""

from dataclasses import asdict
from typing import TYPE_CHECKING

from lsprotocol import types

from harmony_ls.features.inline.request import (
    InlineCompletion,
    InlineCompletionRequest,
    Offer,
    Reason,
    SelectedCompletion,
)
from harmony_ls.lsp.documents import Document
from harmony_ls.lsp.messages import HARMONY_OUTCOME, OutcomeParams
from harmony_ls.lsp.synchronization import position_of

if TYPE_CHECKING:
    from harmony_ls.lsp.server import HarmonyServer

__all__ = ["inline_completion", "offer_at", "range_of"]


async def inline_completion(
    server: "HarmonyServer", params: types.InlineCompletionParams
) -> types.InlineCompletionList | None:
    """Answer with the items that fit the document as it is when the answer is sent, which may be none."""
    document = server.documents.get(params.text_document.uri)
    if document is None:
        return None
    version = document.version
    selected = params.context.selected_completion_info
    invoked = params.context.trigger_kind is types.InlineCompletionTriggerKind.Invoked
    offer = await offer_at(server, document, params.position, invoked=invoked, selected=selected)
    if server.client_wants_outcomes:
        server.protocol.notify(HARMONY_OUTCOME, _outcome(document.uri, version, offer))
    items = [
        types.InlineCompletionItem(insert_text=item.text, range=place)
        for item in offer.items
        if (place := range_of(document, item)) is not None
    ]
    return types.InlineCompletionList(items=items)


def _outcome(uri: str, version: int | None, offer: Offer) -> OutcomeParams:
    outcome = offer.items[0].source.value if offer.items else (offer.reason or "")
    return OutcomeParams(uri, version, str(outcome), offer.detail, asdict(offer.stats))


async def offer_at(
    server: "HarmonyServer",
    document: Document,
    position: types.Position,
    *,
    invoked: bool,
    selected: types.SelectedCompletionInfo | None = None,
) -> Offer:
    """Ask for an offer at a position; one for a text that has changed meanwhile is no offer any more.

    The text is taken before the first ``await``: it is the one that the client saw when it asked.
    """
    text, n_changes = document.text, document.n_changes
    request = InlineCompletionRequest(
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
    if not document.in_sync:
        offer = Offer(reason=Reason.INTERNAL_ERROR, detail="An edit of the document could not be read.")
        server.record(request, offer)
        return offer
    server.status.work_begun()
    try:
        completer = await server.completer(within=server.configuration.settings.inline_completion.deadline_ms / 1000)
        if completer is None:
            return Offer(reason=Reason.MODEL_LOADING, detail="the engine is being started")
        offer = await completer.offer(request)
    finally:
        server.status.work_ended()
    if server.documents.get(document.uri) is not document or document.n_changes != n_changes:
        return Offer(reason=Reason.SUPERSEDED, detail="the document changed before the offer was made")
    return offer


def range_of(document: Document, item: InlineCompletion) -> types.Range | None:
    """Return what an item replaces; always given, since clients draw an item without a range at their cursor.

    None where it would span lines, which no client accepts.
    """
    start, end = document.text.position_at(item.start), document.text.position_at(item.end)
    if start.line != end.line:
        return None
    return types.Range(
        start=types.Position(line=start.line, character=start.character),
        end=types.Position(line=end.line, character=end.character),
    )
