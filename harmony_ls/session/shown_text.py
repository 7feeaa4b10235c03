"""The text of a pass as people are shown it: what tools make of it, such as links of citations.

The history keeps what the model wrote; only the events differ.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence

from harmony_ls.events import Event, TextDelta
from harmony_ls.tools.tool import TextFilter

__all__ = ["with_shown_text"]


async def with_shown_text(events: AsyncIterator[Event], filters: Sequence[TextFilter]) -> AsyncGenerator[Event]:
    """The events, their text passed through ``filters`` one after another.

    What a filter holds back comes before the next event that is no text, and at the end: a text that is broken off
    is shown to its last character. The filters are of one pass.
    """
    async for event in events:
        if isinstance(event, TextDelta):
            text = event.text
            for each in filters:
                text = each.feed(text)
            if text:
                yield TextDelta(text)
            continue
        if rest := _rest(filters):
            yield TextDelta(rest)
        yield event
    if rest := _rest(filters):
        yield TextDelta(rest)


def _rest(filters: Sequence[TextFilter]) -> str:
    """What the filters hold back; what one lets go goes through those after it."""
    rest = ""
    for each in filters:
        rest = (each.feed(rest) if rest else "") + each.finish()
    return rest
