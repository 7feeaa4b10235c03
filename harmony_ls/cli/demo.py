"""``harmony-ls demo``: type lines of a real file into the real server, key by key, and show what it offers.

The file on disk is not touched: the lines are taken out of a copy and typed again. Where a suggestion is just what
would be typed next, it is accepted with one key, as a person would.
"""

import asyncio
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harmony_ls.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from harmony_ls.cli.demo_view import DemoView
    from harmony_ls.lsp.client import LspClient

__all__ = ["demo"]

_PLACE = re.compile(r"(?P<file>.+?)(?::(?P<line>\d+))?(?::(?P<column>\d+))?")
_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")
_SAMPLE = Path(__file__).parent.parent / "features" / "inline" / "journal.py"
_SAMPLE_LINE = 48
_SHORTEST_ACCEPTED = 2
_TERMINAL_PACE_MS = 40


@dataclass(frozen=True, slots=True)
class Script:
    """What is typed: ``text`` is the file without the lines, which go in at ``offset``."""

    file: Path
    first_line: int
    text: str
    offset: int
    typed: str


def demo(
    place: Annotated[
        str | None,
        typer.Argument(metavar="[FILE[:LINE[:COL]]]", help="Where to type; by default in a file of harmony-ls itself."),
    ] = None,
    lines: Annotated[int, typer.Option(help="How many lines to type.", min=1, max=500)] = 8,
    model: Annotated[
        str | None,
        typer.Option(help="A folder or Hugging Face name; by default the embedded model.", show_default=False),
    ] = None,
    pace: Annotated[
        int | None,
        typer.Option(help="Pause between keys in ms; by default 40 on a terminal, else 0.", min=0, show_default=False),
    ] = None,
) -> None:
    """Watch inline completions: real lines typed key by key into the real server.

    Try it on a file of yours: harmony-ls demo path/to/file.py:120
    """
    from rich.console import Console

    console = Console()
    if pace is None:
        pace = _TERMINAL_PACE_MS if console.is_terminal else 0
    try:
        script = _read_script(place, lines)
        asyncio.run(_play(console, script, model, pace / 1000))
    except UserError as error:
        console.print(str(error), style="red", highlight=False, markup=False)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        console.print("Stopped.")
        raise typer.Exit(130) from None


def _read_script(place: str | None, n_lines: int) -> Script:
    match = _PLACE.fullmatch(place) if place else None
    file = Path(match["file"]).expanduser() if match else _SAMPLE
    try:
        text = file.read_bytes().decode("utf-8")
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{file} is not UTF-8 text.") from error
    lines = _LINE.findall(text)
    if not lines:
        raise UserError(f"{file} is empty: there is nothing to type.")
    if match is None:
        line, column = _SAMPLE_LINE, 1
    else:
        line = int(match["line"]) if match["line"] else _first_interesting_line(lines)
        column = int(match["column"] or 1)
    if not 1 <= line <= len(lines):
        raise UserError(f"{file} has {len(lines)} lines; there is no line {line}.")
    start = sum(map(len, lines[: line - 1])) + min(column - 1, len(lines[line - 1].rstrip("\r\n")))
    end = sum(map(len, lines[: line - 1 + n_lines]))
    typed = text[start:end].rstrip("\r\n")
    return Script(file, line, text[:start] + text[start + len(typed) :], start, typed)


def _first_interesting_line(lines: list[str]) -> int:
    """The first line that is indented, from a third of the file on: there is context before it, and code to write."""
    third = len(lines) // 3
    return next((n + 1 for n in range(third, len(lines)) if lines[n][:1] in " \t" and lines[n].strip()), third + 1)


async def _play(console: "Console", script: Script, model: str | None, pace: float) -> None:
    from rich.markup import escape

    from harmony_ls.cli.demo_view import DemoView
    from harmony_ls.cli.typist import CAPABILITIES, model_ready
    from harmony_ls.lsp.client import LspClient, ResponseError, ServerGoneError

    arguments = ["--log-level", "error", *(("--model", model) if model else ())]
    name = escape(script.file.name)
    console.print(f"Typing into [bold]{name}[/] from line {script.first_line}.", highlight=False)
    try:
        async with await LspClient.start(arguments) as client:
            with console.status("Starting the server…") as status:
                await client.initialize(capabilities=CAPABILITIES, name="harmony-ls demo")
                uri = script.file.absolute().as_uri()
                client.open(uri, script.text, _language(script.file))
                if not (await client.doctor())["settings"]["inlineCompletion"]["enabled"]:
                    raise UserError("Your settings switch inline completions off (inlineCompletion.enabled).")
                ready = await model_ready(client, lambda message: status.update(escape(message)))
            console.print(ready["message"], highlight=False, markup=False)
            view = DemoView(console, script.text, script.offset, script.first_line)
            with view:
                await _type(client, uri, script, view, pace)
            view.print_summary(is_embedded=ready["model"] == "embedded")
            await client.shutdown()
    except (ServerGoneError, ResponseError) as error:
        raise UserError(f"The server failed: {error}. Run harmony-ls doctor.") from error


async def _type(client: "LspClient", uri: str, script: Script, view: "DemoView", pace: float) -> None:
    from harmony_ls.cli.demo_view import Keystroke
    from harmony_ls.cli.typist import next_key, press

    position = 0
    accepted = False
    inserted = next_key(script.typed, 0)
    while inserted:
        answer = await press(client, uri, script.offset + position, inserted)
        position += len(inserted)
        rest = script.typed[position:]
        view.show(Keystroke(inserted, accepted, answer))
        if pace:
            # A suggestion that is about to be accepted stays long enough to be read.
            await asyncio.sleep(pace * 12 if answer.shown and rest.startswith(answer.shown) else pace)
        accepted = len(answer.shown) >= _SHORTEST_ACCEPTED and rest.startswith(answer.shown)
        inserted = answer.shown if accepted else next_key(script.typed, position)


def _language(file: Path) -> str:
    languages = {
        ".py": "python", ".js": "javascript", ".ts": "typescript", ".tsx": "typescriptreact", ".go": "go",
        ".rs": "rust", ".c": "c", ".h": "c", ".cpp": "cpp", ".java": "java", ".rb": "ruby", ".md": "markdown",
        ".html": "html", ".css": "css", ".json": "json", ".yaml": "yaml", ".yml": "yaml", ".toml": "toml",
        ".sh": "shellscript", ".lua": "lua",
    }  # fmt: skip
    return languages.get(file.suffix.lower(), "plaintext")
