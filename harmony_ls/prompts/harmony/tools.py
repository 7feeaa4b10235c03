"""How tools are called in Harmony: what is built in, under which recipient and on which channel a call goes, and back.

Nothing here renders: `harmony_ls.prompts.harmony.format` declares the tools, and
`harmony_ls.prompts.harmony.messages` writes the calls down.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from harmony_ls.errors import ModelError
from harmony_ls.messages import ToolSpec

__all__ = ["BROWSER_TOOLS", "PYTHON", "ToolAddress", "ToolTable", "tool_table"]

PYTHON = "python"
BROWSER_TOOLS = ("browser.search", "browser.open", "browser.find")

_UNFIT = re.compile(r"[^A-Za-z0-9_]")
_DOTTED = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)+")


@dataclass(frozen=True, slots=True)
class ToolAddress:
    """Where calls of one tool go. The answer comes from ``recipient``, on the same channel.

    ``takes_text`` tools may be given plain text; all others get JSON.
    """

    recipient: str
    channel: str
    takes_text: bool = False

    def content_type(self, arguments: str) -> str | None:
        """What stands behind the channel of a call.

        Calls of functions carry ``<|constrain|>json``, as OpenAI's description of the format writes them down and as
        the model writes them: a history that differs from what the model would have written teaches it another
        spelling. Plain text is no JSON, so nothing is claimed of it; an object given to such a tool is JSON after all.
        The built-in tools are called with ``code``, whatever they are given.
        """
        if self.channel == "analysis":
            return "code"
        return None if self.takes_text and not _is_object(arguments) else "<|constrain|>json"


@dataclass(frozen=True, slots=True)
class ToolTable:
    """The tools of a conversation as Harmony sees them.

    ``python`` and ``browser`` are the built-in tools among them. ``functions`` are all others, by the name that the
    model is told: an identifier of TypeScript, since that is what declarations are written in.
    """

    python: ToolSpec | None = None
    browser: tuple[ToolSpec, ...] = ()
    functions: Mapping[str, ToolSpec] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        """Whether there are no tools at all."""
        return self.python is None and not self.browser and not self.functions

    @property
    def original_names(self) -> dict[str, str]:
        """The names that had to be changed for the model: told name to the tool's own."""
        return {told: spec.name for told, spec in self.functions.items() if told != spec.name}

    def address(self, name: str) -> ToolAddress:
        """Where a tool is called. One that is not declared is addressed as the model that called it must have done."""
        for told, spec in self.functions.items():
            if spec.name == name:
                return ToolAddress(f"functions.{told}", "commentary", spec.takes_text)
        if name == PYTHON or name in BROWSER_TOOLS:
            return ToolAddress(name, "analysis")
        if _DOTTED.fullmatch(name):
            return ToolAddress(name, "commentary")
        return ToolAddress(f"functions.{_identifier(name)}", "commentary")


def tool_table(tools: Sequence[ToolSpec]) -> ToolTable:
    """Sort the tools of a conversation into built-in ones and functions.

    A tool called ``python`` is the built-in one unless it has named parameters: the built-in one is given a program,
    so one that wants an object is a function of its own that happens to have the same name. Raises ModelError for
    tools without a name and for two of the same name.
    """
    names = [spec.name for spec in tools]
    if not all(name.strip() for name in names):
        raise ModelError("A tool has no name: the model could not call it.")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ModelError(f"Two tools have the same name, so that a call could mean either: {', '.join(twice)}.")
    python = next((spec for spec in tools if spec.name == PYTHON and not spec.parameters.get("properties")), None)
    browser = tuple(spec for name in BROWSER_TOOLS for spec in tools if spec.name == name)
    built_in = {spec.name for spec in (python, *browser) if spec is not None}
    functions = [spec for spec in tools if spec.name not in built_in]
    # Who already has a fit name keeps it, whatever stands before it in the list.
    fit = {spec.name for spec in functions if _identifier(spec.name) == spec.name}
    told: dict[str, ToolSpec] = {}
    for spec in functions:
        told[spec.name if spec.name in fit else _free(_identifier(spec.name), fit | told.keys())] = spec
    return ToolTable(python, browser, told)


def _identifier(name: str) -> str:
    told = _UNFIT.sub("_", name)
    return f"_{told}" if not told or told[0].isdigit() else told


def _free(name: str, taken: set[str]) -> str:
    number, free = 2, name
    while free in taken:
        free, number = f"{name}_{number}", number + 1
    return free


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False
