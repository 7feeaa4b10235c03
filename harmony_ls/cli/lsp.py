"""``harmony-ls lsp``: the language server that editors start."""

import gc
import signal
from pathlib import Path
from typing import Annotated, Any

import typer

from harmony_ls.errors import UserError

__all__ = ["lsp"]


def lsp(
    stdio: Annotated[
        bool, typer.Option("--stdio", help="Speak over stdin and stdout. This is the default; editors say it anyway.")
    ] = False,
    tcp: Annotated[
        str | None,
        typer.Option(metavar="[HOST:]PORT", help="Listen instead; port 0 takes a free one and prints it to stderr."),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="The model that completes, before what the settings say.", show_default=False)
    ] = None,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run the Python code that the model brings with it.")
    ] = False,
    log_file: Annotated[
        Path | None, typer.Option(help="Log to this file instead of stderr.", dir_okay=False, show_default=False)
    ] = None,
    log_level: Annotated[
        str | None, typer.Option(help="debug, info, warning or error. Only debug logs code.", show_default=False)
    ] = None,
) -> None:
    """Run the language server. Editors start it; by hand, try demo instead."""
    settings: dict[str, Any] = {}
    if model is not None:
        settings["model"] = model
    if trust_remote_code:
        settings["trustRemoteCode"] = True
    if log_level is not None:
        if log_level not in ("debug", "info", "warning", "error"):
            raise typer.BadParameter("must be debug, info, warning or error", param_hint="--log-level")
        settings["logLevel"] = log_level
    if tcp is not None and stdio:
        raise typer.BadParameter("--stdio and --tcp exclude each other", param_hint="--tcp")
    try:
        if tcp is not None:
            raise typer.Exit(_serve_tcp(tcp, settings, log_level, log_file))
        raise typer.Exit(_serve_stdio(settings, log_level, log_file))
    except UserError as error:
        typer.echo(f"harmony-ls: {error}", err=True)
        raise typer.Exit(1) from error


def _serve_stdio(settings: dict[str, Any], log_level: str | None, log_file: Path | None) -> int:
    from harmony_ls.lsp.connection.handshake import Greeter
    from harmony_ls.lsp.connection.stdio import StdioStreams, claim_stdio

    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until the server has its own: no traceback of a half-done import
    # Before anything that is imported below can print; and the editor is answered while it is imported.
    greeter = Greeter()
    streams = StdioStreams(claim_stdio(), greeter.greet)
    gc.disable()  # nothing becomes garbage while modules are loaded, and looking for it costs a tenth of the start
    from harmony_ls.lsp.run import ServeOptions, serve_stdio

    gc.enable()
    gc.freeze()
    return serve_stdio(ServeOptions(settings, log_level or "info", log_file), streams, greeter)


def _serve_tcp(address: str, settings: dict[str, Any], log_level: str | None, log_file: Path | None) -> int:
    from harmony_ls.lsp.run import ServeOptions, serve_tcp

    host, _, port = address.rpartition(":")
    host = host.strip("[]") or "127.0.0.1"
    if not port.isdecimal() or int(port) > 65535:
        raise typer.BadParameter(f"{address!r} does not name a port", param_hint="--tcp")
    try:
        return serve_tcp(
            ServeOptions(settings, log_level or "info", log_file), host.strip("[]") or "127.0.0.1", int(port)
        )
    except OSError as error:
        typer.echo(f"harmony-ls cannot listen on {address}: {error.strerror}", err=True)
        return 1
