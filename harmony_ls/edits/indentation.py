"""Carry the indentation of a patch over to that of a file, where both differ by one rule and not line by line."""

from collections.abc import Iterable, Sequence

__all__ = ["indentation_of", "reindent"]


def indentation_of(line: str) -> str:
    """The spaces and tabs at the start of a line."""
    return line[: len(line) - len(line.lstrip(" \t"))]


def reindent(lines: Sequence[str], pairs: Iterable[tuple[str, str]]) -> tuple[str, ...] | None:
    """The new lines as the file would have them; None where no single rule leads from the patch to the file.

    ``pairs`` are lines that are the same but for their indentation: as the patch has them, and as the file has them.
    Known rules: the same, a shift by a constant, tabs for spaces and spaces for tabs.
    """
    indentations = {
        (indentation_of(written), indentation_of(real)) for written, real in pairs if written.strip() and real.strip()
    }
    if all(written == real for written, real in indentations):
        return tuple(lines)
    for rule in (_shift_right, _shift_left, _tabs_for_spaces, _spaces_for_tabs):
        if (moved := rule(lines, indentations)) is not None:
            return moved
    return None


def _shift_right(lines: Sequence[str], indentations: set[tuple[str, str]]) -> tuple[str, ...] | None:
    extra = _extra(indentations)
    if extra is None:
        return None
    return tuple(extra + line if line.strip() else line for line in lines)


def _shift_left(lines: Sequence[str], indentations: set[tuple[str, str]]) -> tuple[str, ...] | None:
    extra = _extra({(real, written) for written, real in indentations})
    if extra is None or any(line.strip() and not line.startswith(extra) for line in lines):
        return None
    return tuple(line.removeprefix(extra) for line in lines)


def _extra(indentations: set[tuple[str, str]]) -> str | None:
    """What stands in front of every first indentation to make the second; None where that differs."""
    extras = {more.removesuffix(less) if more.endswith(less) else None for less, more in indentations}
    return extras.pop() if len(extras) == 1 else None


def _tabs_for_spaces(lines: Sequence[str], indentations: set[tuple[str, str]]) -> tuple[str, ...] | None:
    unit = _unit(indentations, " ", "\t")
    return None if unit is None else _translated(lines, " " * unit, "\t")


def _spaces_for_tabs(lines: Sequence[str], indentations: set[tuple[str, str]]) -> tuple[str, ...] | None:
    unit = _unit({(real, written) for written, real in indentations}, " ", "\t")
    return None if unit is None else _translated(lines, "\t", " " * unit)


def _unit(indentations: set[tuple[str, str]], wide: str, narrow: str) -> int | None:
    """How many of the one character stand for one of the other; None where that differs, or others are in between."""
    units: set[int] = set()
    for many, few in indentations:
        if many.strip(wide) or few.strip(narrow) or bool(many) != bool(few):
            return None
        if few:
            if len(many) % len(few):
                return None
            units.add(len(many) // len(few))
    return units.pop() if len(units) == 1 else None


def _translated(lines: Sequence[str], old: str, new: str) -> tuple[str, ...] | None:
    translated: list[str] = []
    for line in lines:
        indentation = indentation_of(line)
        n_levels, rest = divmod(len(indentation), len(old))
        if line.strip() and (rest or indentation != old * n_levels):
            return None
        translated.append(new * n_levels + line[len(indentation) :] if line.strip() else line)
    return tuple(translated)
