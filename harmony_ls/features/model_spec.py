"""Which model the settings name, in the words of the engine."""

from harmony_ls.engine.models.model import ModelSpec
from harmony_ls.settings.models import Settings

__all__ = ["model_spec"]


def model_spec(settings: Settings, reference: str | None) -> ModelSpec:
    """How the settings have the model of ``reference`` loaded; None is the one inside the package."""
    budget = settings.memory_budget_gb
    return ModelSpec(
        reference=reference,
        trust_remote_code=settings.trust_remote_code,
        memory_budget_bytes=None if budget is None else int(budget * 1e9),
    )
