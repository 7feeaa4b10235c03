"""``harmony-ls apply-patch``: apply a patch from stdin to a folder, through the code that applies a model's patches.

For scripts, and for looking at what a model wrote. Everything fits and is applied, or nothing is changed.
"""

import asyncio
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from harmony_ls.errors import PatchError, WorkspaceError

__all__ = ["EPILOG", "apply_patch"]

EPILOG = """Examples:

harmony-ls apply-patch --dry-run < change.patch

git -C other diff | harmony-ls apply-patch --folder copy

Exit codes: 0 done, 1 refused, 2 wrong usage, 130 stopped by Ctrl-C."""

_LONGEST_INPUT = 16 * 1024 * 1024


def apply_patch(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the changes as a diff and make none.")] = False,
    folder: Annotated[
        Path, typer.Option(help="The folder that the paths of the patch start from.", exists=True, file_okay=False)
    ] = Path(),
) -> None:
    """Apply a patch from stdin to the files of a folder: all of it, or nothing.

    The patch is one that GPT-OSS writes, which begins with *** Begin Patch, or a unified diff, as git diff makes them.
    What was changed is listed; a patch that does not fit is refused with the reason, and nothing is changed.
    """
    try:
        typer.echo(asyncio.run(_applied(_read_stdin(), folder, is_dry_run=dry_run)), nl=False)
    except (PatchError, WorkspaceError) as error:
        from harmony_ls.edits.diff import visible

        typer.echo(visible(f"harmony-ls: {error}"), err=True)
        raise typer.Exit(1) from error
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def _read_stdin() -> str:
    if sys.stdin.isatty():
        typer.echo("Paste the patch, then end the input (Ctrl-D).", err=True)
    data = sys.stdin.buffer.read(_LONGEST_INPUT + 1)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise PatchError(f"The patch is not UTF-8 text (byte {error.start}). Nothing was changed.") from error


async def _applied(text: str, folder: Path, *, is_dry_run: bool) -> str:
    from harmony_ls.edits.diff import unified_diff, visible
    from harmony_ls.edits.parse import parse_patch
    from harmony_ls.tools.apply_patch import plan_patch, success_text
    from harmony_ls.workspace.disk import DiskWorkspace

    patch = parse_patch(text)
    if not patch.is_ended:
        # Nobody vouches that a pipe was not cut off; the end of a tool call is known.
        raise PatchError(
            "The patch may be cut off: it has no last line '*** End Patch', or a hunk is shorter than it says. "
            "Nothing was changed."
        )
    workspace = DiskWorkspace([folder])
    changes = await plan_patch(patch, workspace)
    await workspace.check(changes)
    if is_dry_run:
        return unified_diff(changes)
    applied = await workspace.apply(changes)
    for note in applied.notes:  # not among the files, which a script may read
        typer.echo(visible(f"harmony-ls: {note}"), err=True)
    return success_text(replace(applied, notes=())) + "\n"
