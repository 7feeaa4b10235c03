"""Everything that code can do to its container ends in a notice and in a tool that goes on; nothing is left behind."""

import asyncio
import time

import psutil
import pytest
from docker import DockerClient

from harmony_ls.settings.models import ToolSettings
from tests.tools.python.support import Notebook, opened

ENDLESS = "open('/mnt/data/running', 'w').close()\nwhile True:\n    pass"
DEAF = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n" + ENDLESS


async def test_31_an_endless_loop_is_interrupted_and_keeps_its_state(
    python_settings: ToolSettings, engine: DockerClient
) -> None:
    notebook = await opened(python_settings.model_copy(update={"python_seconds": 1}), engine)
    await notebook.run("x = 5")
    answer = await notebook.run("print('before')\nwhile True:\n    pass")
    assert answer.is_error
    assert answer.text.startswith("before\nTraceback")
    assert answer.text.endswith(
        "KeyboardInterrupt\n[Timed out after 1 s: the code was interrupted; variables are kept.]"
    )
    assert await notebook.text("x") == "5"
    deaf = await notebook.text("print('deaf')\nopen('/mnt/data/kept', 'w').write('k')\n" + DEAF)
    assert deaf.startswith("deaf\n[Timed out after 1 s: the code did not heed the interrupt")
    assert "NameError" in await notebook.text("x")
    assert await notebook.text("open('/mnt/data/kept').read()") == "'k'"
    await notebook.tool.close()
    assert notebook.containers() == []


FORKS_WITHOUT_END = """
import os, signal
first = os.getpid()
while True:
    try:
        os.fork()
    except BlockingIOError:
        if os.getpid() == first:
            raise
        # A copy that failed too would perhaps be gone before it is counted.
        signal.pause()
"""
FORKS_FORTY_TIMES = """
import os, signal
for _ in range(40):
    if os.fork() == 0:
        signal.pause()
"""


@pytest.mark.parametrize(
    ("bomb", "traceback"),
    [
        (
            FORKS_WITHOUT_END,
            "BlockingIOError: [Errno 11] Resource temporarily unavailable\n"
            "(Perhaps there are too many processes or threads; their number is limited.)\n",
        ),
        (FORKS_FORTY_TIMES, ""),
    ],
    ids=["without end", "forty times"],
)
async def test_32_a_fork_bomb_is_contained_and_cleared_away(notebook: Notebook, bomb: str, traceback: str) -> None:
    await notebook.run("x = 5")
    answer = await notebook.run(bomb)
    assert traceback in answer.text
    assert answer.text.endswith("processes that the code had left running were ended.]")
    assert await notebook.text("x") == "5"
    assert await notebook.text("import subprocess\nsubprocess.run(['python3', '-c', '']).returncode") == "0"
    alive = "[e for e in os.listdir('/proc') if e.isdigit() and 'Z' not in open(f'/proc/{e}/stat').read().split()[2]]"
    assert await notebook.text(f"import os\nlen({alive})") == "2", "the driver and the worker"


async def test_32_a_fork_bomb_that_does_not_give_up(python_settings: ToolSettings, engine: DockerClient) -> None:
    notebook = await opened(python_settings.model_copy(update={"python_seconds": 1}), engine)
    text = await notebook.text(
        "import os\nwhile True:\n    try:\n        os.fork()\n    except BaseException:\n        pass"
    )
    assert "[Timed out after 1 s" in text
    assert await notebook.text("1") == "1"
    await notebook.tool.close()
    assert notebook.containers() == []


async def test_33_a_memory_hog_is_told_that_it_was_the_memory(notebook: Notebook) -> None:
    await notebook.run("open('/mnt/data/kept', 'w').write('k')")
    answer = await notebook.run("print('so far')\nhoard = []\nwhile True:\n    hoard.append(bytearray(16 << 20))")
    assert answer.is_error
    assert answer.text.startswith("so far\n[While this ran Python ran out of memory (256 MB) and was restarted")
    assert await notebook.text("open('/mnt/data/kept').read()") == "'k'"


async def test_34_a_gigabyte_of_output_is_cut_while_it_comes(notebook: Notebook) -> None:
    await notebook.run("import sys")
    process = psutil.Process()
    before, started = process.memory_info().rss, time.monotonic()
    answer = await notebook.run(
        "print('begin')\nfor _ in range(1024):\n    _ = sys.stdout.write('x' * (1 << 20))\nprint('\\nend')"
    )
    assert process.memory_info().rss - before < 10_000_000
    assert time.monotonic() - started < 30
    assert answer.text.startswith("begin\nxxx")
    assert answer.text.endswith("xxx\nend")
    assert "\n… 1,073,717,835 bytes of output left out …\n" in answer.text
    assert len(answer.text) < 25_000


async def test_39_a_cancelled_call_is_interrupted_and_keeps_its_state(notebook: Notebook) -> None:
    await notebook.run("x = 5")
    task = asyncio.create_task(notebook.run(ENDLESS))
    await notebook.has_file("/mnt/data/running")
    started = time.monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert time.monotonic() - started < 0.5
    assert await notebook.text("x") == "[The last call was cancelled: the code was interrupted; variables are kept.]\n5"
    assert await notebook.text("x") == "5", "it is said once"


