"""The tool ``python``: a model runs code as in a notebook, inside a container, after a person saw the code.

Code is never run on the host: where there is no container, there is no tool, and a reason instead.
"""

import asyncio
import json
import re
from typing import TYPE_CHECKING

from harmony_ls.edits.diff import visible
from harmony_ls.errors import UserError
from harmony_ls.messages import ToolCall, ToolSpec
from harmony_ls.settings.models import ToolSettings
from harmony_ls.tools.python.container import ContainerGoneError
from harmony_ls.tools.python.engine import connect, engine_faults, remove_leftovers
from harmony_ls.tools.python.image import check_image
from harmony_ls.tools.python.interpreter import CellResult, Interpreter
from harmony_ls.tools.python.places import NoPlaceError, Places, places_of_process
from harmony_ls.tools.tool import ApprovalRequest, Tool, ToolOutput

if TYPE_CHECKING:
    from docker import DockerClient

__all__ = ["code_of", "python_tool"]

_NAME = "python"
_N_SUMMARY = 80
_LONGEST_CODE = 2_000_000
_WRAPPERS = ("code", "script", "input", "source", "python", "content")
_FENCE = re.compile(r"\A\s*(`{3,})[ \t]*(?:python3?|py|ipython)?[ \t]*\n(.*?)\n?[ \t]*\1\s*\Z", re.DOTALL)


async def python_tool(settings: ToolSettings, places: Places | None = None) -> Tool | str:
    """The tool for one conversation, or the reason, for a person, why it cannot be offered here.

    It asks the engine, so call it where the tool is wanted. What processes that are gone have left is removed. The
    container is started by the first call, and `close` removes it. ``places`` bounds how many there are at once; None:
    those of this process.
    """
    try:
        return _Python(await asyncio.to_thread(_open, settings), settings, places or places_of_process())
    except UserError as error:
        return str(error)


def code_of(arguments: str) -> str:
    """The code of a call: models write it as it is, or in a fence, or inside JSON."""
    text = arguments.strip()
    if text[:1] in ("{", '"'):
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            value = None
        if isinstance(value, dict):
            value = next((value[name] for name in _WRAPPERS if isinstance(value.get(name), str)), None)
        if isinstance(value, str):
            return code_of(value) if value.strip()[:3] == "```" else value
    if (fenced := _FENCE.match(arguments)) is not None:
        return fenced[2]
    return arguments


def _open(settings: ToolSettings) -> "DockerClient":
    client = connect(settings)
    try:
        remove_leftovers(client)
        check_image(client, settings.python_image)
    except UserError:
        client.close()
        raise
    except engine_faults() as error:
        client.close()
        raise UserError(f"The python tool needs Docker, whose engine does not answer as it should: {error}") from error
    return client


class _Python:
    """`Tool` over an interpreter."""

    def __init__(self, client: "DockerClient", settings: ToolSettings, places: Places) -> None:
        self._client = client
        self._interpreter = Interpreter(client, settings, places)
        self._spec = ToolSpec(_NAME, _description(settings), {"type": "string", "description": "Python code."})

    @property
    def spec(self) -> ToolSpec:
        """What the model is told."""
        return self._spec

    async def prepare(self, call: ToolCall) -> ApprovalRequest | ToolOutput | None:
        """Show the whole code."""
        code = code_of(call.arguments)
        if not code.strip():
            return ToolOutput("There was no code in the call. Write Python code and nothing else.", is_error=True)
        if len(code) > _LONGEST_CODE:
            return ToolOutput(f"The code has {len(code):,} characters; {_LONGEST_CODE:,} are the most.", is_error=True)
        lines = [line.strip() for line in code.splitlines() if line.strip()]
        first = lines[0][:_N_SUMMARY] + ("…" if len(lines[0]) > _N_SUMMARY else "")
        n_more = len(lines) - 1
        more = f" (and {n_more} more line{'s' if n_more > 1 else ''})" if n_more else ""
        return ApprovalRequest(call, f"Run Python: {visible(first)}{more}", visible(code))

    async def run(self, call: ToolCall) -> ToolOutput:
        """Run the code; what it wrote, and in brackets what else is to be known."""
        try:
            result = await self._interpreter.run(code_of(call.arguments))
        except (ContainerGoneError, NoPlaceError) as error:
            return _no_container(error)
        except engine_faults() as error:
            return _no_container(error)
        return ToolOutput(_told(result), result.is_error, is_untrusted=True)

    async def close(self) -> None:
        """Remove the container."""
        await self._interpreter.close()
        await asyncio.to_thread(self._client.close)


def _no_container(error: Exception) -> ToolOutput:
    return ToolOutput(f"[No Python: the container could not be started: {error}. Nothing was run.]", is_error=True)


def _description(settings: ToolSettings) -> str:
    return (
        "Execute Python code. The code runs as a cell of a stateful notebook: variables, functions and imports stay "
        "for the next call, and the value of a last line that is an expression is shown. The tool responds with the "
        f"output, or with what there is of it after {settings.python_seconds:g} seconds, when the code is interrupted. "
        "Files can be kept in '/mnt/data' for the length of the conversation. There is no network, no input(), no "
        "access to the user's files, and nothing can be installed. Memory is limited to "
        f"{settings.python_memory_mb} MB. The user sees the code before it runs."
    )


def _told(result: CellResult) -> str:
    output = result.output.rstrip("\n")
    if not output and not result.after:
        output = "[The code ran and wrote nothing.]"
    parts = [*(f"[{each}]" for each in result.before), output, *(f"[{each}]" for each in result.after)]
    return "\n".join(part for part in parts if part)
