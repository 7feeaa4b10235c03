"""Python's syntax: statements, definitions, and whether an edit breaks a text that was in order, or changes too much.

Python is looked at by Python itself, which reads JSON and TOML too. The grammars of other languages would have to be
packages of their own, one for each, and their parsers accept broken text by design: they could not say for certain that
an edit broke it.
"""

import asyncio
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harmony_ls.errors import UserError
from harmony_ls.features.syntax.kept import Kept

__all__ = ["definition_at", "lines_to_mend", "refuse_broken", "refuse_changed", "refuse_no_tests", "whole_statements"]

log = logging.getLogger(__name__)

_SOURCE = Path(__file__).with_name("python_source.py")
_CHANGES = Path(__file__).with_name("python_changes.py")
_TESTS = Path(__file__).with_name("python_tests.py")
_SECONDS = 20.0
_CHECKED = frozenset({"python", "json", "toml"})


async def whole_statements(text: str, language: str, start: int, end: int) -> tuple[int, int]:
    """The lines ``start`` to ``end`` (from 0, ``end`` excluded), grown to whole statements where that can be known."""
    if language != "python":
        return start, end
    answer = await _ask({"text": text, "start": start, "end": end})
    if answer is None:
        log.info("the statements of a document could not be read; its lines are taken as they are")
        return start, end
    first, last = answer
    return int(first), int(last)


async def lines_to_mend(text: str, places: Sequence[tuple[int, int]], longest: int) -> list[tuple[int, int]] | None:
    """The lines to rewrite where some places of a text of Python are wrong; see `python_source.lines_to_mend`."""
    answer = await _ask({"text": text, "places": [list(place) for place in places], "longest": longest})
    return None if answer is None else [(int(start), int(end)) for start, end in answer]


async def definition_at(text: str, line: int) -> tuple[str, int, int] | bool | None:
    """The innermost function or class around a line (from 0): its name and its lines, decorators included.

    None where there is none, False where the text cannot be parsed.
    """
    answer = await _ask({"text": text, "line": line}, default=False)
    return answer if answer is None or answer is False else (str(answer[0]), int(answer[1]), int(answer[2]))


async def refuse_broken(old: str, new: str, language: str) -> None:
    """Raise UserError where ``old`` could be parsed and ``new`` cannot."""
    if language not in _CHECKED:
        return
    answer = await _ask({"old": old, "new": new, "language": language}, default=False)
    if answer is False:
        raise UserError("It could not be checked whether the document still parses. Nothing was changed; try again.")
    if answer is not None:
        raise UserError(f"The model's answer would break the document ({answer}). Nothing was changed; try again.")


async def refuse_changed(
    old: str,
    new: str,
    language: str,
    kept: Kept,
    *,
    free_lines: Sequence[tuple[int, int]] = (),
    is_whole: bool = True,
) -> None:
    """Raise UserError where an edit did not keep what it had to, or uses names that exist nowhere.

    What is defined in ``free_lines`` (each a first line, counted from 0, and the one after the last) may go or be used
    in another way. Not ``is_whole`` is what other texts define names for, such as a cell of a notebook.
    """
    if language != "python":
        return
    question = {"old": old, "new": new, "kept": kept.value, "free_lines": list(free_lines), "is_whole": is_whole}
    fault = await _ask(question, program=_CHANGES)
    if fault is not None:
        raise UserError(f"The model's answer {fault}. Nothing was changed; try again.")


async def refuse_no_tests(written: str, tests: str, code: str) -> None:
    """Raise UserError where Python that is ``written`` for a file, whose text is ``tests`` so far, is no test of
    ``code``; see `python_tests.fault_of_tests`."""
    fault = await _ask({"written": written, "tests": tests, "code": code}, program=_TESTS)
    if fault is not None:
        raise UserError(f"The model's answer {fault}. Nothing was changed; try again.")


async def _ask(question: dict[str, Any], default: Any = None, program: Path = _SOURCE) -> Any:
    """A program's answer; ``default`` where it has none."""
    # Isolated: neither the environment nor the folder it starts in decides what it imports.
    command = (sys.executable, "-I", "-S", "-W", "ignore", str(program))
    pipe = asyncio.subprocess.PIPE
    try:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.DEVNULL
        )
    except OSError as error:
        log.warning("Python could not be started to look at a document: %s", error)
        return default
    try:
        async with asyncio.timeout(_SECONDS):
            octets, _ = await process.communicate(json.dumps(question).encode())
        return json.loads(octets) if process.returncode == 0 else default
    except (TimeoutError, ValueError):
        return default
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
