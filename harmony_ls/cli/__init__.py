"""The ``harmony-ls`` command: one module per subcommand. It parses arguments; the layers below do the work."""

from typing import Annotated

import typer

from harmony_ls.cli import apply_patch, bench, chat, demo, doctor, generate, lsp
from harmony_ls.cli.help_text import ReadableCommand

__all__ = ["main"]

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)
app.command("lsp", cls=ReadableCommand)(lsp.lsp)
app.command("chat", cls=ReadableCommand, epilog=chat.EPILOG)(chat.chat)
app.command("generate", cls=ReadableCommand, epilog=generate.EPILOG)(generate.generate)
app.command("apply-patch", cls=ReadableCommand, epilog=apply_patch.EPILOG)(apply_patch.apply_patch)
app.command("demo", cls=ReadableCommand)(demo.demo)
app.command("doctor", cls=ReadableCommand)(doctor.doctor)
app.add_typer(bench.app, name="bench")


def _print_version(wanted: bool) -> None:
    if wanted:
        from harmony_ls import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _harmony_ls(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and leave.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """A coding assistant that lives in the editor and runs on your own machine."""


def main() -> None:
    """Run the command line."""
    app()
