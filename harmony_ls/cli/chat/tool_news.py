"""Tools that come while a conversation lasts: a Docker that was started since its beginning is found at the next turn.

As in the editor's chat. Why tools were absent at the beginning is said when the chat begins.
"""

from harmony_ls.cli.chat.conversation import Chat
from harmony_ls.cli.chat.opening import make_tools

__all__ = ["news_of_tools"]


async def news_of_tools(chat: Chat) -> str:
    """Look for the python tool where it was absent; what a person should know of it, empty where that is nothing new.

    Tools that are made anew keep what the person answered and what they remember. Belongs to the event loop, before a
    turn.
    """
    from harmony_ls.features.chat.tool_changes import why_no_python

    session, earlier = chat.session, chat.session.tools
    known = earlier.why_absent.get("python")
    if known is None or not session.chat_model.format.takes_tools:
        return ""
    found = await why_no_python(earlier, chat.settings)
    if found is None or found.reason == known:
        return ""
    tools = await make_tools(chat.settings, chat.options, chat.workspace, chat.approvals.ask)
    tools.take_over(earlier)
    tools.keep(earlier)
    session.tools = tools
    await earlier.close()
    if (reason := tools.why_absent.get("python")) is None:
        return "python is available now."
    return "" if reason == known else f"python is not available: {reason}"
