"""``--prompt-cache-file``: a long beginning of prompts is computed once, and kept in a file for the next question.

What is in such a file, and whether it is of this model, is the engine's matter; here it is decided which tokens go in.
"""

import functools
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
    from harmony_ls.engine.load_progress import OnLoadProgress
    from harmony_ls.engine.model import Model
    from harmony_ls.prompts.format import Prompt

__all__ = ["read_or_write"]


def read_or_write(
    background: "Background",
    engine: "Engine",
    console: "Console",
    model: "Model",
    prompt: "Prompt",
    file: Path,
    *,
    has_instructions: bool,
) -> None:
    """Have the prompt start from what ``file`` holds; where there is no such file, compute it and write it.

    It is written with all of the prompt but its last token, which is computed each time. Where a cache serves only what
    goes on after all of it (sliding windows), it is written with the instructions alone if the prompt has some. Raises
    UserError where the file cannot be used or written.
    """
    use = _read if file.exists() else functools.partial(_write, has_instructions=has_instructions)
    if told := load_with_progress(background, console, functools.partial(use, engine, model, prompt, file)):
        console.print(clean(told), style="yellow")


async def _read(engine: "Engine", model: "Model", prompt: "Prompt", file: Path, report: "OnLoadProgress") -> str:
    """Load the file; return what a person should know of it, if anything."""
    from harmony_ls.engine.load_progress import LoadProgress

    report(LoadProgress(f"Reading {file.name}"))
    held = await engine.load_prompt_cache(model, file, prompt=prompt.tokens)
    pairs = zip(held, prompt.tokens, strict=False)
    n_shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    told = f"{file} holds {len(held):,} tokens, and this prompt begins with only {n_shared:,} of them."
    # With Harmony it is so from one day to the next: the date stands among the first tokens.
    remedy = "Remove the file, and it will be written for this prompt."
    if n_shared < len(held) and not await engine.can_cut_prompt_caches(model):
        return f"{told} Caches of {model.name} cannot be cut, so the whole prompt is computed. {remedy}"
    return f"{told} {remedy}" if n_shared < len(held) // 2 else ""


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
    from harmony_ls.engine.load_progress import LoadProgress

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
