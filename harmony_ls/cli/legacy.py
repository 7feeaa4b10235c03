"""``mlx-harmony-chat`` and ``mlx-harmony-generate``: the names and flags of an older program, still used.

They do what `harmony-ls chat` and `harmony-ls generate` do, and nothing of their own.
"""

from pathlib import Path
from typing import Annotated

import typer

from harmony_ls.cli import options

__all__ = ["chat_main", "generate_main"]

chat_app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
generate_app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

_Effort = Annotated[
    options.EffortName | None,
    typer.Option("--reasoning-effort", "-r", help="How much a reasoning model thinks first.", show_default=False),
]


def chat_main() -> None:
    """Run ``mlx-harmony-chat``."""
    chat_app()


def generate_main() -> None:
    """Run ``mlx-harmony-generate``."""
    generate_app()


@chat_app.command(epilog="The same with more options: harmony-ls chat --help")
def _chat(
    model: options.ModelName = None,
    apply_patch: Annotated[
        bool, typer.Option("--apply-patch", "-a", help="Offer the tool apply_patch: the model may change files.")
    ] = False,
    browser: Annotated[
        bool, typer.Option("--browser", "-b", help="Offer the browser: the model may read the web, and asks first.")
    ] = False,
    python: Annotated[
        bool, typer.Option("--python", "-p", help="Offer Python in a Docker container without network.")
    ] = False,
    reasoning_effort: _Effort = None,
    developer_message: Annotated[
        str | None, typer.Option(help="What the model is told before the conversation.", show_default=False)
    ] = None,
    use_harmony: options.UseHarmony = None,
    trust_remote_code: options.TrustRemoteCode = False,
    temperature: options.Temperature = None,
    top_p: options.TopP = None,
    top_k: options.TopK = None,
    min_p: options.MinP = None,
    max_tokens: options.MaxTokens = None,
    seed: options.Seed = None,
) -> None:
    """Talk with a model."""
    from harmony_ls.cli.chat import exits, run_chat
    from harmony_ls.cli.chat.opening import ChatOptions
    from harmony_ls.cli.model_choice import ModelOptions

    wanted = {"apply_patch": apply_patch, "python": python, "browser": browser}
    with exits():
        asked = ChatOptions(
            folder=Path.cwd(),
            given=options.given_settings(
                model=model,
                effort=reasoning_effort,
                temperature=temperature,
                top_p=top_p,
                top_k=top_k,
                min_p=min_p,
                max_tokens=max_tokens,
                trust_remote_code=trust_remote_code,
            ),
            model=ModelOptions(use_harmony=use_harmony, seed=seed),
            instructions=developer_message or "",
            tools=tuple(name for name, is_wanted in wanted.items() if is_wanted),
        )
        raise typer.Exit(run_chat(asked))


@generate_app.command(epilog="The same with more options: harmony-ls generate --help")
def _generate(
    prompt: Annotated[
        str | None, typer.Option("--prompt", "-p", metavar="TEXT", help="What to answer.", show_default=False)
    ] = None,
    model: options.ModelName = None,
    reasoning_effort: _Effort = None,
    use_harmony: options.UseHarmony = None,
    trust_remote_code: options.TrustRemoteCode = False,
    temperature: options.Temperature = None,
    top_p: options.TopP = None,
    top_k: options.TopK = None,
    min_p: options.MinP = None,
    max_tokens: options.MaxTokens = None,
    seed: options.Seed = None,
) -> None:
    """Generate one answer and end."""
    from harmony_ls.cli import generate

    generate.generate(
        prompt=prompt,
        model=model,
        effort=reasoning_effort,
        use_harmony=use_harmony,
        trust_remote_code=trust_remote_code,
        temperature=temperature,
        top_p=top_p,
        top_k=top_k,
        min_p=min_p,
        max_tokens=max_tokens,
        seed=seed,
    )
