"""``harmony-ls bench``: measures what the program promises, on this machine. The parts are modules of this package."""

from pathlib import Path
from typing import Annotated

import typer

from harmony_ls.cli.help_text import ReadableCommand

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Measure what harmony-ls promises, on this machine.")


JsonOutput = Annotated[
    bool,
    typer.Option(
        "--json",
        help="Print one JSON object on stdout, nothing else: each number under its key (null where it was not "
        "measured), with meanings, targets, verdicts, samples and intervals by the same keys, and the machine.",
    ),
]


@app.callback()
def _bench() -> None:
    """Measure what harmony-ls promises, on this machine."""


@app.command("inline", cls=ReadableCommand)
def inline(
    model: Annotated[
        str | None,
        typer.Option(help="A model folder or repository. Default: the embedded model.", show_default=False),
    ] = None,
    json_output: JsonOutput = False,
    report: Annotated[
        Path | None,
        typer.Option(help="Write a self-contained HTML page here.", dir_okay=False, show_default=False),
    ] = None,
    lines: Annotated[int, typer.Option(min=1, help="Lines to type in the replay.")] = 200,
    compare_lines: Annotated[int, typer.Option(min=1, help="Typed lines that mlx_lm.server gets too.")] = 6,
    cases: Annotated[int, typer.Option(min=1, help="Code cases; half as many finished statements come on top.")] = 300,
    seed: Annotated[int, typer.Option(help="Which files, lines and places are drawn.")] = 1,
    sources: Annotated[
        list[Path] | None,
        typer.Option(
            help="A folder of Python files to type and ask about, in place of the held-out packages. Repeat for more.",
            exists=True,
            file_okay=False,
            show_default=False,
        ),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(help="A part to measure: quality, engine, replay or rival. Repeat for more. Default: all."),
    ] = None,
) -> None:
    """Measure inline completion: latency key by key, beside mlx_lm.server, the engine, and the answers' worth.

    The whole takes about twenty minutes on two processor cores; --lines, --cases and --only make it shorter.
    Run it on a machine that does nothing else.
    """
    from harmony_ls.cli.bench.inline import command

    parts = only or [part.value for part in command.Part]
    unknown = sorted(set(parts) - {part.value for part in command.Part})
    if unknown:
        raise typer.BadParameter(f"there is no part {unknown[0]!r}", param_hint="--only")
    plan = command.Plan(
        model=model,
        parts=frozenset(command.Part(part) for part in parts),
        n_lines=lines,
        n_compared_lines=compare_lines,
        n_cases=cases,
        n_quiet_cases=(cases + 1) // 2,
        seed=seed,
        packages=command.installed_packages() if not sources else {each.absolute().name: each for each in sources},
    )
    raise typer.Exit(command.bench_inline(plan, as_json=json_output, report=report))


@app.command("chat", cls=ReadableCommand)
def chat(
    model: Annotated[
        list[str] | None,
        typer.Option(help="A model folder or repository. Repeat for more.", show_default=False),
    ] = None,
    shape: Annotated[
        list[str] | None,
        typer.Option(
            help="Instead of --model: a shape with random weights that the bench makes itself: tiny, llama, "
            "llama-deep, gpt-oss or gpt-oss-20b. Repeat for more. Default: llama and gpt-oss.",
            show_default=False,
        ),
    ] = None,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run the Python code that a model brings with it.")
    ] = False,
    json_output: JsonOutput = False,
) -> None:
    """Measure conversations beside mlx-lm alone: decoding, what a second turn reads again, parsing.

    The two small shapes take about four minutes on two processor cores. gpt-oss-20b needs a GPU and 14 GB of disk.
    """
    from harmony_ls.cli.bench.chat import command

    if model and shape:
        raise typer.BadParameter("--model and --shape exclude each other")
    shapes = tuple(shape or ("llama", "gpt-oss"))
    unknown = sorted(set(shapes) - set(command.SHAPES))
    if unknown:
        shown = ", ".join(command.SHAPES)
        raise typer.BadParameter(f"there is no shape {unknown[0]!r}; the shapes are {shown}", param_hint="--shape")
    plan = command.ChatPlan(tuple(model or ()), shapes, trust_remote_code=trust_remote_code)
    raise typer.Exit(command.bench_chat(plan, as_json=json_output))


@app.command("tools", cls=ReadableCommand)
def tools(
    json_output: JsonOutput = False,
) -> None:
    """Measure the tools: a Python cell in its container, warm and cold, and placing a patch in a long file.

    It takes about ten seconds. The image and the engine are those of your settings.
    """
    from harmony_ls.cli.bench.tools.command import ToolsPlan, bench_tools
    from harmony_ls.settings.sources import read_user_file, resolve

    settings = resolve([read_user_file()]).settings
    raise typer.Exit(bench_tools(ToolsPlan(settings.tools), as_json=json_output))


@app.command("lsp", cls=ReadableCommand)
def lsp(
    json_output: JsonOutput = False,
    requests: Annotated[int, typer.Option(min=1, help="Requests of the soak, after a fifth as many.")] = 20_000,
    only: Annotated[
        list[str] | None,
        typer.Option(help="A part to measure: typing, actions, chat, keys or soak. Repeat for more. Default: all."),
    ] = None,
) -> None:
    """Measure the language server under a chat and in a long soak, with models that the bench makes itself.

    typing: what a change of a document costs while a chat is written, beside short and beside long steps of its model.
    actions: the list of code actions. chat: tokens at the client beside mlx-lm alone. keys: completions beside a chat
    that calls tools. soak: thousands of mixed requests, and what they leave in memory.

    All but the soak takes about three minutes on two processor cores, the soak twenty more.
    Run it on a machine that does nothing else.
    """
    from harmony_ls.cli.bench.lsp import command
    from harmony_ls.cli.bench.lsp.record import LspSizes

    parts = tuple(only or command.PARTS)
    unknown = sorted(set(parts) - set(command.PARTS))
    if unknown:
        raise typer.BadParameter(f"there is no part {unknown[0]!r}", param_hint="--only")
    plan = command.LspPlan(parts, LspSizes(requests=requests, warm_up=requests // 5))
    raise typer.Exit(command.bench_lsp(plan, as_json=json_output))
