"""The ``harmony-ls`` command: one module per subcommand. It parses arguments, and leaves the work to the layers below."""

import typer

__all__ = ["main"]

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)


def main() -> None:
    """Run the command line."""
    app()
