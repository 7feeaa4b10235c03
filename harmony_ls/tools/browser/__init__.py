"""The browser tool: search the web, open pages and find text in them, as GPT-OSS was trained to.

It is off until the user switches it on, and then nothing of it is imported before a conversation wants it.
"""

import importlib.util
from typing import TYPE_CHECKING

from harmony_ls.errors import MissingPackageError
from harmony_ls.settings.models import Settings
from harmony_ls.tools.tool import Tool

if TYPE_CHECKING:
    from harmony_ls.tools.browser.tools import Browser

__all__ = ["browser_tools", "make_browser"]


def make_browser(settings: Settings) -> "Browser | None":
    """A browser for one conversation; None where it is off.

    Raises SettingsError where its search lacks something, MissingPackageError without the extra ``browser``.
    """
    if settings.tools.browser == "off":
        return None
    if importlib.util.find_spec("html2text") is None:
        raise MissingPackageError(
            "the browser reads HTML through html2text (GPL-3.0-or-later), which is no part of harmony-ls (MIT). "
            "Install it with the extra browser: in a clone of harmony-ls, uv tool install '.[browser]' (or uv sync "
            "--extra browser, to run it there); anywhere else, uv tool install 'harmony-ls[browser]'."
        )
    from harmony_ls.tools.browser.fetch import Fetcher
    from harmony_ls.tools.browser.search import make_search
    from harmony_ls.tools.browser.tools import Browser

    search = make_search(settings.browser)
    return Browser(Fetcher(settings.browser.allowed_hosts), search)


def browser_tools(settings: Settings) -> tuple[Tool, ...]:
    """The tools of a browser for one conversation; none where it is off. Raises SettingsError as `make_browser`."""
    browser = make_browser(settings)
    return browser.tools if browser is not None else ()
