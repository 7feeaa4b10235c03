"""Which model a command uses and under which settings: those of files, with the command line above them.

It loads a model and shows how far that is; what is done with it is the commands' business.
"""

import contextlib
import functools
import logging
import os
import sys
from collections.abc import Callable, Coroutine, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from harmony_ls.cli.chosen_options import ModelOptions
from harmony_ls.cli.plain_text import clean
from harmony_ls.errors import HarmonyLsError, SettingsError, UserError
from harmony_ls.settings import Resolved, Settings, Source, read_user_file, read_workspace, resolve

if TYPE_CHECKING:
    from rich.console import Console

    from harmony_ls.cli.background import Background
    from harmony_ls.engine.engine import Engine
    from harmony_ls.engine.generation.request import Sampling
    from harmony_ls.engine.loading.load_progress import LoadProgress, OnLoadProgress
    from harmony_ls.engine.models.model import Model, ModelSpec
    from harmony_ls.session.chat_model import ChatModel

__all__ = [
    "EXIT_PATIENCE_SECONDS",
    "as_model_failure",
    "close_engine",
    "follow",
    "load_model",
    "load_with_progress",
    "make_engine",
    "model_spec",
    "own_warnings",
    "read_settings",
    "sampling_of",
    "stderr_console",
    "wants_style",
]

log = logging.getLogger(__name__)
Loaded = TypeVar("Loaded")

EXIT_PATIENCE_SECONDS = 5.0
"""How long a step of the model may hold up the end of the program."""


_COMMAND_LINE = "command line"
_NO_MODEL = (
    "No model is named. The small model inside the package only completes code; it cannot chat. Name one with --model "
    "or in the setting chat.model, for example\n"
    "  mlx-community/gpt-oss-20b-MXFP4-Q8            12 GB, reasons, uses tools\n"
    "  mlx-community/Qwen3-4B-Instruct-2507-4bit     2 GB\n"
    "  mlx-community/Qwen2.5-Coder-7B-Instruct-4bit  4 GB"
)


def read_settings(folder: Path, given: Mapping[str, Any]) -> Resolved:
    """The settings in force in a workspace folder. ``given`` are flat keys of the command line; None says nothing.

    Raises SettingsError where the command line says what cannot be.
    """
    named = {key: value for key, value in given.items() if value is not None}
    resolved = resolve([read_user_file(), read_workspace(folder), Source(_COMMAND_LINE, named)])
    mistakes = [problem for problem in resolved.problems if problem.endswith(f"({_COMMAND_LINE})")]
    if mistakes:
        raise SettingsError("\n".join(mistakes))
    return resolved


def model_spec(settings: Settings, reference: str | None, options: ModelOptions) -> "ModelSpec":
    """What the engine is asked for. Raises UserError for an adapter folder that is not there."""
    from harmony_ls.engine.models.cache_options import CacheOptions
    from harmony_ls.features.model_spec import model_spec as spec_of_settings

    if options.adapter is not None and not options.adapter.is_dir():
        raise UserError(f"There is no adapter folder {options.adapter}. Name a folder that mlx_lm.lora has written.")
    return replace(
        spec_of_settings(settings, reference),
        cache_options=options.cache or CacheOptions(),
        adapter_path=None if options.adapter is None else str(options.adapter),
        draft=options.draft,
        shard=options.shard,
    )


def follow(settings: Settings, reference: str | None, options: ModelOptions) -> bool:
    """Serve the process of rank 0 to its end, if this one was started to; false where it was not.

    Raises ModelError where rank 0 is lost.
    """
    from harmony_ls.engine.distributed.process_group import is_follower

    if options.shard == "none" or not is_follower():
        return False
    from harmony_ls.engine.loading.follower import run_follower

    run_follower(model_spec(settings, reference, options))
    return True


def make_engine(settings: Settings) -> "Engine":
    """An engine under these settings."""
    from harmony_ls.engine.engine import Engine

    return Engine(
        prefill_step_tokens=settings.engine.prefill_step_tokens,
        prompt_cache_bytes=settings.engine.prompt_cache_mb << 20,
    )


