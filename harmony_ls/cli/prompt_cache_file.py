"""``--prompt-cache-file``: a long beginning of prompts is computed once, and kept in a file for the next question.

What is in such a file, and whether it is of this model, is the engine's matter; here it is decided which tokens go in.
"""

import asyncio
import functools
from collections.abc import Callable, Sequence
from datetime import date
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING

from harmony_ls.cli.model_choice import load_with_progress
from harmony_ls.cli.plain_text import clean
from harmony_ls.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from harmony_ls.cli.background import Background
    from harmony_ls.engine.engine import Engine
    from harmony_ls.engine.loading.load_progress import OnLoadProgress
    from harmony_ls.engine.models.model import Model
    from harmony_ls.prompts.format import Prompt
    from harmony_ls.session.generation import Asked

__all__ = ["read_or_write"]


def read_or_write(
    background: "Background",
    engine: "Engine",
    console: "Console",
    model: "Model",
    asked: "Asked",
    file: Path,
    *,
    has_instructions: bool,
    asked_after: "Callable[[Sequence[int]], tuple[Asked, date | None]]",
) -> "Asked":
    """Have the prompt start from what ``file`` holds; where there is no such file, compute it and write it.

    Returns the prompt to use, which may tell the date of the file: ``asked_after`` gives it, and the date, for a prompt
    that begins with the tokens of the file.

    It is written with all of the prompt but its last token, which is computed each time. Where a cache serves only what
    goes on after all of it (sliding windows), it is written with the instructions alone if the prompt has some. Raises
    UserError where the file cannot be used or written.
    """
    if file.exists():
        read = functools.partial(_read, engine, model, asked, file, asked_after)
        asked, told = load_with_progress(background, console, read)
    else:
        write = functools.partial(_write, engine, model, asked.prompt, file, has_instructions=has_instructions)
        told = load_with_progress(background, console, write)
    if told:
        console.print(clean(told), style="yellow")
    return asked


async def _read(
    engine: "Engine",
    model: "Model",
    asked: "Asked",
    file: Path,
    asked_after: "Callable[[Sequence[int]], tuple[Asked, date | None]]",
    report: "OnLoadProgress",
) -> "tuple[Asked, str]":
    """Load the file; return the prompt to use, and what a person should know of it, if anything."""
    from harmony_ls.engine.loading.load_progress import LoadProgress

    report(LoadProgress(f"Reading {file.name}"))
    held = await engine.load_prompt_cache(model, file, prompt=asked.prompt.tokens)
    can_cut = await engine.can_cut_prompt_caches(model)
    n_needed = len(held) // 2 if can_cut else len(held)
    n_shared = _n_shared(held, asked.prompt)
    if n_shared >= n_needed:
        return asked, ""
    after, day = await asyncio.to_thread(asked_after, held)
    if _n_shared(held, after.prompt) >= n_needed:
        # As in a conversation that began then. It is not today, so the person is told, too.
        return after, f"The model is told the date {day}, when {file} was made. Remove the file to have today's told."
    told = f"{file} holds {len(held):,} tokens, and this prompt begins with only {n_shared:,} of them."
    cause = "" if can_cut else f" Caches of {model.name} cannot be cut, so the whole prompt is computed."
    return asked, f"{told}{cause} Remove the file, and it will be written for this prompt."


def _n_shared(held: Sequence[int], prompt: "Prompt") -> int:
    """With how many of these tokens a prompt begins."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(held, prompt.tokens, strict=False)))


async def _write(
    engine: "Engine",
    model: "Model",
    prompt: "Prompt",
    file: Path,
    report: "OnLoadProgress",
    *,
    has_instructions: bool,
) -> str:
    """Compute the file; return what a person should know of it, if anything."""
    from harmony_ls.engine.loading.load_progress import LoadProgress

    if not file.parent.is_dir():
        raise UserError(f"There is no folder {file.parent} to write the prompt cache to. Make it, or name another.")
    n_held = len(prompt.tokens) - 1
    if has_instructions and prompt.checkpoints and not await engine.can_cut_prompt_caches(model):
        n_held = min(n_held, *prompt.checkpoints)
    if not n_held:
        return f"The prompt is a single token: nothing is written to {file}."
    report(LoadProgress(f"Computing {n_held:,} tokens for {file.name}"))
    await engine.save_prompt_cache(model, file, prompt.tokens[:n_held])
    return ""
