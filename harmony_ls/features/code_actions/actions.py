"""The table of code actions. A new one is a row here and a Markdown file with its prompt in ``prompts``.

The answer to ``initialize`` is made from it before anything else: it imports next to nothing.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from harmony_ls.features.syntax.kept import Kept

__all__ = ["ACTIONS", "KINDS", "Action", "Subject", "action_named"]


class Subject(StrEnum):
    """What an action works on: the lines that diagnostics are about, the chosen code, or code for its tests' file.

    ``CHAT`` is what is only handed on to a conversation.
    """

    DIAGNOSTICS = "diagnostics"
    CODE = "code"
    TESTS = "tests"
    CHAT = "chat"


@dataclass(frozen=True, slots=True)
class Action:
    """One action: ``name`` is that of its prompt file, ``kind`` a code action kind of LSP.

    ``languages`` are the LSP language ids that it makes sense for; empty means all. One that is not ``on_request``
    alone is offered without being asked for by its kind. ``kept`` is what it leaves as it is.
    """

    name: str
    title: str
    kind: str
    subject: Subject = Subject.CODE
    languages: frozenset[str] = frozenset()
    on_request: bool = False
    kept: Kept = Kept.SIGNATURES


_TYPED_ON_DEMAND = frozenset({"python", "typescript", "typescriptreact", "php", "lua", "ruby"})

ACTIONS: Final = (
    Action("fix", "Fix with harmony-ls", "quickfix", Subject.DIAGNOSTICS),
    Action("improve", "Improve with harmony-ls", "refactor.rewrite.harmony.improve"),
    Action("simplify", "Simplify with harmony-ls", "refactor.rewrite.harmony.simplify"),
    Action(
        "add_types",
        "Add types with harmony-ls",
        "refactor.rewrite.harmony.addTypes",
        languages=_TYPED_ON_DEMAND,
        kept=Kept.ALL_BUT_TYPES,
    ),
    Action(
        "document",
        "Add documentation with harmony-ls",
        "refactor.rewrite.harmony.document",
        kept=Kept.ALL_BUT_DOCUMENTATION,
    ),
    Action("write_tests", "Write tests with harmony-ls", "refactor.harmony.writeTests", Subject.TESTS),
    Action("explain", "Explain with harmony-ls", "harmony.explain", Subject.CHAT),
    Action(
        "fix_all", "Fix all problems with harmony-ls", "source.fixAll.harmony", Subject.DIAGNOSTICS, on_request=True
    ),
)

KINDS: Final = tuple(action.kind for action in ACTIONS)


def action_named(name: object) -> Action | None:
    """The action of a name, or None."""
    return next((action for action in ACTIONS if action.name == name), None)
