"""``harmony-ls chat``: a conversation with a model, at a terminal or through a pipe.

This module holds the command and what it needs before anything is loaded; the conversation itself is in `loop` and
`pipe`.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harmony_ls.cli import options
from harmony_ls.cli.option_groups import grouped
from harmony_ls.errors import HarmonyLsError, SettingsError

if TYPE_CHECKING:
    from harmony_ls.cli.chat.opening import ChatOptions

__all__ = ["EPILOG", "chat", "run_chat"]

EPILOG = """Examples:

harmony-ls chat --model mlx-community/gpt-oss-20b-MXFP4-Q8

harmony-ls chat --effort high --instructions "Answer in French."

git diff | harmony-ls chat --instructions "Write a commit message." > message.txt

harmony-ls chat --load yesterday.json

Without a terminal, stdin is one message and stdout gets the answer as plain text."""


@grouped
def chat(
    model: options.ModelName = None,
    effort: options.Effort = None,
    instructions: Annotated[
        str | None,
        typer.Option(help="Tell the model this before the conversation, after the instructions of your settings."),
    ] = None,
    instructions_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The same from a file.", show_default=False)
    ] = None,
    tools: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Offer this tool alone, also where your settings have it off; may be repeated. The tools: "
            "apply_patch, python, browser.",
        ),
    ] = None,
    no_tools: Annotated[bool, typer.Option("--no-tools", help="Offer no tools.")] = False,
    folder: options.Folder = None,
    hide_reasoning: Annotated[
        bool, typer.Option("--hide-reasoning", help="Show only how much the model thinks.")
    ] = False,
    load: Annotated[
        Path | None,
        typer.Option("--load", metavar="FILE", help="Go on with a conversation made by /save.", show_default=False),
    ] = None,
    *,
    model_arguments: options.ModelArguments,
    sampling: options.SamplingArguments,
) -> None:
    """Talk with a model. Where you allow it, it changes files of the folder, runs Python and reads web pages.

    In the chat /help lists what you can type besides messages, Ctrl-C stops an answer, and Ctrl-D leaves. What the
    model may do without asking is set in the section tools of your config.toml; /status names the file.
    """
    from harmony_ls.cli.chat.opening import ChatOptions, read_instructions
    from harmony_ls.cli.chosen_options import given_settings, model_options
    from harmony_ls.cli.model_choice import follow, read_settings
    from harmony_ls.tools.offered import TOOL_NAMES

    if instructions is not None and instructions_file is not None:
        raise typer.BadParameter("--instructions and --instructions-file exclude each other")
    if tools and no_tools:
        raise typer.BadParameter("--tools and --no-tools exclude each other")
    unknown = [name for name in tools or () if name not in TOOL_NAMES]
    if unknown:
        raise typer.BadParameter(f"there is no tool {unknown[0]}; the tools are {', '.join(TOOL_NAMES)}")
    given = given_settings(sampling, model=model, effort=effort, trust_remote_code=model_arguments.trust_remote_code)
    chosen = model_options(model_arguments, sampling)
    with exits():
        settings = read_settings(folder or Path.cwd(), given).settings
        if follow(settings, settings.chat.model or settings.model, chosen):
            raise typer.Exit
        told = instructions or ""
        if instructions_file is not None:
            told = read_instructions(instructions_file)
        asked = ChatOptions(
            folder=folder or Path.cwd(),
            given=given,
            model=chosen,
            instructions=told,
            tools=() if no_tools else tuple(tools) if tools else None,
            hides_reasoning=hide_reasoning,
            conversation=load,
        )
        raise typer.Exit(run_chat(asked))


@contextlib.contextmanager
def exits() -> Iterator[None]:
    """Turn what a command raises into its exit code and a message on stderr: 1 for errors in words, 130 for Ctrl-C."""
    from harmony_ls.cli.plain_text import clean
    from harmony_ls.cli.standard_streams import open_closed_streams, silence_stdout

    open_closed_streams()
    try:
        yield
    except SettingsError as error:
        raise typer.BadParameter(clean(str(error))) from None
    except HarmonyLsError as error:
        typer.echo(f"harmony-ls: {clean(str(error))}", err=True)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        typer.echo("Stopped.", err=True)
        raise typer.Exit(130) from None
    except BrokenPipeError:
        silence_stdout()  # nobody reads any more
        raise typer.Exit(0) from None
    except OSError as error:
        # What reads files says so itself, so this is most often stdout, on a disk that is full.
        typer.echo(f"harmony-ls: {clean(error.strerror or str(error))}. The answer could not be written.", err=True)
        silence_stdout()
        raise typer.Exit(1) from None


def run_chat(asked: "ChatOptions") -> int:
    """Hold the conversation; return the exit code. Raises UserError where it cannot begin."""
    from harmony_ls.cli.chat.program import run

    return run(asked)
