"""The options that several commands share, each declared once. `chosen_options` says which values they take."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import typer

__all__ = [
    "CACHE_PANEL",
    "Effort",
    "EffortName",
    "Folder",
    "ModelArguments",
    "ModelName",
    "SamplingArguments",
    "TrustRemoteCode",
    "UseHarmony",
]


class EffortName(StrEnum):
    """The values of ``--effort``."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


_MODEL = "Model"
CACHE_PANEL = "Key-value caches"
_SAMPLING = "Sampling"

ModelName = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        help="A folder or a Hugging Face name; by default chat.model of your settings, else model.",
        show_default=False,
    ),
]
Effort = Annotated[
    EffortName | None,
    typer.Option("--effort", help="How much a reasoning model thinks first.", show_default=False),
]
Folder = Annotated[
    Path | None,
    typer.Option(
        help="The workspace: its settings count, and tools see its files alone. By default the current folder.",
        exists=True,
        file_okay=False,
        resolve_path=True,
        show_default=False,
    ),
]
UseHarmony = Annotated[
    bool | None,
    typer.Option(
        "--use-harmony/--no-use-harmony",
        help="Insist on Harmony, or on the model's own chat template. By default GPT-OSS models get Harmony.",
        show_default=False,
        rich_help_panel=_MODEL,
    ),
]
TrustRemoteCode = Annotated[
    bool,
    typer.Option(
        "--trust-remote-code",
        help="Run the Python code that the model brings with it.",
        rich_help_panel=_MODEL,
    ),
]


@dataclass(frozen=True, slots=True)
class ModelArguments:
    """How a model is loaded and spoken to. None says nothing."""

    adapter: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="An adapter that mlx_lm.lora trained for the model.",
            show_default=False,
            rich_help_panel=_MODEL,
        ),
    ] = None
    draft: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="A small model of the same vocabulary that guesses ahead, so that the large one writes faster.",
            show_default=False,
            rich_help_panel=_MODEL,
        ),
    ] = None
    shard: Annotated[
        Literal["tensor", "pipeline"] | None,
        typer.Option(
            metavar="HOW",
            help="Share the model among processes of mlx.launch: tensor (parts of each layer) or pipeline (layers).",
            show_default=False,
            rich_help_panel=_MODEL,
        ),
    ] = None
    use_harmony: UseHarmony = None
    chat_template_args: Annotated[
        str | None,
        typer.Option(
            metavar="JSON",
            help="An object for the chat template, such as '{\"enable_thinking\": false}'.",
            show_default=False,
            rich_help_panel=_MODEL,
        ),
    ] = None
    trust_remote_code: TrustRemoteCode = False
    kv_bits: Annotated[
        int | None,
        typer.Option(
            help="Quantise the key-value caches to 2, 3, 4, 6 or 8 bits.",
            show_default=False,
            rich_help_panel=CACHE_PANEL,
        ),
    ] = None
    kv_group_size: Annotated[
        int | None,
        typer.Option(
            help="So many values share a scale: 32, 64 or 128. By default 64.",
            show_default=False,
            rich_help_panel=CACHE_PANEL,
        ),
    ] = None
    quantized_kv_start: Annotated[
        int | None,
        typer.Option(
            help="Quantise once a cache holds so many tokens. By default 5000.",
            show_default=False,
            rich_help_panel=CACHE_PANEL,
        ),
    ] = None
    max_kv_size: Annotated[
        int | None,
        typer.Option(
            help="Keep so many tokens: the first four and the last. What lies between is forgotten.",
            show_default=False,
            rich_help_panel=CACHE_PANEL,
        ),
    ] = None


@dataclass(frozen=True, slots=True)
class SamplingArguments:
    """How the next token is chosen, and how many there may be. None says nothing."""

    temperature: Annotated[
        float | None,
        typer.Option(
            help="How freely tokens are chosen; 0 takes the likeliest. By default what the model's makers recommend.",
            show_default=False,
            rich_help_panel=_SAMPLING,
        ),
    ] = None
    top_p: Annotated[
        float | None,
        typer.Option(
            help="Choose among the likeliest tokens of this total probability.",
            show_default=False,
            rich_help_panel=_SAMPLING,
        ),
    ] = None
    top_k: Annotated[
        int | None,
        typer.Option(
            help="Choose among so many likeliest tokens.",
            show_default=False,
            rich_help_panel=_SAMPLING,
        ),
    ] = None
    min_p: Annotated[
        float | None,
        typer.Option(
            help="Leave out tokens less likely than this share of the likeliest.",
            show_default=False,
            rich_help_panel=_SAMPLING,
        ),
    ] = None
    xtc_probability: Annotated[
        float | None,
        typer.Option(
            help="How often XTC leaves out the likeliest tokens.",
            show_default=False,
            rich_help_panel=_SAMPLING,
        ),
    ] = None
    xtc_threshold: Annotated[
        float | None,
        typer.Option(
            help="It leaves out all but the last of those above this, at most 0.5. By default 0.1.",
            show_default=False,
            rich_help_panel=_SAMPLING,
        ),
    ] = None
    repetition_penalty: Annotated[
        float | None,
        typer.Option(
            help="Divide the logits of tokens that were there lately by this; 1 changes nothing.",
            show_default=False,
            rich_help_panel=_SAMPLING,
        ),
    ] = None
    repetition_context_size: Annotated[
        int | None,
        typer.Option(
            help="Lately: among the last so many tokens; 0 means all. By default 20.",
            show_default=False,
            rich_help_panel=_SAMPLING,
        ),
    ] = None
    presence_penalty: Annotated[
        float | None,
        typer.Option(
            help="Subtract this once from the logits of tokens that were there lately, -2 to 2.",
            show_default=False,
            rich_help_panel=_SAMPLING,
        ),
    ] = None
    presence_context_size: Annotated[
        int | None,
        typer.Option(
            help="Lately: among the last so many tokens; 0 means all. By default 20.",
            show_default=False,
            rich_help_panel=_SAMPLING,
        ),
    ] = None
    frequency_penalty: Annotated[
        float | None,
        typer.Option(
            help="Subtract this for each time that a token was there lately, -2 to 2.",
            show_default=False,
            rich_help_panel=_SAMPLING,
        ),
    ] = None
    frequency_context_size: Annotated[
        int | None,
        typer.Option(
            help="Lately: among the last so many tokens; 0 means all. By default 20.",
            show_default=False,
            rich_help_panel=_SAMPLING,
        ),
    ] = None
    logit_bias: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ID=VALUE",
            help="Add VALUE, -100 to 100, to a token's logit; may be repeated. Also a JSON object of them.",
            show_default=False,
            rich_help_panel=_SAMPLING,
        ),
    ] = None
    max_tokens: Annotated[
        int | None,
        typer.Option(
            help="The longest answer, reasoning included, in tokens.",
            show_default=False,
            rich_help_panel=_SAMPLING,
        ),
    ] = None
    seed: Annotated[
        int | None,
        typer.Option(
            help="Make what is chosen repeatable.",
            show_default=False,
            rich_help_panel=_SAMPLING,
        ),
    ] = None