def load_model(
    background: "Background",
    engine: "Engine",
    console: "Console",
    settings: Settings,
    options: ModelOptions,
    reference: str | None = None,
) -> "ChatModel":
    """The model of ``reference``, else that of the settings. Raises UserError where there is none or it cannot chat."""
    reference = reference or settings.chat.model or settings.model
    if reference is None:
        raise UserError(_NO_MODEL)
    from harmony_ls.session.chat_model import load_chat_model

    spec = model_spec(settings, reference, options)
    load = functools.partial(load_chat_model, engine, spec, use_harmony=options.use_harmony)
    chat_model = load_with_progress(background, console, lambda report: load(on_progress=report))
    if options.template_arguments and chat_model.speaks_harmony:
        raise UserError(
            f"{chat_model.model.name} is spoken to in Harmony, which has no chat template that could take "
            "--chat-template-args. Leave it out, or add --no-use-harmony."
        )
    return replace(chat_model, sampling=sampling_of(chat_model.model, chat_model.sampling, options))


def sampling_of(model: "Model", recommended: "Sampling", options: ModelOptions) -> "Sampling":
    """What the model's makers recommend, with what the command line says. Raises UserError for a token it lacks."""
    tokenizer = model.tokenizer
    unknown = [token for token, _ in options.sampling.get("logit_bias", ()) if token >= tokenizer.vocabulary_size]
    if unknown:
        raise UserError(
            f"--logit-bias names token {unknown[0]}; {model.name} has the tokens 0 to {tokenizer.vocabulary_size - 1}."
        )
    sampling = replace(recommended, **options.sampling)
    if not sampling.xtc_probability:
        return sampling
    # As in mlx-lm: what ends a line or an answer is never left out, or answers would not end.
    return replace(sampling, xtc_special_tokens=(*tokenizer.encode("\n"), *sorted(tokenizer.eos_token_ids)))


def stderr_console() -> "Console":
    """Where progress and errors go; without colours where nobody wants them."""
    from rich.console import Console

    plain = not wants_style(sys.stderr.isatty())
    return Console(
        stderr=True,
        highlight=False,
        markup=False,
        emoji=False,
        color_system=None if plain else "auto",
        soft_wrap=not sys.stderr.isatty(),  # a file or a pipe has no width
    )


def wants_style(is_terminal: bool) -> bool:
    """Whether colours and a moving cursor are wanted on what may be a terminal (https://no-color.org)."""
    return is_terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "dumb") not in ("dumb", "unknown")


def load_with_progress(
    background: "Background",
    console: "Console",
    load: "Callable[[OnLoadProgress], Coroutine[Any, Any, Loaded]]",
) -> Loaded:
    """What ``load`` gives; how far it is is shown on a terminal meanwhile. An interrupt gives it up."""
    with _progress(console) as report:
        return background.run(load(report))


@contextlib.contextmanager
def _progress(console: "Console") -> "Iterator[OnLoadProgress]":
    if not console.is_terminal:
        yield lambda _progress: None
    elif not wants_style(True):
        shown: set[str] = set()

        def tell(progress: "LoadProgress") -> None:
            if progress.message not in shown:
                shown.add(progress.message)
                console.print(f"{clean(progress.message)}…")

        yield tell
    else:
        from rich.text import Text

        with console.status(Text("Loading…", "dim")) as status:

            def draw(progress: "LoadProgress") -> None:
                percent = "" if progress.fraction is None else f" {progress.fraction:.0%}"
                status.update(Text(f"{clean(progress.message)}…{percent}", "dim"))

            yield draw


@contextlib.contextmanager
def own_warnings(tell: Callable[[str], None]) -> Iterator[None]:
    """Tell our own warnings in one line each; tracebacks, and what libraries log, are of no use to who chats.

    ``tell`` is called on the thread that warns.
    """

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.name.startswith("harmony_ls"):
                tell(record.getMessage())

    handler = Handler(logging.WARNING)
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)


@contextlib.contextmanager
def as_model_failure() -> Iterator[None]:
    """Make a UserError of whatever a model fails with: the libraries under it raise what they like."""
    try:
        yield
    except (HarmonyLsError, OSError):
        raise
    except Exception as error:
        log.debug("The model failed", exc_info=True)
        raise UserError(f"The model failed: {type(error).__name__}: {error}") from error


def close_engine(background: "Background", engine: "Engine", exit_code: int) -> None:
    """Close the engine. Where a step of the model does not end in time, the process ends here and now.

    So it does at Ctrl-C, with ``exit_code``, and when it is told to end meanwhile.
    """
    from harmony_ls.cli.background import on_interrupt

    with on_interrupt(lambda: _end_now(exit_code)):
        try:
            is_closed = background.run(engine.close(EXIT_PATIENCE_SECONDS))
        except SystemExit as leaving:
            _end_now(leaving.code if isinstance(leaving.code, int) else exit_code)
        if not is_closed:
            _end_now(exit_code)


def _end_now(exit_code: int) -> NoReturn:
    """End the process without waiting for any of its threads."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    os._exit(exit_code)
