"""The ``harmony-ls`` command: one module per subcommand. It parses arguments; the layers below do the work."""

import typer

from harmony_ls.cli import lsp

__all__ = ["main"]

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)
app.command("lsp")(lsp.lsp)


@app.callback()
def _harmony_ls() -> None:
    """A coding assistant that lives in the editor and runs on your own machine."""


def main() -> None:
    """Run the command line."""
    app()
