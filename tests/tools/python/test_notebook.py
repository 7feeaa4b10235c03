"""The python tool is the notebook that its description promises: it remembers, shows, tells errors, keeps files."""

import sys

import pytest

from harmony_ls.messages import ToolCall
from harmony_ls.tools.python.tool import code_of
from harmony_ls.tools.tool import ApprovalRequest, ToolOutput
from tests.tools.python.support import Notebook


async def test_variables_functions_and_imports_stay(notebook: Notebook) -> None:
    assert await notebook.text("import math\ndef area(r):\n    return math.pi * r * r") == (
        "[The code ran and wrote nothing.]"
    )
    assert await notebook.text("area(1)") == "3.141592653589793"
    assert await notebook.text("_ > 3") == "True"
    answer = await notebook.run("print('a')\nimport sys; print('b', file=sys.stderr)\n'c'")
    assert (answer.text, answer.is_error, answer.is_untrusted) == ("a\nb\n'c'", False, True)


async def test_a_last_expression_is_shown_unless_a_semicolon_says_no(notebook: Notebook) -> None:
    assert await notebook.text("1 + 1;") == "[The code ran and wrote nothing.]"
    assert await notebook.text("None") == "[The code ran and wrote nothing.]"
    assert await notebook.text("x = 1\nx  # a comment") == "1"
    assert await notebook.text("for i in range(2):\n    i") == "[The code ran and wrote nothing.]"


async def test_await_works_at_the_top_and_asyncio_run_too(notebook: Notebook) -> None:
    assert await notebook.text("import asyncio\nawait asyncio.sleep(0, 'slept')") == "'slept'"
    assert await notebook.text("async def f():\n    return 7\nasyncio.run(f())") == "7"


async def test_a_traceback_shows_the_lines_of_the_cells_and_nothing_of_ours(notebook: Notebook) -> None:
    await notebook.run("def divide(a):\n    return a / 0")
    answer = await notebook.run(
        "try:\n    divide(1)\nexcept ZeroDivisionError as e:\n    raise ValueError('no') from e"
    )
    assert answer.is_error
    lines = answer.text.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-1] == "ValueError: no"
    assert '  File "<cell 1>", line 2, in divide' in lines
    assert "    return a / 0" in lines
    assert '  File "<cell 2>", line 4, in <module>' in lines
    assert "harmony" not in answer.text
    wrong = await notebook.text("a = (1\nb = 2")
    assert wrong.startswith('  File "<cell 3>", line 1')
    assert "'(' was never closed" in wrong
    assert "RecursionError" in await notebook.text("def f(): f()\nf()")
    assert "ZeroDivisionError" in await notebook.text("raise ExceptionGroup('g', [ZeroDivisionError()])")


async def test_leaving_does_not_lose_what_there_is(notebook: Notebook) -> None:
    await notebook.run("x = 5")
    assert (await notebook.run("import sys; sys.exit(3)")).text == "SystemExit: 3"
    assert (await notebook.run("sys.stdout.close()\nprint(x)")).is_error
    assert await notebook.text("print(x)") == "5"


async def test_classes_of_cells_can_be_pickled_and_looked_into(notebook: Notebook) -> None:
    await notebook.run("import dataclasses, inspect, pickle\n@dataclasses.dataclass\nclass P:\n    x: int = 3")
    assert await notebook.text("pickle.loads(pickle.dumps(P(4)))") == "P(x=4)"


async def test_what_a_model_must_know_is_said_where_it_fails(notebook: Notebook) -> None:
    assert "nothing can be installed" in await notebook.text("import not_there")
    assert "this is plain Python" in await notebook.text("!pip install x")


async def test_files_in_mnt_data_stay_and_can_be_imported(notebook: Notebook) -> None:
    await notebook.run("open('/mnt/data/helper.py', 'w').write('value = 42')")
    assert await notebook.text("import os, helper\nos.getcwd(), helper.value") == "('/mnt/data', 42)"


async def test_a_background_thread_and_process_may_go_on(notebook: Notebook) -> None:
    code = "import subprocess, sys\nchild = subprocess.Popen([sys.executable, '-c', 'input()'], stdin=subprocess.PIPE)"
    await notebook.run(code)
    assert await notebook.text("child.poll()") == "[The code ran and wrote nothing.]"
    assert await notebook.text("child.stdin.write(b'1')\nchild.stdin.close()\nchild.wait()") == "0"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ("print(1)\n", "print(1)\n"),
        ('{"code": "print(1)"}', "print(1)"),
        ('{"script": "a\\nb"}', "a\nb"),
        ('"print(1)\\nprint(2)"', "print(1)\nprint(2)"),
        ("```python\nprint(1)\n```", "print(1)"),
        ('{"code": "```py\\nprint(1)\\n```"}', "print(1)"),
        ('{"a": 1}["a"]', '{"a": 1}["a"]'),
        ('{"numbers": 1}', '{"numbers": 1}'),
        ('"abc".upper()', '"abc".upper()'),
        ("x = '''\n```\n'''", "x = '''\n```\n'''"),
    ],
)
def test_code_is_found_in_what_models_wrap_around_it(arguments: str, code: str) -> None:
    assert code_of(arguments) == code


async def test_the_description_says_what_is_so(notebook: Notebook) -> None:
    spec = notebook.tool.spec
    assert (spec.name, spec.parameters["type"]) == ("python", "string")
    for word in ("stateful", "30 seconds", "/mnt/data", "no network", "256 MB"):
        assert word in spec.description


@pytest.mark.parametrize("arguments", ["", "  \n", '{"code": ""}', "#" * 2_000_001])
async def test_calls_without_usable_code_are_answered_at_once(notebook: Notebook, arguments: str) -> None:
    answer = await notebook.tool.prepare(ToolCall("1", "python", arguments))
    assert isinstance(answer, ToolOutput)
    assert answer.is_error
    assert notebook.containers() == []


async def test_47_the_whole_program_is_shown_and_nothing_in_it_is_hidden(notebook: Notebook) -> None:
    code = "x = 1\n" * 300 + "print('\x1b[2J\u202e')"
    request = await notebook.tool.prepare(ToolCall("1", "python", code))
    assert isinstance(request, ApprovalRequest)
    assert request.summary == "Run Python: x = 1 (and 300 more lines)"
    assert request.detail == "x = 1\n" * 300 + "print('\\u001b[2J\\u202e')"
    assert notebook.containers() == [], "nothing is started before a person agrees"


async def test_the_worker_runs_on_the_image_and_not_on_this_python(notebook: Notebook) -> None:
    assert await notebook.text("import sys; sys.executable") != repr(sys.executable)


@pytest.mark.parametrize(
    "code",
    [
        "import os; os.close(1); os.close(2)",
        "import os; fd = os.open('/dev/null', os.O_WRONLY); _ = os.dup2(fd, 1), os.dup2(fd, 2)",
        "import sys; del sys.stdout, sys.stderr",
        "import sys; sys.stdout = sys.stderr = None",
        "import sys; sys.modules.clear()",
    ],
)
async def test_a_cell_that_breaks_its_own_output_or_modules_does_not_silence_the_next(
    notebook: Notebook, code: str
) -> None:
    await notebook.run("x = 5")
    await notebook.run(code)
    answer = await notebook.run("print(x)\nimport os\n_ = os.write(1, b'written')")
    assert (answer.text, answer.is_error) == ("5\nwritten", False)
    assert "ZeroDivisionError" in await notebook.text("1 / 0")
