"""A patch as a model wrote it, in whatever wrapper and syntax, read into operations. No file is looked at."""

import posixpath
from dataclasses import replace

from harmony_ls.edits.apply_patch import parse_begin_patch
from harmony_ls.edits.normalise import Syntax, normalise
from harmony_ls.edits.operations import Operation, Patch, UpdateFile
from harmony_ls.errors import PatchError

__all__ = ["parse_patch"]


def parse_patch(written: str) -> Patch:
    """Read a patch. Raises PatchError, whose message lets the model mend it."""
    normalised = normalise(written)
    match normalised.syntax:
        case Syntax.BEGIN_PATCH:
            patch = parse_begin_patch(normalised.text)
        case Syntax.UNIFIED_DIFF:
            # Imported late: most patches are no diffs.
            from harmony_ls.edits.unified import parse_unified_diff

            patch = parse_unified_diff(normalised.text)
    for operation in patch.operations:
        for path in (operation.path, operation.move_to if isinstance(operation, UpdateFile) else None):
            if path is not None and any(ord(character) < 32 or ord(character) == 127 for character in path):
                raise PatchError(f"The path {path!r} contains a control character.")
    if not normalised.folder:
        return patch
    return replace(patch, operations=tuple(_below(normalised.folder, operation) for operation in patch.operations))


def _below(folder: str, operation: Operation) -> Operation:
    """The operation as seen from the folder above, for a patch that was written after ``cd folder``."""
    operation = replace(operation, path=posixpath.join(folder, operation.path))
    if isinstance(operation, UpdateFile) and operation.move_to is not None:
        return replace(operation, move_to=posixpath.join(folder, operation.move_to))
    return operation
