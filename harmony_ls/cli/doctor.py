"""``harmony-ls doctor``: start the real server as an editor does, ask it for one completion, and explain what was seen.

It judges nothing by itself that the server does not report; what it adds is the advice.
"""

import asyncio
import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harmony_ls.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["doctor"]

_SAMPLE = """import math


class Circle:
    def __init__(self, radius: float) -> None:
        self.radius = radius

    def area(self) -> float:
        return math.pi * self.
"""
_CURSOR = _SAMPLE.rindex("self.") + len("self.")


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the report. ``ok`` is None for a fact that is neither good nor bad."""

    name: str
    ok: bool | None
    finding: str
    advice: str = ""


@dataclass(slots=True)
class Examination:
    """What the doctor has found: the checks in their order, and the server's own report."""

    checks: list[Check] = field(default_factory=list)
    report: dict[str, Any] = field(default_factory=dict)

    @property
    def healthy(self) -> bool:
        """Whether every check passed."""
        return all(check.ok is not False for check in self.checks)


def doctor(
    model: Annotated[
        str | None, typer.Option(help="Examine this model instead of the one of the settings.", show_default=False)
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(
            help="The workspace whose settings count; by default the current folder.",
            exists=True,
            file_okay=False,
            resolve_path=True,
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Check this installation: environment, settings, model, and one real completion through the real server.

    The exit status is 0 if everything works, else 1.
    """
    from rich.console import Console

    console = Console(stderr=as_json)
    with console.status("Starting the server…") as status:
        found = asyncio.run(_examine(model, folder or Path.cwd(), status.update))
    if as_json:
        checks = [asdict(check) for check in found.checks]
        typer.echo(json.dumps({"healthy": found.healthy, "checks": checks, "report": found.report}, indent=2))
    else:
        _print(console, found)
    raise typer.Exit(0 if found.healthy else 1)


async def _examine(model: str | None, folder: Path, progress: Any) -> Examination:
    from harmony_ls.lsp.client import LspClient, ResponseError, ServerGoneError

    found = Examination()
    arguments = ["--log-level", "error", *(("--model", model) if model is not None else ())]
    started = time.perf_counter()
    try:
        async with await LspClient.start(arguments, folder=folder) as client:
            await client.initialize(folder=folder, name="harmony-ls doctor")
            milliseconds = (time.perf_counter() - started) * 1000
            found.checks.append(Check("server", True, f"answers initialize after {milliseconds:.0f} ms"))
            found.report = await client.doctor()
            if found.report["settings"]["inlineCompletion"]["enabled"]:
                progress("Loading the model…")
                found.checks.append(await _check_model(client, progress))
                if found.checks[-1].ok:
                    progress("Asking for a completion…")
                    found.checks.append(await _check_completion(client))
                found.report = await client.doctor()
            else:  # nothing would ever load the model
                finding = f"switched off by {found.report['origins']['inlineCompletion.enabled']}"
                found.checks.append(Check("completion", False, finding, "Set inlineCompletion.enabled to true there."))
            await client.shutdown()
    except (ServerGoneError, ResponseError, OSError) as error:
        advice = "Run harmony-ls lsp --log-level debug by hand and look at what it writes to stderr."
        found.checks.append(Check("server", False, f"failed: {error}", advice))
    if found.report:
        found.checks[:0] = _environment_checks(found.report)
    return found


async def _check_model(client: Any, progress: Any) -> Check:
    """Wait until the model is ready or has failed."""
    from harmony_ls.cli.typist import model_ready

    started = time.perf_counter()
    uri = "file:///doctor/circle.py"
    client.open(uri, _SAMPLE)

    # Asking is what loads a model; the answer itself is of no interest yet.
    asked = client.send_request(
        "textDocument/inlineCompletion",
        {"textDocument": {"uri": uri}, "position": {"line": 0, "character": 0}, "context": {"triggerKind": 2}},
    )
    try:
        status = await model_ready(client, progress)
    except UserError as error:
        return Check("model", False, str(error), "Correct the setting model, or remove it.")
    await client.answer(asked)
    seconds = time.perf_counter() - started
    megabytes = (status.get("memoryBytes") or 0) / 1e6
    return Check("model", True, f"{status.get('message')}; loaded in {seconds:.1f} s, {megabytes:,.0f} MB")


async def _check_completion(client: Any) -> Check:
    """One completion that a person asks for, where any code model has something to say."""
    uri = "file:///doctor/circle.py"
    started = time.perf_counter()
    items = await client.inline_completion(uri, client.text(uri).position_at(_CURSOR), trigger_kind=1)
    milliseconds = (time.perf_counter() - started) * 1000
    if items:
        line = _SAMPLE[:_CURSOR].rpartition("\n")[2].strip()
        return Check("completion", True, f"{line}[{items[0]['insertText']}] after {milliseconds:.0f} ms")
    last = (await client.doctor())["journal"].get("last") or [{}]
    reason = f"{last[0].get('outcome', 'no outcome')}: {last[0].get('detail', '')}"
    return Check("completion", False, f"empty after {milliseconds:.0f} ms ({reason})", "Try another model.")


def _environment_checks(report: dict[str, Any]) -> list[Check]:
    environment = report["environment"]
    versions = ", ".join(f"{name} {version}" for name, version in environment["versions"].items() if version)
    checks = [
        Check("python", None, f"{environment['python']} ({environment['executable']})"),
        Check("platform", None, environment["platform"]),
        Check("packages", None, versions),
    ]
    if (device := environment.get("device")) is not None:
        checks.append(Check("device", None, device))
    blas = environment.get("blas")
    if isinstance(blas, dict) and (blas["active"] or blas["advice"]):
        finding = blas["library"] if blas["active"] else "the reference BLAS is in use"
        checks.append(Check("OpenBLAS", bool(blas["active"]), finding, blas["advice"]))
    sources = sorted({origin for origin in report["origins"].values() if origin != "default"})
    finding = "from " + ", ".join(sources) if sources else "all at their defaults"
    own = environment["configFile"]
    if own["path"] not in sources:
        finding += f"; your own file {'is' if own['exists'] else 'would be'} {own['path']}"
    checks.append(Check("settings", not report["problems"], finding, "; ".join(report["problems"])))
    return checks


def _print(console: "Console", found: Examination) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, show_header=False, padding=(0, 1))
    table.add_column(no_wrap=True)
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for check in found.checks:
        mark = {True: "[green]✓[/]", False: "[red]✗[/]", None: " "}[check.ok]
        table.add_row(mark, check.name, escape(check.finding))
        if check.ok is False and check.advice:
            table.add_row("", "", f"[yellow]{escape(check.advice)}[/]")
    console.print(table)
    if found.healthy:
        console.print("\nEverything works. [bold]harmony-ls demo[/] shows it at work.")
