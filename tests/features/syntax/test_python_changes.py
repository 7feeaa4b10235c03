"""What an edit of Python may not do besides what it should: told for certain, and only then."""

import pytest

from harmony_ls.errors import UserError
from harmony_ls.features.syntax.kept import Kept
from harmony_ls.features.syntax.python import refuse_changed
from harmony_ls.features.syntax.python_changes import fault_of_edit

MODULE = '''\
"""Shapes."""

import functools
from collections.abc import Sequence

LIMIT = 3


@functools.cache
def area(width, height=1, *, scale=1):
    """The area."""
    return _product(width, height) * scale


def _product(one, other):
    return one * other


class Shape:
    sides = 4

    def __init__(self, width):
        self.width = width

    @property
    def area(self):
        return area(self.width)

    async def draw(self, *points, **options):
        pass
'''


def fault(old: str, new: str, kept: Kept = Kept.SIGNATURES, *lines: list[int], is_whole: bool = True) -> str | None:
    assert MODULE.count(old) == 1
    return fault_of_edit(MODULE, MODULE.replace(old, new), kept.value, list(lines), is_whole)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("* scale", "* scale * 1"),
        ("def area(width, height=1, *, scale=1)", "def area(width: int, height: int = 2, *, scale: int = 1) -> int"),
        ("*, scale=1", "depth=1, *, scale=1, unit=None"),
        ("_product(width, height) * scale", "width * height * scale"),
        ("LIMIT = 3", "LIMIT: int = 4\nMOST = LIMIT"),
        ("pass", "points and options\n\n    def erase(self):\n        return [point for point in range(self.sides)]"),
        ("def _product(one, other)", "def _product(one, other, *more)"),
        ("    @property\n    def area", "    @functools.cache\n    @property\n    def area"),
        ("return area(self.width)", "global LAST\n        LAST = __file__\n        return area(self.width) or LAST"),
        ("return one * other", "(lambda x: x)(one)\n    return [x for x in (one, other)][0]"),
        ("def _product", "class Other:\n    def draw(self, *points, **options):\n        pass\n\n\ndef _product"),
        ("sides = 4", "sides = 4\n\n    def _(self):\n        pass\n\n    def _(self):\n        pass"),
        ("return one * other", "with open(one) as file, open(other):\n        return (y := file)"),
    ],
)
def test_what_rewriting_may_do(old: str, new: str) -> None:
    assert fault(old, new) is None


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("def area(width, height=1, *, scale=1)", "def surface(width, height=1, *, scale=1)", "remove `area`"),
        ("LIMIT = 3\n", "", "remove `LIMIT`"),
        ("def __init__", "def _init", "remove `Shape.__init__`"),
        ("def _product", "def _times", "remove `_product`"),
        ("    sides = 4\n", "", "remove `Shape.sides`"),
        ("self, width)", "width)", "change how `Shape.__init__` is used"),
        ("width, height=1", "width, height", "change how `area`"),
        ("width, height=1", "width, depth, height=1", "change how `area`"),
        ("scale=1)", "scale=1, unit)", "change how `area`"),
        ("*points, ", "", "change how `Shape.draw`"),
        ("async def", "def", "change how `Shape.draw`"),
        ("@functools.cache\n", "", "take decorators from `area`"),
        ("    @property\n", "", "take decorators from `Shape.area`"),
        ("return one * other", "return one * othre", "uses `othre`, which is defined nowhere"),
        ("return one * other", "return [x for x in one if y]", "uses `y`"),
        ("def __init__(self, width)", "def __init__(self, width: List[int])", "uses `List`"),
        ("pass", "pass\n\n    def _product(one, other):\n        return one * other", "define `_product` once more"),
        (
            "    return one * other",
            "    return one * other\n\n\ndef _product(one):\n    pass",
            "define `_product` once more",
        ),
        ("sides = 4", "sides = 4\n\n    async def draw(self):\n        pass", "define `draw` once more"),
        (
            "sides = 4",
            "sides = 4\n\n    class Shape:\n        def __init__(self, width): ...",
            "define `Shape`, `__init__`",
        ),
    ],
)
def test_what_rewriting_may_not_do(old: str, new: str, says: str) -> None:
    assert says in str(fault(old, new))


