"""From what the command line says to the parts of a conversation: instructions, files, tools."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harmony_ls.cli.chat.input import silent_keys
from harmony_ls.cli.chosen_options import ModelOptions
from harmony_ls.cli.model_choice import wants_style
from harmony_ls.cli.plain_text import clean
from harmony_ls.cli.text_input import read_text
from harmony_ls.errors import UserError
from harmony_ls.settings import Settings

if TYPE_CHECKING:
    from rich.console import Console

    from harmony_ls.cli.background import Background
    from harmony_ls.tools.tool import Approve
    from harmony_ls.tools.toolbox import ToolBox
    from harmony_ls.workspace.disk import DiskWorkspace
    from harmony_ls.workspace.port import Workspace

__all__ = ["ChatOptions", "make_tools", "make_workspace", "offer_image", "read_instructions"]

_LARGEST_INSTRUCTIONS_BYTES = 1_000_000


@dataclass(frozen=True, slots=True)
class ChatOptions:
    """What the command line says. ``given`` are settings by their flat keys.

    ``tools`` None offers all that the settings allow. A tool that is named here is wanted although the settings have it
    off; it asks then.
    """

    folder: Path
    given: Mapping[str, Any] = field(default_factory=dict)
    model: ModelOptions = field(default_factory=ModelOptions)
    instructions: str = ""
    tools: tuple[str, ...] | None = None
    hides_reasoning: bool = False
    conversation: Path | None = None


def read_instructions(path: Path) -> str:
    """Instructions from a file. Raises UserError where it cannot be read, is too large, or is not UTF-8."""
    return read_text(path, _LARGEST_INSTRUCTIONS_BYTES, called=f"The instructions file {path}")


def make_workspace(settings: Settings, options: ChatOptions) -> "DiskWorkspace":
    """The files of the folder, without those that the model never reads."""
    from harmony_ls.workspace.disk import DiskWorkspace

    return DiskWorkspace([options.folder], exclude=settings.inline_completion.exclude)


def offer_image(background: "Background", console: "Console", settings: Settings, options: ChatOptions) -> None:
    """Fetch the image of the python tool where the command line names the tool, the image is missing, and the person at
    the terminal agrees. What goes wrong is said; the chat begins all the same, and says that there is no such tool.
    """
    from harmony_ls.tools.python import fetch_image, image_to_fetch

    if "python" not in (options.tools or ()) or (image := background.run(image_to_fetch(settings.tools))) is None:
        return
    console.print(clean(f"The python tool runs in the Docker image {image}, which is not there."))
    try:
        if input("Fetch it from its registry? [y/N]: ").strip().lower() not in ("y", "yes"):
            return
        with silent_keys(), _image_progress(console) as report:
            background.run(fetch_image(settings.tools, report))
    except EOFError:
        console.print("")
    except KeyboardInterrupt:
        console.print("The image is not fetched.")
    except UserError as error:
        console.print(clean(str(error)), style="red")


@contextlib.contextmanager
def _image_progress(console: "Console") -> Iterator[Callable[[int, int], None]]:
    """Shows how far a download is, in megabytes, where the terminal can draw."""
    if not wants_style(console.is_terminal):
        console.print("Fetching…")
        yield lambda _done, _total: None
        return
    with console.status("Fetching…") as status:
        yield lambda done, total: status.update(f"Fetching… {done / 1e6:.1f} of {total / 1e6:.1f} MB")


async def make_tools(settings: Settings, options: ChatOptions, workspace: "Workspace", approve: "Approve") -> "ToolBox":
    """The tools of the chat: those that the command line names, else all that the settings allow.

    Raises SettingsError where the browser's settings lack something.
    """
    from harmony_ls.tools.offered import TOOL_NAMES, offered_tools

    wanted = TOOL_NAMES if options.tools is None else options.tools
    return await offered_tools(_switched_on(settings, options.tools or ()), workspace, approve, wanted)


def _switched_on(settings: Settings, named: Sequence[str]) -> Settings:
    """The settings in which no tool is off that the command line names."""
    off = {name: "ask" for name in named if getattr(settings.tools, name) == "off"}
    return settings.model_copy(update={"tools": settings.tools.model_copy(update=off)}) if off else settings
