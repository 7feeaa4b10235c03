"""From what the command line says to the parts of a conversation: instructions, files, tools."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harmony_ls.cli.model_choice import ModelOptions
from harmony_ls.errors import UserError
from harmony_ls.settings import Settings

if TYPE_CHECKING:
    from harmony_ls.tools.tool import Approve
    from harmony_ls.tools.toolbox import ToolBox
    from harmony_ls.workspace.port import Workspace

__all__ = ["TOOL_NAMES", "ChatOptions", "make_tools", "make_workspace", "read_instructions"]

TOOL_NAMES = ("apply_patch",)
_LARGEST_INSTRUCTIONS_BYTES = 1_000_000


@dataclass(frozen=True, slots=True)
class ChatOptions:
    """What the command line says. ``given`` are settings by their flat keys; ``tools`` None offers all there are."""

    folder: Path
    given: Mapping[str, Any] = field(default_factory=dict)
    model: ModelOptions = field(default_factory=ModelOptions)
    instructions: str = ""
    tools: tuple[str, ...] | None = None
    hides_reasoning: bool = False
    conversation: Path | None = None


def read_instructions(path: Path) -> str:
    """Instructions from a file. Raises UserError where it cannot be read."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"The instructions {path} cannot be read: {error.strerror or error}.") from error
    if len(content) > _LARGEST_INSTRUCTIONS_BYTES:
        raise UserError(f"The instructions {path} are too large: {len(content) / 1e6:.1f} MB.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"The instructions {path} are not text in UTF-8.") from None


def make_workspace(settings: Settings, options: ChatOptions) -> "Workspace":
    """The files of the folder, without those that the model never reads."""
    from harmony_ls.workspace.disk import DiskWorkspace

    return DiskWorkspace([options.folder], exclude=settings.inline_completion.exclude)


def make_tools(settings: Settings, options: ChatOptions, workspace: "Workspace", approve: "Approve") -> "ToolBox":
    """The tools that are wanted, with the permissions of the settings."""
    from harmony_ls.tools.apply_patch import apply_patch_tool
    from harmony_ls.tools.toolbox import ToolBox

    makers = {"apply_patch": lambda: apply_patch_tool(workspace)}
    wanted = TOOL_NAMES if options.tools is None else options.tools
    tools = [makers[name]() for name in wanted]
    return ToolBox(tools, {"apply_patch": settings.tools.apply_patch}, approve)
