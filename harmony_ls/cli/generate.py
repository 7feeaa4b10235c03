"""``harmony-ls generate``: one answer, as text or as JSON, then the end. For scripts, and for looking at a model.

The pass itself is in `one_answer`; this module reads the prompt, writes what comes, and decides the exit code.
"""

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harmony_ls.cli import options
from harmony_ls.cli.option_groups import grouped
from harmony_ls.cli.text_input import LARGEST_MESSAGE_BYTES, STDIN, read_text
from harmony_ls.errors import UserError
from harmony_ls.messages import FinishReason

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from rich.console import Console

    from harmony_ls.cli.background import Background
    from harmony_ls.cli.chosen_options import ModelOptions
    from harmony_ls.cli.one_answer import OneAnswer
    from harmony_ls.engine.engine import Engine
    from harmony_ls.session.generation import Asked
    from harmony_ls.settings import Settings

__all__ = ["EPILOG", "GenerateOptions", "generate", "run_generate"]

EPILOG = """Examples:

harmony-ls generate --model mlx-community/gpt-oss-20b-MXFP4-Q8 --prompt "Why is the sky blue?"

harmony-ls generate --prompt-file question.txt --effort high --show-reasoning

git diff | harmony-ls generate --system "Write a commit message." --no-stream

harmony-ls generate --raw --prompt "def fibonacci(n):" --max-tokens 40 --temperature 0

harmony-ls generate --prompt Hello --json --logprobs 3

harmony-ls generate --system "$(cat manual.txt)" --prompt "How is it cleaned?" --prompt-cache-file manual.safetensors

With --json one object comes at the end. With --json --stream each line is an object whose "type" names an event; the
last is "finished" and holds all of it. Exit codes: 0 done, 1 an error, 2 wrong usage, 130 stopped by Ctrl-C."""

_TICK_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class GenerateOptions:
    """What the command line says. ``stream`` None: text comes as it is written, JSON at the end."""

    prompt: str
    given: dict[str, Any]
    model: "ModelOptions"
    folder: Path
    system: str = ""
    is_raw: bool = False
    is_json: bool = False
    stream: bool | None = None
    shows_reasoning: bool = False
    stops: tuple[str, ...] = ()
    n_top: int | None = None
    prompt_cache_file: Path | None = None

    @property
    def is_streamed(self) -> bool:
        """Whether what is written is shown as it comes."""
        return not self.is_json if self.stream is None else self.stream


@grouped
def generate(
    prompt: Annotated[
        str | None,
        typer.Option("--prompt", "-p", metavar="TEXT", help="What to answer; - reads stdin.", show_default=False),
    ] = None,
    prompt_file: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="The same from a file; - is stdin, as is neither.", show_default=False),
    ] = None,
    model: options.ModelName = None,
    system: Annotated[str | None, typer.Option(metavar="TEXT", help="What the model is told first.")] = None,
    raw: Annotated[
        bool, typer.Option("--raw", help="No chat template: go on with the text. Works with every model.")
    ] = False,
    stream: Annotated[
        bool | None,
        typer.Option(
            "--stream/--no-stream",
            help="Write as it comes, or at the end. By default text streams.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON: see below.")] = False,
    show_reasoning: Annotated[
        bool, typer.Option("--show-reasoning", help="Write the reasoning to stderr; JSON always has it.")
    ] = False,
    effort: options.Effort = None,
    stop: Annotated[
        list[str] | None,
        typer.Option("--stop", metavar="TEXT", help="End the answer before this text; may be repeated."),
    ] = None,
    logprobs: Annotated[
        int | None,
        typer.Option(
            min=0, max=20, help="With --json: log-probabilities, and this many alternatives each.", show_default=False
        ),
    ] = None,
    *,
    model_arguments: options.ModelArguments,
    sampling: options.SamplingArguments,
    prompt_cache_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Start from the prompt cache of this .safetensors file, which is written where it is not there.",
            show_default=False,
            rich_help_panel=options.CACHE_PANEL,
        ),
    ] = None,
) -> None:
    """Generate one answer and end. Without a model, --raw uses the small one inside the package."""
    from harmony_ls.cli.chat import exits
    from harmony_ls.cli.chosen_options import given_settings, model_options
    from harmony_ls.cli.model_choice import follow, read_settings

    if logprobs is not None and not as_json:
        raise typer.BadParameter("--logprobs needs --json")
    in_chat = (system, effort, model_arguments.use_harmony, model_arguments.chat_template_args)
    if raw and any(each is not None for each in in_chat):
        raise typer.BadParameter(
            "--raw goes on with the text alone: no --system, --effort, --use-harmony or --chat-template-args"
        )
    if stop and "" in stop:
        raise typer.BadParameter("an empty text would stop every answer at once", param_hint="--stop")
    given = given_settings(sampling, model=model, effort=effort, trust_remote_code=model_arguments.trust_remote_code)
    chosen = model_options(model_arguments, sampling)
    with exits():
        settings = read_settings(Path.cwd(), given).settings
        if follow(settings, settings.chat.model or settings.model, chosen):
            raise typer.Exit
        asked = GenerateOptions(
            prompt=_read_prompt(prompt, prompt_file),
            given=given,
            model=chosen,
            folder=Path.cwd(),
            system=system or "",
            is_raw=raw,
            is_json=as_json,
            stream=stream,
            shows_reasoning=show_reasoning,
            stops=tuple(stop or ()),
            n_top=logprobs,
            prompt_cache_file=prompt_cache_file,
        )
        raise typer.Exit(run_generate(asked))


