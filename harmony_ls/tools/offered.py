"""Which tools a conversation gets: those that the settings allow and that can be had here."""

from collections.abc import Collection
from typing import TYPE_CHECKING

from harmony_ls.errors import MissingPackageError
from harmony_ls.settings.models import Settings
from harmony_ls.tools.toolbox import ToolBox

if TYPE_CHECKING:
    from harmony_ls.tools.tool import Approve, Tool
    from harmony_ls.workspace.port import Workspace

__all__ = ["TOOL_NAMES", "offered_tools"]

TOOL_NAMES = ("apply_patch", "python", "browser")


async def offered_tools(
    settings: Settings, workspace: "Workspace | str", approve: "Approve", wanted: Collection[str] = TOOL_NAMES
) -> ToolBox:
    """The tools that are wanted, with the permissions of the settings; those that cannot be had here, with the reason.

    ``workspace`` is what patches are applied to, or why there is none. Raises SettingsError where the browser's
    settings lack something.
    """
    permissions = settings.tools
    tools: list[Tool] = []
    absent: dict[str, str] = {}
    if "apply_patch" in wanted:
        from harmony_ls.tools.apply_patch import apply_patch_tool

        if isinstance(workspace, str):
            absent["apply_patch"] = workspace
        else:
            tools.append(apply_patch_tool(workspace))
    if "python" in wanted and permissions.python != "off":
        from harmony_ls.tools.python import python_tool

        python = await python_tool(permissions)
        if isinstance(python, str):
            absent["python"] = python
        else:
            tools.append(python)
    if "browser" in wanted and permissions.browser != "off":
        from harmony_ls.tools.browser import browser_tools

        try:
            tools += browser_tools(settings)
        except MissingPackageError as error:
            absent["browser"] = str(error)
    names = {tool.spec.name: tool.spec.name.partition(".")[0] for tool in tools}
    return ToolBox(tools, {name: getattr(permissions, kind) for name, kind in names.items()}, approve, absent)
