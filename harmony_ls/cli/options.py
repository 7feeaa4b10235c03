"""The options that several commands share, each declared once. The settings and the commands say what they mean."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

__all__ = [
    "Adapter",
    "Draft",
    "Effort",
    "EffortName",
    "Folder",
    "MaxTokens",
    "MinP",
    "ModelName",
    "Seed",
    "Shard",
    "Temperature",
    "TopK",
    "TopP",
    "TrustRemoteCode",
    "UseHarmony",
    "given_settings",
]


class EffortName(StrEnum):
    """The values of ``--effort``."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


_MODEL = "Model"
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
Adapter = Annotated[
    Path | None,
    typer.Option(
        "--adapter",
        metavar="FOLDER",
        help="An adapter that mlx_lm.lora trained for the model.",
        show_default=False,
        rich_help_panel=_MODEL,
    ),
]
Draft = Annotated[
    str | None,
    typer.Option(
        "--draft",
        metavar="MODEL",
        help="A small model of the same vocabulary that guesses ahead, so that the large one writes faster.",
        show_default=False,
        rich_help_panel=_MODEL,
    ),
]
Shard = Annotated[
    Literal["tensor", "pipeline"] | None,
    typer.Option(
        "--shard",
        help="Share the model among the processes that mlx.launch started: the parts of each layer, or the layers.",
        show_default=False,
        rich_help_panel=_MODEL,
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
Temperature = Annotated[
    float | None,
    typer.Option(
        help="How freely tokens are chosen; 0 takes the likeliest. By default what the model's makers recommend.",
        show_default=False,
        rich_help_panel=_SAMPLING,
    ),
]
TopP = Annotated[
    float | None,
    typer.Option(
        help="Choose among the likeliest tokens of this total probability.",
        show_default=False,
        rich_help_panel=_SAMPLING,
    ),
]
TopK = Annotated[
    int | None,
    typer.Option(help="Choose among so many likeliest tokens.", show_default=False, rich_help_panel=_SAMPLING),
]
MinP = Annotated[
    float | None,
    typer.Option(
        help="Leave out tokens less likely than this share of the likeliest.",
        show_default=False,
        rich_help_panel=_SAMPLING,
    ),
]
MaxTokens = Annotated[
    int | None,
    typer.Option(
        help="The longest answer, reasoning included, in tokens.", show_default=False, rich_help_panel=_SAMPLING
    ),
]
Seed = Annotated[
    int | None,
    typer.Option(help="Make what is chosen repeatable.", show_default=False, rich_help_panel=_SAMPLING),
]


def given_settings(
    *,
    model: str | None,
    effort: EffortName | None,
    temperature: float | None,
    top_p: float | None,
    top_k: int | None,
    min_p: float | None,
    max_tokens: int | None,
    trust_remote_code: bool,
) -> dict[str, Any]:
    """What these options say, as settings by their flat keys; None where one says nothing."""
    return {
        "chat.model": model,
        "chat.effort": None if effort is None else str(effort),
        "chat.temperature": temperature,
        "chat.topP": top_p,
        "chat.topK": top_k,
        "chat.minP": min_p,
        "chat.maxTokens": max_tokens,
        "trustRemoteCode": True if trust_remote_code else None,
    }
