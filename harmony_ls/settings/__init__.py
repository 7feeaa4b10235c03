"""What a person may set, where each setting may come from, and how the sources are merged."""

from harmony_ls.settings.models import EngineSettings, FimMarkersSettings, InlineCompletionSettings, Settings

__all__ = ["EngineSettings", "FimMarkersSettings", "InlineCompletionSettings", "Settings"]
