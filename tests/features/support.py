"""Models in memory for the tests of the features: what a vocabulary and an architecture promise, without weights."""

import json
import sys
from pathlib import Path

from harmony_ls.engine.models.model import Model, ModelSpec
from tests.engine.tokenizers import read, tokenizer

__all__ = ["model_of", "tokenizer_model"]


def model_of(folder: Path, *, context_length: int = 32_768) -> Model:
    """The model of a folder as the engine describes it, without its weights."""
    file = folder / "config.json"
    config = json.loads(file.read_text()) if file.exists() else {"model_type": "llama"}
    return describe(folder, config["model_type"], context_length)


def tokenizer_model(
    folder: Path, kind: str, model_type: str = "llama", *, context_length: int = 32_768, embedded: bool = False
) -> Model:
    """A model with the tokenizer of a kind (`tests.engine.tokenizers`)."""
    return describe(folder, model_type, context_length, kind=kind, embedded=embedded)


def describe(
    folder: Path, model_type: str, context_length: int, *, kind: str | None = None, embedded: bool = False
) -> Model:
    own = read(folder) if kind is None else tokenizer(folder, kind)
    return Model(
        name=folder.name,
        spec=ModelSpec(None if embedded else str(folder)),
        path=folder,
        model_type=model_type,
        context_length=min(context_length, sys.maxsize),
        vocabulary_size=own.vocabulary_size,
        n_parameters=1,
        n_bytes=4,
        precision="float32",
        tokenizer=own,
        config={},
    )
