"""Whether a conversation must have its tools made anew: other settings, other folders, a Docker that was started since.

Making them is a front end's matter.
"""

from typing import TYPE_CHECKING

from harmony_ls.features.chat.chat import Chat
from harmony_ls.settings.models import Settings
from harmony_ls.tools.toolbox import ToolBox

if TYPE_CHECKING:
    from harmony_ls.tools.python import Availability

__all__ = ["has_news_of_python", "must_have_others", "tighten", "why_no_python"]

_STRICTER = {"allow": 0, "ask": 1, "off": 2}


def must_have_others(chat: Chat, settings: Settings) -> bool:
    """Whether the tools that a conversation has are for other settings or other folders."""
    return chat.settings is None or chat.has_moved or _differ(chat.settings, settings)


async def has_news_of_python(chat: Chat, settings: Settings) -> bool:
    """Whether the python tool that was absent can be had by now, or is absent for another reason."""
    if chat.python is None or chat.tools is None:
        return False
    why = await why_no_python(chat.tools, settings)
    return why is not None and (not why.reason or why != chat.python)


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


def _differ(one: Settings, other: Settings) -> bool:
    return (one.tools, one.browser, one.inline_completion.exclude) != (
        other.tools,
        other.browser,
        other.inline_completion.exclude,
    )
