"""The source text that the bench types and asks about: installed packages that the embedded model never saw.

Packages are found, not imported. Files that a program wrote are passed over, and line ends are made plain, so that the
same versions of the packages give the same text on every machine. What is drawn from them is not decided here.
"""

import importlib.metadata
import importlib.util
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from harmony_ls.errors import UserError

__all__ = ["HELD_OUT_PACKAGES", "SourceFile", "installed_packages", "package_versions", "read_sources"]

HELD_OUT_PACKAGES = ("aiohttp", "docker", "mlx_lm", "pygls", "rich", "unidiff")
"""None of them is in the training data of the embedded model (see its model card)."""

_GENERATED = re.compile(r"generated (by|from|file)|auto-?generated|do not edit", re.IGNORECASE)
_HEAD = 1500
_LONGEST_FILE = 400_000


@dataclass(frozen=True)
class SourceFile:
    """One Python file: its package, its path below it, and its text with plain line ends."""

    package: str
    path: str
    text: str

    @cached_property
    def lines(self) -> list[str]:
        """The lines, without their ends."""
        return self.text.split("\n")


def installed_packages(names: tuple[str, ...] = HELD_OUT_PACKAGES) -> dict[str, Path]:
    """The folders of those of the packages that are installed."""
    folders = {}
    for name in names:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.submodule_search_locations:
            folders[name] = Path(next(iter(spec.submodule_search_locations)))
    return folders


def package_versions(names: Mapping[str, Path]) -> dict[str, str]:
    """The versions of the packages, which are part of what a figure means."""
    versions = {}
    for name in names:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "unknown"
    return versions


def read_sources(packages: Mapping[str, Path]) -> list[SourceFile]:
    """The files of the packages that a person wrote, in a fixed order.

    Raises UserError when there are none.
    """
    files = []
    for package, folder in sorted(packages.items()):
        for path in sorted(folder.rglob("*.py")):
            try:
                text = path.read_text(encoding="utf-8").replace("\r\n", "\n").replace("\r", "\n")
            except (OSError, UnicodeDecodeError):
                continue
            if len(text) <= _LONGEST_FILE and not _GENERATED.search(text[:_HEAD]):
                files.append(SourceFile(package, path.relative_to(folder).as_posix(), text))
    if not files:
        raise UserError("The bench found no Python packages to type from. Install one of " + ", ".join(packages) + ".")
    return files
