"""The tool ``apply_patch``: a model changes files of the workspace by a patch, after a person saw what it does.

What is shown is what is done: the changes are worked out once, and refused if a file is different by then.
"""

import asyncio
from collections import OrderedDict
from importlib import resources

from harmony_ls.edits.changes import ChangeKind, FileChange
from harmony_ls.edits.diff import unified_diff, visible
from harmony_ls.edits.operations import Patch
from harmony_ls.edits.parse import parse_patch
from harmony_ls.edits.plan import paths_to_read, plan_changes
from harmony_ls.errors import PartlyAppliedError, PatchError, WorkspaceError
from harmony_ls.messages import ToolCall, ToolSpec
from harmony_ls.tools.tool import ApprovalRequest, Tool, ToolOutput
from harmony_ls.workspace.port import Applied, Workspace

__all__ = ["apply_patch_tool", "plan_patch", "success_text"]

_NAME = "apply_patch"
_N_PREPARED = 16
# What lies in memory of one patch, or of several that were shown and not carried out.
_MOST_CHARACTERS = 64 * 1024 * 1024
_N_NAMED = 3
_VERBS = {
    ChangeKind.CREATE: "Create",
    ChangeKind.UPDATE: "Change",
    ChangeKind.DELETE: "Delete",
    ChangeKind.RENAME: "Move",
}


def apply_patch_tool(workspace: Workspace) -> Tool:
    """The tool, for the files of one workspace."""
    return _ApplyPatch(workspace)


async def plan_patch(patch: Patch, workspace: Workspace) -> tuple[FileChange, ...]:
    """The changes that a patch makes to the files as they are now. Raises PatchError and WorkspaceError."""
    texts: dict[str, str] = {}
    n_characters = 0
    for path in paths_to_read(patch):
        texts[path] = (await workspace.read(path)).text
        n_characters += len(texts[path])
        if n_characters > _MOST_CHARACTERS:
            raise PatchError(
                f"The files of the patch have more than {_MOST_CHARACTERS:,} characters together. Send smaller patches."
            )
    # On a thread: a large file or a hostile patch takes a while, and nothing else should wait for it.
    return await asyncio.to_thread(plan_changes, patch, texts)


def success_text(applied: Applied) -> str:
    """What GPT-OSS was trained to read after a patch was applied, and what else is to be known of it."""
    lines = [f"A {path}" for path in applied.created]
    lines += [f"M {path}" for path in applied.modified]
    lines += [f"D {path}" for path in applied.deleted]
    lines += [visible(f"Note: {note}") for note in applied.notes]
    return "\n".join(("Success. Updated the following files:", *lines))


class _ApplyPatch:
    """`Tool` over a workspace. It remembers what it showed until that is carried out, or a few calls have passed."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._prepared: OrderedDict[ToolCall, tuple[FileChange, ...]] = OrderedDict()
        self._spec = ToolSpec(
            _NAME,
            (resources.files("harmony_ls.tools") / "apply_patch.md").read_text(encoding="utf-8").rstrip("\n"),
            {
                "type": "string",
                "description": "The patch, from '*** Begin Patch' to '*** End Patch'.",
                "default": "*** Begin Patch\n*** End Patch\n",
            },
        )

    @property
    def spec(self) -> ToolSpec:
        """What the model is told."""
        return self._spec

    async def prepare(self, call: ToolCall) -> ApprovalRequest | ToolOutput | None:
        """Fit the patch to the files. The request shows the changes as a diff; a fault is answered at once."""
        try:
            changes = await self._planned(call)
            sensitive = await self._workspace.check(changes)
            detail = await asyncio.to_thread(unified_diff, changes)
        except (PatchError, WorkspaceError) as error:
            return _refusal(error)
        self._prepared[call] = changes
        while len(self._prepared) > 1 and (
            len(self._prepared) > _N_PREPARED or _n_characters(*self._prepared.values()) > _MOST_CHARACTERS
        ):
            self._prepared.popitem(last=False)
        return ApprovalRequest(call, _summary(changes), detail, is_sensitive=bool(sensitive), changes=changes)

    async def run(self, call: ToolCall) -> ToolOutput:
        """Carry out what `prepare` showed for this call, or refuse where a file was changed since."""
        try:
            changes = self._prepared.pop(call, None)
            if changes is None:
                changes = await self._planned(call)
            return ToolOutput(success_text(await self._workspace.apply(changes)))
        except (PatchError, WorkspaceError) as error:
            return _refusal(error)

    async def close(self) -> None:
        """Forget what was shown."""
        self._prepared.clear()

    async def _planned(self, call: ToolCall) -> tuple[FileChange, ...]:
        return await plan_patch(await asyncio.to_thread(parse_patch, call.arguments), self._workspace)


def _refusal(error: PatchError | WorkspaceError) -> ToolOutput:
    is_partial = isinstance(error, PartlyAppliedError)
    what = "was not carried out as a whole." if is_partial else "failed, and no file was changed."
    # The message quotes the patch, which may hold anything.
    return ToolOutput(visible(f"apply_patch {what} {error}"), is_error=True)


def _n_characters(*change_sets: tuple[FileChange, ...]) -> int:
    return sum(change.n_characters for changes in change_sets for change in changes)


def _summary(changes: tuple[FileChange, ...]) -> str:
    named = [_named(change) for change in changes[:_N_NAMED]]
    if len(changes) > _N_NAMED:
        named.append(f"and {len(changes) - _N_NAMED} more")
    return ", ".join(named)


def _named(change: FileChange) -> str:
    path = visible(change.path)
    to = f" to {visible(change.final_path)}" if change.kind is ChangeKind.RENAME else ""
    return f"{_VERBS[change.kind]} {path}{to}"