def run_generate(asked: GenerateOptions) -> int:
    """Generate, write, and return the exit code. Raises UserError where that cannot be done."""
    from harmony_ls.cli.answer_writer import AnswerWriter
    from harmony_ls.cli.background import Background
    from harmony_ls.cli.model_choice import close_engine, make_engine, own_warnings, read_settings, stderr_console
    from harmony_ls.cli.plain_text import clean

    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    errors = stderr_console()
    resolved = read_settings(asked.folder, asked.given)
    if resolved.problems:
        errors.print(clean(resolved.message), style="yellow")
    settings = resolved.settings
    writer = AnswerWriter(
        errors,
        is_json=asked.is_json,
        is_streamed=asked.is_streamed,
        shows_reasoning=asked.shows_reasoning,
        shows_logprobs=asked.n_top is not None,
    )
    started = time.perf_counter()
    exit_code = 1
    with Background() as background, own_warnings(lambda text: errors.print(clean(text), style="yellow")):
        engine = make_engine(settings)
        try:
            one = _load(background, engine, errors, settings, asked)
            writer.begin(one, loaded_seconds=time.perf_counter() - started)
            exit_code = _write(background, one, writer)
        except KeyboardInterrupt:
            exit_code = 130  # first: another Ctrl-C may come while this is told
            writer.give_up()
        except BrokenPipeError:
            exit_code = 0  # nobody reads any more; where a step does not end, the process ends with this below
            raise
        finally:
            close_engine(background, engine, exit_code)
    return exit_code


def _load(
    background: "Background", engine: "Engine", errors: "Console", settings: "Settings", asked: GenerateOptions
) -> "OneAnswer":
    """The model, and the answer that it is about to write."""
    import functools
    from dataclasses import replace
    from datetime import date

    from harmony_ls.cli.model_choice import as_model_failure, load_model, load_with_progress, model_spec, sampling_of
    from harmony_ls.cli.one_answer import OneAnswer, ask, go_on_with
    from harmony_ls.cli.prompt_cache_file import read_or_write
    from harmony_ls.messages import Conversation, Message, ReasoningEffort, Role
    from harmony_ls.session.chat_model import chosen_sampling, recommended_sampling

    if asked.is_raw:
        spec = model_spec(settings, settings.chat.model or settings.model, asked.model)
        model = load_with_progress(background, errors, functools.partial(engine.load, spec))
        prompt = go_on_with(model, asked.prompt)

        def prompt_after(held: "Sequence[int]") -> "tuple[Asked, date | None]":
            return prompt, None

        sampling = sampling_of(model, recommended_sampling(model), asked.model)
    else:
        chat_model = load_model(background, engine, errors, settings, asked.model)
        model, sampling = chat_model.model, chat_model.sampling
        told = [Message(Role.SYSTEM, asked.system)] if asked.system else []
        conversation = Conversation(
            (*told, Message(Role.USER, asked.prompt)),
            effort=ReasoningEffort(settings.chat.effort),
            started=date.today(),
            template_arguments=asked.model.template_arguments,
        )
        prompt = ask(chat_model, conversation)

        def prompt_after(held: "Sequence[int]") -> "tuple[Asked, date | None]":
            day = chat_model.format.date_of(held) or conversation.started
            return ask(chat_model, replace(conversation, started=day)), day

    answer_to = functools.partial(
        OneAnswer,
        engine,
        model,
        sampling=chosen_sampling(sampling, settings.chat),
        max_tokens=settings.chat.max_tokens,
        stops=asked.stops,
        n_top=asked.n_top or 0,
    )
    one = answer_to(prompt)
    if asked.prompt_cache_file is not None:
        with as_model_failure():
            prompt = read_or_write(
                background,
                engine,
                errors,
                model,
                prompt,
                asked.prompt_cache_file,
                has_instructions=bool(asked.system),
                asked_after=prompt_after,
            )
        one = answer_to(prompt)
    return one


def _write(background: "Background", one: "OneAnswer", writer: Any) -> int:
    from harmony_ls.cli.background import stopped_by_interrupt
    from harmony_ls.cli.model_choice import as_model_failure

    with stopped_by_interrupt(lambda: background.call(one.cancel)):
        with as_model_failure():
            for item in background.stream(one.events).take(_TICK_SECONDS):
                if item is not None:
                    writer.write(item)
        writer.finish()
    return 130 if one.answer.reason is FinishReason.CANCELLED else 0


def _read_prompt(prompt: str | None, prompt_file: str | None) -> str:
    """The prompt from wherever it comes. Raises UserError where there is none, or it is no text."""
    if prompt is not None and prompt_file is not None:
        raise typer.BadParameter("--prompt and --prompt-file exclude each other")
    if prompt is None and prompt_file is None and sys.stdin.isatty():
        raise typer.BadParameter("name the prompt with --prompt TEXT or --prompt-file FILE, or write it to stdin")
    if prompt is None or prompt == "-":  # as mlx_lm.generate has it
        prompt = read_text(prompt_file or STDIN, LARGEST_MESSAGE_BYTES)
    if not prompt.strip():
        raise UserError("The prompt is empty: there is nothing to answer.")
    return prompt
