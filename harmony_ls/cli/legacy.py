"""``mlx-harmony-chat`` and ``mlx-harmony-generate``: the names and flags of an older program, still used.

They do what `harmony-ls chat` and `harmony-ls generate` do, and nothing of their own.
"""

from dataclasses import fields
from pathlib import Path
from typing import Annotated

import typer

from harmony_ls.cli import options
from harmony_ls.cli.help_text import ReadableCommand
from harmony_ls.cli.option_groups import grouped

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


@chat_app.command(cls=ReadableCommand, epilog="The same with more options: harmony-ls chat --help")
@grouped
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
    *,
    sampling: options.SamplingArguments,
) -> None:
    """Talk with a model."""
    from harmony_ls.cli.chat import exits, run_chat
    from harmony_ls.cli.chat.opening import ChatOptions
    from harmony_ls.cli.chosen_options import given_settings, model_options

    wanted = {"apply_patch": apply_patch, "python": python, "browser": browser}
    with exits():
        asked = ChatOptions(
            folder=Path.cwd(),
            given=given_settings(sampling, model=model, effort=reasoning_effort, trust_remote_code=trust_remote_code),
            model=model_options(options.ModelArguments(use_harmony=use_harmony), sampling),
            instructions=developer_message or "",
            tools=tuple(name for name, is_wanted in wanted.items() if is_wanted),
        )
        raise typer.Exit(run_chat(asked))


@generate_app.command(cls=ReadableCommand, epilog="The same with more options: harmony-ls generate --help")
@grouped
def _generate(
    prompt: Annotated[
        str | None, typer.Option("--prompt", "-p", metavar="TEXT", help="What to answer.", show_default=False)
    ] = None,
    model: options.ModelName = None,
    reasoning_effort: _Effort = None,
    use_harmony: options.UseHarmony = None,
    trust_remote_code: options.TrustRemoteCode = False,
    *,
    sampling: options.SamplingArguments,
) -> None:
    """Generate one answer and end."""
    from harmony_ls.cli import generate

    generate.generate(
        prompt=prompt,
        model=model,
        effort=reasoning_effort,
        use_harmony=use_harmony,
        trust_remote_code=trust_remote_code,
        **{each.name: getattr(sampling, each.name) for each in fields(sampling)},
    )
