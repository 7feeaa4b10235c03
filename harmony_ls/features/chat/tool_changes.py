"""Whether a conversation must have its tools made anew: other settings, other folders, a Docker that was started since.

Making them is a front end's matter.
"""

from typing import TYPE_CHECKING

from harmony_ls.features.chat.chat import Chat
from harmony_ls.settings.models import Settings
from harmony_ls.tools.toolbox import ToolBox

if TYPE_CHECKING:
    from harmony_ls.tools.python import Availability

__all__ = ["has_other_tools", "why_no_python"]


async def has_other_tools(chat: Chat, settings: Settings) -> bool:
    """Whether the tools that a conversation has are not those that it would be given now."""
    before = chat.settings
    if before is None or chat.has_moved or _differ(before, settings):
        return True
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


def _differ(one: Settings, other: Settings) -> bool:
    return (one.tools, one.browser, one.inline_completion.exclude) != (
        other.tools,
        other.browser,
        other.inline_completion.exclude,
    )
