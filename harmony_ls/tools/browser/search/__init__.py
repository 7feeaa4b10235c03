"""Search services: what each is asked and how it answers. Nothing is sent here."""

from yarl import URL

from harmony_ls.errors import SettingsError
from harmony_ls.settings.models import BrowserSettings
from harmony_ls.tools.browser.search.exa import Exa
from harmony_ls.tools.browser.search.results import SearchResult, SearchService, results_html
from harmony_ls.tools.browser.search.searxng import Searxng
from harmony_ls.tools.browser.search.you import You

__all__ = ["SearchResult", "SearchService", "make_search", "results_html"]


def make_search(settings: BrowserSettings) -> SearchService | None:
    """The service that the settings name; None for none. Raises SettingsError where something is missing for it."""
    endpoint = URL(settings.search_endpoint) if settings.search_endpoint else None
    match settings.search_backend:
        case "searxng":
            if endpoint is None:
                raise SettingsError("browser.searchBackend is searxng: set browser.searchEndpoint to its address.")
            return Searxng(endpoint, settings.search_key or "")
        case "exa" | "you" as name:
            if settings.search_key is None:
                raise SettingsError(f"browser.searchBackend is {name}: set browser.searchKey to your key for it.")
            service = Exa if name == "exa" else You
            return service(endpoint or service.default_endpoint, settings.search_key)
        case _:
            return None
