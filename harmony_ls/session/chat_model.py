"""A resident model as a conversation uses it: how it is spoken to, and how its makers want it sampled."""

import asyncio
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harmony_ls.engine.engine import Engine
from harmony_ls.engine.generation.request import Sampling
from harmony_ls.engine.loading.load_progress import LoadProgress
from harmony_ls.engine.models.model import Model, ModelSpec
from harmony_ls.errors import ModelError
from harmony_ls.messages import Conversation
from harmony_ls.prompts.chat.format import chat_format
from harmony_ls.prompts.format import EventParser, Prompt, PromptFormat
from harmony_ls.prompts.harmony.format import HarmonyFormat, harmony_format
from harmony_ls.prompts.harmony.markers import HarmonyMarkers, markers_of
from harmony_ls.prompts.harmony.parser import HarmonyParser
from harmony_ls.settings.models import ChatSettings

__all__ = ["ChatModel", "chosen_sampling", "format_of", "load_chat_model", "recommended_sampling"]

_CHOICES = "mlx-community/gpt-oss-20b-MXFP4-Q8 or mlx-community/Qwen3-4B-Instruct-2507-4bit"
# What OpenAI recommends for GPT-OSS (its README), and what suits most other models that say nothing themselves.
_HARMONY_SAMPLING = Sampling(temperature=1.0)
_OTHER_SAMPLING = Sampling(temperature=0.7)


@dataclass(frozen=True, slots=True, eq=False)
class ChatModel:
    """A resident model, its prompt format, and the ``sampling`` that its makers recommend.

    ``speaks_harmony``: prompts are rendered in Harmony, and not with the model's own chat template. ``notice`` says why
    not where a person would expect it.
    """

    engine: Engine
    model: Model
    format: PromptFormat
    sampling: Sampling
    speaks_harmony: bool
    notice: str = ""


async def load_chat_model(
    engine: Engine,
    spec: ModelSpec,
    *,
    use_harmony: bool | None = None,
    on_progress: Callable[[LoadProgress], None] | None = None,
) -> ChatModel:
    """Load a model for conversations.

    ``use_harmony``: None decides by the model's architecture, True insists on Harmony, False on the model's own chat
    template. Raises ModelError where the model cannot be loaded, is the embedded one, or cannot be spoken to like this.
    """
    if spec.reference is None:
        raise ModelError(
            "The small model inside the package only completes code; it cannot chat. Name a model with --model or in "
            f"the setting chat.model, for example {_CHOICES}."
        )
    model = await engine.load(spec, on_progress)
    if on_progress is not None:
        on_progress(LoadProgress(f"Reading how {model.name} is spoken to"))
    # Reading Harmony's vocabulary takes seconds the first time.
    prompt_format, notice = await asyncio.to_thread(format_of, model, use_harmony, dict(os.environ))
    speaks_harmony = isinstance(prompt_format, HarmonyFormat)
    return ChatModel(engine, model, prompt_format, recommended_sampling(model), speaks_harmony, notice)


def format_of(model: Model, use_harmony: bool | None, environment: Mapping[str, str]) -> tuple[PromptFormat, str]:
    """How a model is spoken to, and what a person should know of that, if anything.

    GPT-OSS is known by its architecture, never by its name. Raises ModelError where ``use_harmony`` asks for what the
    model cannot do.
    """
    markers = markers_of(model.tokenizer)
    if use_harmony and markers is None:
        raise ModelError(
            f"{model.name} ({model.model_type}) cannot be spoken to in Harmony: its vocabulary has no Harmony markers. "
            "Leave use_harmony unset to use the model's own chat template."
        )
    is_harmony = markers is not None and (model.model_type == "gpt_oss" or bool(use_harmony))
    if not is_harmony or markers is None:
        return chat_format(model.tokenizer), ""
    if use_harmony is False:
        return chat_format(model.tokenizer, parser_factory=_harmony_parser(model, markers)), ""
    try:
        return harmony_format(model.tokenizer, model.path, environment), ""
    except ModelError as error:
        if use_harmony:
            raise
        own = chat_format(model.tokenizer, parser_factory=_harmony_parser(model, markers))
        return own, f"{model.name} is spoken to through its own chat template, not through openai_harmony: {error}"


def _harmony_parser(model: Model, markers: HarmonyMarkers) -> Callable[[Prompt, Conversation], EventParser]:
    """Whatever its prompt was rendered with, a model trained on Harmony answers in Harmony.

    Its own template shows the names of tools as they are, so that no name has to be changed back.
    """

    def make(_prompt: Prompt, conversation: Conversation) -> EventParser:
        return HarmonyParser(markers, model.tokenizer.token_bytes, conversation.tools)

    return make


def recommended_sampling(model: Model) -> Sampling:
    """What the model's makers recommend in ``generation_config.json``, else what suits its family."""
    default = _HARMONY_SAMPLING if model.model_type == "gpt_oss" else _OTHER_SAMPLING
    file: Path = model.path / "generation_config.json"
    try:
        config: Any = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return default
    if not isinstance(config, dict) or config.get("do_sample") is False:
        return default
    try:
        return Sampling(
            temperature=float(config.get("temperature", default.temperature)),
            top_p=float(config.get("top_p", default.top_p)),
            top_k=int(config.get("top_k", default.top_k)),
            min_p=float(config.get("min_p", default.min_p)),
        )
    except (TypeError, ValueError):
        return default


def chosen_sampling(recommended: Sampling, chosen: ChatSettings) -> Sampling:
    """What the settings choose, and where they choose nothing what the model's makers recommend."""
    return replace(
        recommended,
        temperature=recommended.temperature if chosen.temperature is None else chosen.temperature,
        top_p=recommended.top_p if chosen.top_p is None else chosen.top_p,
        top_k=recommended.top_k if chosen.top_k is None else chosen.top_k,
        min_p=recommended.min_p if chosen.min_p is None else chosen.min_p,
    )
