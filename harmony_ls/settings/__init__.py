"""What a person may set, where each setting may come from, and how the sources are merged."""

from harmony_ls.settings.models import (
    ChatSettings,
    EngineSettings,
    FimMarkersSettings,
    InlineCompletionSettings,
    Settings,
    ToolSettings,
)
from harmony_ls.settings.sources import (
    Resolved,
    Source,
    client_source,
    read_user_file,
    read_workspace,
    resolve,
    user_file,
)

__all__ = [
    "ChatSettings",
    "EngineSettings",
    "FimMarkersSettings",
    "InlineCompletionSettings",
    "Resolved",
    "Settings",
    "Source",
    "ToolSettings",
    "client_source",
    "read_user_file",
    "read_workspace",
    "resolve",
    "user_file",
]
