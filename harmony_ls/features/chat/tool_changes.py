"""The tools of a conversation, made anew where they must be: other settings, other folders, a Docker that was started
since. How they are made is a front end's matter.
"""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from harmony_ls.features.chat.chat import Chat
from harmony_ls.settings.models import Settings
from harmony_ls.tools.toolbox import ToolBox

if TYPE_CHECKING:
    from harmony_ls.tools.python import Availability

__all__ = ["MakeTools", "renew_tools", "tighten", "why_no_python"]

MakeTools = Callable[[Chat, Settings], Awaitable[ToolBox]]

_STRICTER = {"allow": 0, "ask": 1, "off": 2}


async def renew_tools(chat: Chat, settings: Settings, make_tools: MakeTools, close: Callable[[ToolBox], None]) -> None:
    """Give a conversation the tools that are due, where those that it has are not; ``close`` gets what it has no more.

    All or nothing: where this is cancelled or fails, the conversation has what it had, and is due the same tools.
    """
    n_moves = chat.n_moves
    others = chat.tools is None or chat.settings is None or chat.has_moved or _differ(chat.settings, settings)
    if not others and not await _has_news_of_python(chat, settings):
        return
    tools = await make_tools(chat, settings)
    try:
        python = await why_no_python(tools, settings)
    except BaseException:
        close(tools)
        raise
    # Nothing waits from here on.
    earlier = chat.tools
    if earlier is None:
        tools.refuse(chat.refused)
    else:
        # What was allowed was allowed in the folders of then; a "never" holds anywhere.
        tools.take_over(earlier, refusals_alone=chat.has_moved)
        if not others:
            tools.keep(earlier)
        close(earlier)
    chat.tools, chat.python, chat.settings, chat.session = tools, python, settings, None
    chat.n_moves_followed = n_moves


async def why_no_python(tools: ToolBox, settings: Settings) -> "Availability | None":
    """Why there is no python tool among these at this moment; None where there is, or where none is wanted."""
    if "python" not in tools.why_absent:
        return None
    from harmony_ls.tools.python import python_availability

    return await python_availability(settings.tools)


def tighten(chat: Chat, settings: Settings) -> None:
    """Follow what a person forbids in the middle of a turn at once; what they allow counts from the next one on."""
    if chat.tools is None or chat.settings is None or chat.settings.tools == settings.tools:
        return
    for name, permission in chat.tools.permissions.items():
        kind = name.partition(".")[0]
        new = getattr(settings.tools, kind, permission)
        # What was answered in this conversation holds against settings that say what they said before.
        is_news = new != getattr(chat.settings.tools, kind, permission)
        if is_news and _STRICTER[new] > _STRICTER[permission]:
            chat.tools.set_permission(name, new)


async def _has_news_of_python(chat: Chat, settings: Settings) -> bool:
    """Whether the python tool that was absent can be had by now, or is absent for another reason."""
    if chat.python is None or chat.tools is None:
        return False
    why = await why_no_python(chat.tools, settings)
    return why is not None and (not why.reason or why != chat.python)


def _differ(one: Settings, other: Settings) -> bool:
    return (one.tools, one.browser, one.inline_completion.exclude) != (
        other.tools,
        other.browser,
        other.inline_completion.exclude,
    )
