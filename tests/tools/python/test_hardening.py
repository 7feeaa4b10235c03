"""Code in the container reaches nothing: no network, no host, no other conversation, and not the driver beside it."""

import asyncio

import pytest
from docker import DockerClient

from harmony_ls.settings.models import ToolSettings
from tests.tools.python.support import Notebook, opened

FORGERIES = {
    "the driver's standard output": "open('/proc/1/fd/1', 'wb')",
    "the driver's standard input": "open('/proc/1/fd/0', 'rb')",
    "the driver's memory": "open('/proc/1/mem', 'r+b')",
    "the driver's descriptors": "import ctypes; lib = ctypes.CDLL(None, use_errno=True)\n"
    "fd = lib.syscall(434, 1, 0)\nif lib.syscall(438, fd, 1, 0) < 0: raise PermissionError(ctypes.get_errno())",
    "tracing the driver": "import ctypes; lib = ctypes.CDLL(None, use_errno=True)\n"
    "if lib.ptrace(16, 1, 0, 0) < 0: raise PermissionError(ctypes.get_errno())",
}


async def test_35_output_that_a_terminal_would_obey_is_spelled_out(notebook: Notebook) -> None:
    code = (
        r"import sys; sys.stdout.buffer.write(b'a\0\x1b[2J\x1b]52;c;eA==\x07\xff\xe2\x80\xae\r\nb\rc' + bytes([0x9b]))"
    )
    text = await notebook.text(code + ";")
    assert text == "a\\u0000\\u001b[2J\\u001b]52;c;eA==\\u0007\\xff\\u202e\nb\nc\\x9b"


@pytest.mark.parametrize("address", ["1.1.1.1", "169.254.169.254", "10.0.0.1", "172.17.0.1"])
async def test_36_there_is_no_network_and_the_model_is_told(notebook: Notebook, address: str) -> None:
    answer = await notebook.run(f"import socket\nsocket.create_connection(('{address}', 80), 20)")
    assert answer.text.endswith("OSError: [Errno 101] Network is unreachable\n(There is no network in here.)")
    text = await notebook.text("import urllib.request\nurllib.request.urlopen('http://example.com')")
    assert text.endswith("(There is no network in here.)")
    assert await notebook.text("socket.if_nameindex()") == "[(1, 'lo')]"


@pytest.mark.parametrize(
    "path", ["/x", "/etc/passwd", "/usr/lib/y", "/var/tmp/z", "/proc/sys/kernel/hostname", "/sys/z"]
)
async def test_37_nothing_can_be_written_outside_the_two_folders(notebook: Notebook, path: str) -> None:
    answer = await notebook.run(f"open({path!r}, 'w')")
    assert answer.is_error
    assert "Read-only file system" in answer.text or "Permission denied" in answer.text


@pytest.mark.parametrize("folder", ["/tmp", "/mnt/data", "/dev/shm"])
async def test_37_what_can_be_written_can_neither_be_run_nor_fill_the_memory(notebook: Notebook, folder: str) -> None:
    copy = f"import shutil, subprocess, sys\nshutil.copy(sys.executable, '{folder}/p')\nsubprocess.run(['{folder}/p'])"
    assert "PermissionError" in await notebook.text(copy)
    fill = f"with open('{folder}/big', 'wb') as file:\n    while True:\n        file.write(bytes(1 << 20))"
    assert "The space for files is used up" in await notebook.text(fill)
    assert await notebook.text(f"import os\nos.remove('{folder}/big')\n1") == "1"


async def test_43_programs_of_any_characters_run_or_fail_clearly(notebook: Notebook) -> None:
    assert "null bytes" in await notebook.text("x = '\0'")
    assert await notebook.text("x = '" + "a" * 1_000_000 + "'\nlen(x)") == "1000000"
    assert "surrogates not allowed" in await notebook.text("x = '\ud800'")
    assert await notebook.text("print('\\ud800')") == "\\ud800"
    assert await notebook.text("x = 1\r\nif x:\r\n    print('crlf')\r\n") == "crlf"
    assert await notebook.text("print('ü👍')") == "ü👍"
    assert (await notebook.run("(" * 100_000)).is_error


