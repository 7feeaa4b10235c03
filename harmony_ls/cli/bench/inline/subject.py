"""The model under test: loaded as the server loads it, and what the other parts of the bench must know of it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from harmony_ls.engine.engine import Engine
from harmony_ls.features.completion_model import CompletionModel
from harmony_ls.features.completion_models import CompletionModels
from harmony_ls.features.inline.window import Window, WindowLimits
from harmony_ls.features.resident_model import ResidentModel
from harmony_ls.settings.models import Settings

__all__ = ["ModelFacts", "Subject", "load_subject"]

_MOST_STOPS = 300


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What is known of the model once it was loaded.

    ``markers`` are the literal FIM markers (prefix, suffix, middle), None for a model without. ``line_ends`` are the
    texts of all tokens that hold a line end, for a server that stops at tokens; empty where they are too many.
    """

    name: str
    is_embedded: bool
    folder: Path
    model_type: str
    n_parameters: int
    precision: str
    capability: str
    single_line: bool
    limits: WindowLimits
    markers: tuple[str, str, str] | None
    line_ends: tuple[str, ...]
    blas_library: str

    def usual_prompt(self, window: Window) -> str:
        """The prompt that other programs send for this window: prefix, suffix, middle as one text."""
        if self.markers is None:
            return window.before + window.line
        prefix, suffix, middle = self.markers
        return f"{prefix}{window.before}{window.line}{suffix}{window.after}{middle}"


@dataclass(frozen=True, slots=True)
class Subject:
    """The engine and its model in this process."""

    engine: Engine
    resident: ResidentModel
    completion: CompletionModel
    settings: Settings
    facts: ModelFacts


@asynccontextmanager
async def load_subject(settings: Settings) -> AsyncIterator[Subject]:
    """Load the model of the settings; free it at the end. Raises ModelError when it cannot be loaded."""
    async with Engine(
        prefill_step_tokens=settings.engine.prefill_step_tokens,
        prompt_cache_bytes=settings.engine.prompt_cache_mb << 20,
    ) as engine:
        resident = ResidentModel(CompletionModels(engine), settings, lambda _status: None)
        completion = await resident.ready()
        yield Subject(engine, resident, completion, settings, _facts(engine, completion))


def _facts(engine: Engine, completion: CompletionModel) -> ModelFacts:
    model = completion.model
    family = None if completion.fim is None else completion.fim.family
    return ModelFacts(
        name=model.name,
        is_embedded=model.is_embedded,
        folder=model.path,
        model_type=model.model_type,
        n_parameters=model.n_parameters,
        precision=model.precision,
        capability=completion.capability.summary,
        single_line=completion.capability.single_line,
        limits=completion.limits,
        markers=None if family is None else (family.prefix, family.suffix, family.middle or ""),
        line_ends=_line_ends(completion) if completion.capability.single_line else (),
        blas_library=engine.blas.library if engine.blas.active else "",
    )


def _line_ends(completion: CompletionModel) -> tuple[str, ...]:
    """The texts of the tokens that hold a line end: mlx_lm.server compares stop texts token by token."""
    tokenizer = completion.model.tokenizer
    spelled = (tokenizer.token_bytes(token) for token in range(tokenizer.vocabulary_size))
    texts = {text.decode("utf-8", "ignore") for text in spelled if b"\n" in text}
    return tuple(sorted(texts)) if len(texts) <= _MOST_STOPS else ()
