"""The measurements of ``harmony-ls bench tools``. They say how long things take and judge nothing."""

import time
from dataclasses import dataclass, field

from harmony_ls.edits.parse import parse_patch
from harmony_ls.edits.plan import plan_changes
from harmony_ls.errors import UserError
from harmony_ls.messages import ToolCall
from harmony_ls.settings.models import ToolSettings

__all__ = ["ToolsRecord", "place_patches", "run_python"]


@dataclass(slots=True)
class ToolsRecord:
    """The raw figures in milliseconds; lists that grow, so that an interrupted run leaves what it has."""

    warm_ms: list[float] = field(default_factory=list)
    cold_ms: list[float] = field(default_factory=list)
    locate_ms: list[float] = field(default_factory=list)


def place_patches(record: ToolsRecord, n_patches: int, n_lines: int) -> None:
    """Reading patches and placing them all over a long file, whose lines come again and again as those of code do."""
    lines = [
        f"    value_{number} = compute({number % 97})" if number % 3 else "    return None" for number in range(n_lines)
    ]
    text = "\n".join(lines) + "\n"
    for index in range(n_patches):
        place = 3 + (index * 7919) % (n_lines - 10)
        context = [lines[number] for number in range(place - 2, place + 3)]
        if index % 3 == 1:  # as models write: blanks at the ends of lines, and other indentation
            context = [line + "  " for line in context]
        elif index % 3 == 2:
            context = [line.strip() for line in context]
        old = [f" {line}" for line in context[:2]] + [f"-{context[2]}", "+    changed()"]
        hunk = old + [f" {line}" for line in context[3:]]
        patch = "\n".join(["*** Begin Patch", "*** Update File: long.py", "@@", *hunk, "*** End Patch"])
        started = time.perf_counter()
        plan_changes(parse_patch(patch), {"long.py": text})
        record.locate_ms.append((time.perf_counter() - started) * 1000)


async def run_python(record: ToolsRecord, settings: ToolSettings, n_cold: int, n_warm: int) -> None:
    """Cells in containers: the first of ``n_cold`` conversations, each followed by ``n_warm`` more.

    Raises UserError where Python cannot be run here, or answers what it should not.
    """
    from harmony_ls.tools.python import python_tool

    call = ToolCall("1", "python", "1 + 1")
    for _ in range(n_cold):
        tool = await python_tool(settings)
        if isinstance(tool, str):
            raise UserError(tool)
        try:
            for times in (record.cold_ms, *[record.warm_ms] * n_warm):
                started = time.perf_counter()
                output = await tool.run(call)
                milliseconds = (time.perf_counter() - started) * 1000
                if output.text != "2":
                    raise UserError(output.text)
                times.append(milliseconds)
        finally:
            await tool.close()