async def test_44_nobody_is_at_the_keyboard(notebook: Notebook) -> None:
    assert (await notebook.text("input()")).endswith("EOFError: EOF when reading a line")


async def test_45_two_conversations_do_not_see_each_other(
    notebook: Notebook, python_settings: ToolSettings, engine: DockerClient
) -> None:
    await notebook.run("x = 5\nopen('/mnt/data/mine', 'w').close()\nopen('/tmp/mine', 'w').close()")
    other = await opened(python_settings, engine)
    assert "NameError" in await other.text("x")
    assert await other.text("import os\nos.listdir('/mnt/data'), os.listdir('/tmp')") == "([], [])"
    assert len(other.containers()) == 1
    await other.tool.close()
    assert await notebook.text("x") == "5"


async def test_46_cells_of_one_conversation_run_one_after_the_other(notebook: Notebook) -> None:
    await notebook.run("running, most = 0, 0")
    code = "running += 1\nmost = max(most, running)\nimport time\ntime.monotonic()\nrunning -= 1\nmost"
    answers = await asyncio.gather(*(notebook.text(code) for _ in range(8)))
    assert answers == ["1"] * 8
    assert len(notebook.containers()) == 1


async def test_48_nothing_of_the_host_is_in_the_container(notebook: Notebook) -> None:
    await notebook.run("1")
    attributes = notebook.container.attrs
    host = attributes["HostConfig"]
    assert attributes["Mounts"] == []
    assert not any(host[name] for name in ("Binds", "Devices", "Privileged", "VolumesFrom", "Links"))
    assert (host["NetworkMode"], host["ReadonlyRootfs"], host["CapDrop"]) == ("none", True, ["ALL"])
    assert (host["Memory"], host["MemorySwap"], host["PidsLimit"]) == (256 << 20, 256 << 20, 64)
    assert (host["SecurityOpt"], host["LogConfig"]["Type"]) == (["no-new-privileges:true"], "none")
    assert not [field for field in ToolSettings.model_fields if "mount" in field or "volume" in field]


async def test_the_code_has_no_rights(notebook: Notebook) -> None:
    status = "[line.split()[1] for line in open('/proc/self/status') if line.startswith(('Cap', 'NoNew', 'Seccomp:'))]"
    assert await notebook.text("import os\nos.getuid(), os.getgid()") == "(65534, 65534)"
    assert await notebook.text(f"set({status}[:5]), {status}[5:]") == f"({{'{'0' * 16}'}}, ['1', '2'])"
    assert await notebook.text("sorted(os.environ)") == (
        "['HOME', 'HOSTNAME', 'LANG', 'PATH', 'PYTHONDONTWRITEBYTECODE']"
    )


@pytest.mark.parametrize("what", FORGERIES)
async def test_what_the_driver_says_cannot_be_forged(notebook: Notebook, what: str) -> None:
    answer = await notebook.run(FORGERIES[what])
    assert answer.is_error
    assert "PermissionError" in answer.text


async def test_what_looks_like_a_frame_is_output_and_the_driver_cannot_be_killed(notebook: Notebook) -> None:
    forged = 'import struct, sys; data = b\'{"status": "ok", "oom": true}\'\nfor kind in b"ES":\n'
    forged += "    sys.stdout.buffer.write(struct.pack('>cI', bytes([kind]), len(data)) + data)\nsys.stdout.flush()"
    answer = await notebook.run(forged)
    assert not answer.is_error
    assert answer.text.count('{"status": "ok", "oom": true}') == 2
    await notebook.run("import os, signal\nx = 5")
    for number in ("SIGKILL", "SIGTERM", "SIGINT", "SIGSTOP", "SIGSEGV", "SIGCHLD"):
        assert await notebook.text(f"os.kill(1, signal.{number})\nx") == "5"