async def test_39_a_cancelled_call_that_is_deaf_is_killed(notebook: Notebook) -> None:
    task = asyncio.create_task(notebook.run(DEAF))
    await notebook.has_file("/mnt/data/running")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    text = await notebook.text("import os\nos.path.exists('/mnt/data/running')")
    assert text.startswith("[The last call was cancelled: the code did not heed the interrupt, so Python was killed")
    assert text.endswith("]\nTrue")


async def test_a_call_cancelled_while_its_container_starts_leaves_it_for_the_next(notebook: Notebook) -> None:
    for _ in range(2):
        task = asyncio.create_task(notebook.run("1"))
        await asyncio.wait([task], timeout=0.01)
        task.cancel()
        await asyncio.wait([task])
    assert await notebook.text("2") == "2"
    assert len(notebook.containers()) == 1


async def test_closing_in_the_middle_of_a_cell_removes_the_container(
    python_settings: ToolSettings, engine: DockerClient
) -> None:
    notebook = await opened(python_settings, engine)
    task = asyncio.create_task(notebook.run(ENDLESS))
    await asyncio.wait([task], timeout=0.01)
    task.cancel()
    await asyncio.wait([task])
    await notebook.tool.close()
    assert notebook.containers() == []


async def test_a_container_that_is_killed_under_a_cell(notebook: Notebook) -> None:
    await notebook.run("x = 5")
    task = asyncio.create_task(notebook.run("print('so far')\n" + ENDLESS))
    await notebook.has_file("/mnt/data/running")
    await asyncio.to_thread(notebook.container.kill)
    answer = await task
    assert answer.is_error
    assert answer.text == (
        "so far\n[The container was lost: it was stopped from outside; variables and the files in /mnt/data are gone. "
        "The next call starts with nothing.]"
    )
    assert "NameError" in await notebook.text("x")
    assert len(notebook.containers()) == 1


async def test_a_container_that_is_removed_between_two_cells(notebook: Notebook) -> None:
    await notebook.run("x = 5")
    await asyncio.to_thread(notebook.container.remove, force=True)
    text = await notebook.text("print(1)")
    assert text.startswith("[The container was lost since the last call")
    assert text.endswith("are gone.]\n1")


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("import os; os._exit(3)", "exit status 3"),
        ("import ctypes; ctypes.string_at(0)", "signal 11"),
        ("import os; os.kill(os.getpid(), 9)", "signal 9"),
        ("import os; os.write(4, b'nonsense')\nwhile True: pass", "the code broke the connection"),
    ],
)
async def test_a_python_that_ends_is_started_again(notebook: Notebook, code: str, told: str) -> None:
    answer = await notebook.run("print('so far')\n" + code)
    assert answer.is_error
    assert answer.text.startswith("so far\n[While this ran ")
    assert told in answer.text
    assert answer.text.endswith("variables and imports are gone, files in /mnt/data are kept.]")
    assert await notebook.text("1") == "1"


async def test_a_python_that_ends_after_its_cell_is_told_of_at_the_next(notebook: Notebook) -> None:
    code = "import os, threading\nread, write = os.pipe()\ndef end():\n    os.read(read, 1)\n    os._exit(7)\n"
    await notebook.run(code + "threading.Thread(target=end).start()")
    text = await notebook.text("os.write(write, b'1')")
    while "exit status 7" not in text:  # the thread takes its time
        assert text == "1"
        text = await notebook.text("1")
    assert "restarted" in text


async def test_a_hundred_hostile_cells_leave_no_descriptor_and_no_container(notebook: Notebook) -> None:
    hostile = (
        "1/0",
        "import os; os._exit(1)",
        "print('x' * 100_000)",
        "b = bytearray(1 << 30)",
        "import os; _ = os.fork()",
    )
    await notebook.run("1")
    before = psutil.Process().num_fds()
    for number in range(100):
        await notebook.run(hostile[number % len(hostile)])
    assert await notebook.text("1") == "1"
    assert psutil.Process().num_fds() <= before + 2


async def test_a_worker_that_takes_no_requests_is_killed_and_the_files_are_kept(
    python_settings: ToolSettings, engine: DockerClient
) -> None:
    notebook = await opened(python_settings.model_copy(update={"python_seconds": 1}), engine)
    forged = "open('kept', 'w').write('k')\nimport inspect, os\nframe = inspect.currentframe()\n"
    forged += "while 'number' not in frame.f_locals:\n    frame = frame.f_back\n"
    forged += "import signal\nos.write(4, b'%d 0' % frame.f_locals['number'])\nos.kill(os.getpid(), signal.SIGSTOP)"
    assert not (await notebook.run(forged)).is_error
    text = await notebook.text(f"x = {'a' * 200_000!r}")
    assert text.startswith("[Timed out after 1 s: the code did not heed the interrupt, so Python was killed")
    assert await notebook.text("open('kept').read()") == "'k'"
    await notebook.tool.close()
    assert notebook.containers() == []
