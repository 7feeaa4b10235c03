"""``textDocument/completion``: the inline completion as an item of the ordinary list, for want of ghost text."""

import re
from functools import partial

from lsprotocol import types

from harmony_ls.features.inline.request import InlineCompletion
from harmony_ls.features.markdown import fenced
from harmony_ls.lsp.completion.inline_completion import offer_at
from harmony_ls.lsp.documents.positions import position_of, range_between
from harmony_ls.lsp.documents.text import Position
from harmony_ls.lsp.services import Services

__all__ = ["completion"]

_WORD_BEFORE = re.compile(r"\w*\Z")
_LABEL_LENGTH = 60


async def completion(services: Services, params: types.CompletionParams) -> types.CompletionList:
    """Answer with at most one item. The list is incomplete, so that the client asks again as the person types."""
    if not services.fallback_wanted:
        return types.CompletionList(is_incomplete=False, items=[])
    # "Invoked" is what the protocol says of typing an identifier too, so nothing tells that a person asked.
    uri, position = params.text_document.uri, params.position
    _, items = await offer_at(services, uri, position, partial(_item_of, services, uri, position), invoked=False)
    return types.CompletionList(is_incomplete=True, items=items[:1])


def _item_of(
    services: Services, uri: str, position: types.Position, completion: InlineCompletion
) -> types.CompletionItem | None:
    """Make an item of a completion at ``position``; None where no item of a list can do what it does.

    The typed word is part of what is replaced: clients compare it with ``filterText``.
    """
    document = services.documents.get(uri)
    if document is None:
        return None
    text = document.text
    offset = text.offset_at(position_of(position))
    place = text.position_at(offset)
    line = text.line(place.line)
    column = offset - text.offset_at(Position(place.line, 0))
    word = _WORD_BEFORE.findall(line[:column])[0]
    if completion.start > offset or completion.end < offset or completion.start < offset - column:
        return None
    start = min(completion.start, offset - len(word))
    typed = line[start - (offset - column) : column]
    new_text = typed[: max(completion.start - start, 0)] + completion.text
    begin, end = text.position_at(start), text.position_at(completion.end)
    if begin.line != end.line or new_text == typed:
        return None
    return types.CompletionItem(
        label=_label(new_text),
        kind=types.CompletionItemKind.Text,
        detail="harmony-ls",
        documentation=_documentation(services, new_text, document.language_id),
        sort_text="\x7f",  # after what other servers know for certain
        filter_text=typed or new_text,
        insert_text_format=types.InsertTextFormat.PlainText,
        text_edit=types.TextEdit(range=range_between(begin, end), new_text=new_text),
    )


def _label(text: str) -> str:
    first, *others = text.strip().splitlines() or [""]
    short = first if len(first) <= _LABEL_LENGTH else first[: _LABEL_LENGTH - 1] + "…"
    return f"{short} …" if others else short


def _documentation(services: Services, text: str, language_id: str) -> types.MarkupContent | str:
    formats = services.client_can("text_document.completion.completion_item.documentation_format") or ()
    if types.MarkupKind.Markdown not in formats:
        return text
    return types.MarkupContent(kind=types.MarkupKind.Markdown, value=fenced(text, language_id))
