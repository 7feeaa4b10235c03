"""What counts as tests of a document of Python, and what does not."""

import pytest

from harmony_ls.errors import UserError
from harmony_ls.features.syntax.python import refuse_no_tests
from harmony_ls.features.syntax.python_tests import fault_of_tests

CODE = """\
class Stack:
    def pop(self):
        return self.items.pop()


def mean(values):
    return sum(values) / len(values)


def client():
    return Stack()
"""
TESTS = "from shapes import mean\n\n\ndef test_mean():\n    assert mean([1]) == 1\n"
NO_TEST = "holds no test that would be run"


@pytest.mark.parametrize(
    "written",
    [
        TESTS,
        "async def test_it():\n    await it()\n",
        "class TestStack:\n    def test_pop(self):\n        Stack().pop()\n",
        "class StackTest(unittest.TestCase):\n    def test_pop(self):\n        self.fail()\n",
        "class Pop(unittest.TestCase):\n    def runTest(self):\n        self.fail()\n",
        "class TestStack(Contract):\n    make = Stack\n",
        "class Machine(RuleBasedStateMachine):\n    pass\n\n\nTestMachine = Machine.TestCase\n",
        "if sys.platform == 'linux':\n\n    def test_it():\n        assert mean([1])\n",
        "try:\n    import numpy\nexcept ImportError:\n    pass\nelse:\n\n    def test_it():\n        mean([1])\n",
        "@pytest.fixture\ndef client():\n    return Stack()\n\n\ndef test_it(client):\n    client.pop()\n",
        "def mean(numbers):\n    return 1\n\n\ndef test_it():\n    mean([])\n",
        "def test_it(:\n",
    ],
)
def test_tests(written: str) -> None:
    """What a parser cannot read is judged elsewhere."""
    assert fault_of_tests(written, "", CODE) is None
    assert fault_of_tests(written, TESTS, "def broken(:\n") is None


@pytest.mark.parametrize(
    "written",
    [
        "import pytest\n",
        "assert mean([1]) == 1\n",
        "def check_mean():\n    assert mean([1]) == 1\n",
        'def test_mean():\n    """To be written."""\n',
        "def test_mean():\n    pass\n\n\ndef test_pop():\n    ...\n",
        "class Stacks:\n    def test_pop(self):\n        Stack().pop()\n",
        "class TestStack(unittest.TestCase):\n    def setUp(self):\n        self.stack = Stack()\n",
        "def outer():\n    def test_inner():\n        assert mean([1])\n",
        "TestStack = Stack()\n",
        '"""def test_mean(): assert mean([1]) == 1"""\n# def test_mean(): assert True\n',
    ],
)
def test_what_nothing_would_run(written: str) -> None:
    for tests in ("", "\n", TESTS, f"\ufeff{TESTS}"):
        assert fault_of_tests(written, tests, CODE) == NO_TEST


def test_a_project_may_have_names_of_its_own() -> None:
    """pytest can be told of others."""
    written = "def it_has_a_mean():\n    assert mean([1]) == 1\n"
    assert fault_of_tests(written, "def it_is_there():\n    assert mean\n", CODE) is None
    assert fault_of_tests(written, "", CODE) == NO_TEST


def test_a_copy_of_the_code_is_not_what_is_to_be_tested() -> None:
    says = "tests a copy of `mean` instead of what the document defines"
    function = CODE[CODE.index("def mean") : CODE.index("def client")]
    assert fault_of_tests(f"{function}{TESTS}", "", CODE) == says
    assert "`Stack`, `mean`" in str(fault_of_tests(f"{CODE}\n\n{TESTS}", "", CODE))


async def test_the_person_is_told_what_is_wrong() -> None:
    with pytest.raises(UserError) as refused:
        await refuse_no_tests("import os\n", "", CODE)
    assert str(refused.value) == f"The model's answer {NO_TEST}. Nothing was changed; try again."
    await refuse_no_tests(TESTS, "", CODE)