def test_what_a_diagnostic_is_about_may_go() -> None:
    line = MODULE[: MODULE.index("def area")].count("\n")
    for old, new in (("def area(width, height=1,", "def area(height, width=1,"), ("@functools.cache\n", "")):
        assert fault(old, new, Kept.SIGNATURES, [line, line + 1]) is None
        assert fault(old, new, Kept.SIGNATURES, [line + 2, line + 3]) is not None, "a line of its body"
    line = MODULE[: MODULE.index("LIMIT")].count("\n")
    assert fault("LIMIT = 3\n", "", Kept.SIGNATURES, [line, line + 1]) is None


@pytest.mark.parametrize(
    ("old", "new", "is_kept"),
    [
        ("LIMIT = 3", 'LIMIT = 3\n"""How many."""', True),
        ('"""The area."""', '"""The area.\n\n    In square metres.\n    """', True),
        ("        pass", '        """Draw it."""', True),
        ("    return one * other", '    """The product."""\n    # of two\n    return one * other', True),
        ("return one * other", "return other * one", False),
        ("    sides = 4", '    """A shape."""\n\n    sides = 5', False),
        ("*points", "*points: int", False),
        ("import functools\n", "import functools\nimport os\n", False),
    ],
)
def test_documentation_changes_nothing_else(old: str, new: str, is_kept: bool) -> None:
    found = fault(old, new, Kept.ALL_BUT_DOCUMENTATION)
    assert found == (None if is_kept else "changes more than documentation")


@pytest.mark.parametrize(
    ("old", "new", "is_kept"),
    [
        ("def _product(one, other):", "def _product(one: float, other: float) -> float:", True),
        ("LIMIT = 3", "LIMIT: Final = 3", None),
        ("import functools\n", "import functools\nfrom typing import Final\n", True),
        ("    sides = 4", "    sides: int = 4\n    colour: str", True),
        ("*points, **options", "*points: int, **options: object", True),
        ("self.width = width", "self.width: int = width", True),
        ("def _product(one, other):", "T = TypeVar('T')\n\n\ndef _product(one: T, other: T) -> T:", None),
        ("import functools\n", "from __future__ import annotations\n\nimport functools\n", True),
        ("return one * other", "result: int = one * other\n    return result", False),
        ("import functools\nfrom", "from", None),
        ('"""The area."""', '"""The area of it."""', False),
    ],
)
def test_types_change_nothing_else(old: str, new: str, is_kept: bool | None) -> None:
    """Where it is None, names are used that nothing defines."""
    found = fault(old, new, Kept.ALL_BUT_TYPES)
    match is_kept:
        case True:
            assert found is None
        case False:
            assert found == "changes more than types"
        case None:
            assert "defined nowhere" in str(found)


def test_type_parameters_are_types() -> None:
    """Before Python 3.12 this is no Python, and not judged."""
    assert fault("def _product(one, other)", "def _product[T](one: T, other: T) -> T", Kept.ALL_BUT_TYPES) is None


def test_only_what_is_certain_is_judged() -> None:
    assert fault("return one * other", "return one * othre", is_whole=False) is None, "another cell may define it"
    wild = MODULE.replace("import functools\n", "import functools\nfrom os import *\n")
    assert fault_of_edit(wild, wild.replace("one * other", "sep"), Kept.SIGNATURES, [], True) is None
    assert fault_of_edit("def f(:", "nothing", Kept.SIGNATURES, [], True) is None
    assert fault_of_edit("x = 1", "x = (", Kept.SIGNATURES, [], True) is None
    assert fault_of_edit("x = y", "x = y + y", Kept.SIGNATURES, [], True) is None, "it was used before"
    deep = "x = " + "(" * 150 + ")" * 150
    assert fault_of_edit(deep, deep + "\ny = 1", Kept.ALL_BUT_TYPES, [], True) in (None, "changes more than types")


async def test_the_person_is_told_what_is_wrong() -> None:
    with pytest.raises(UserError) as refused:
        await refuse_changed("def f():\n    return 1\n", "def g():\n    return 1\n", "python", Kept.SIGNATURES)
    assert str(refused.value) == (
        "The model's answer would remove `f`, which other code may use. Nothing was changed; try again."
    )
    await refuse_changed("def f():\n    return 1\n", "def f():\n    return 2\n", "python", Kept.SIGNATURES)
    await refuse_changed("fn f() {}", "fn g() {}", "rust", Kept.SIGNATURES)
