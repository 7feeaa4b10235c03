"""Starts ``harmony-ls`` as a process of its own that need not import everything anew.

    process = launch(["lsp"], streams=(0, 1, 2), environment=os.environ, folder=Path.cwd())

Importing lsprotocol, mlx-lm and transformers takes a processor more than two seconds, and a few hundred tests start a
server or a chat. So one process imports them for all tests of this one, and forks for each command. What runs is the
same program with an environment, a folder, streams, a process id and an end of its own.

Not for tests of how a process begins, of when something is imported, or of what libraries read from the environment
while they are imported: those start Python. Only Linux has this; Metal cannot be used after a fork (`CAN_PRELOAD`).
"""

import atexit
import contextlib
import fcntl
import gc
import importlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import termios
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from harmony_ls.engine.worker.blas import preload_openblas

__all__ = ["CAN_PRELOAD", "Launched", "launch"]

CAN_PRELOAD = sys.platform == "linux"

_MAX_REQUEST_BYTES = 1 << 20
_N_STREAMS = 3
_PRELOADED = (
    "harmony_ls.cli",
    "harmony_ls.cli.chat.program",
    "harmony_ls.engine.generation.decode",
    "harmony_ls.engine.caches.prompt_cache",
    "harmony_ls.engine.generation.sampling",
    "harmony_ls.engine.generation.speculative",
    "harmony_ls.features.chat.chats",
    "harmony_ls.features.inline.completer",
    "harmony_ls.features.resident_model",
    "harmony_ls.lsp.run",
    "mlx_lm.models.gpt_oss",
    "mlx_lm.utils",
    "openai_harmony",
    "transformers.models.auto.tokenization_auto",
)


class Launched:
    """A process that was forked for a command; what `subprocess.Popen` calls so means the same here."""

    def __init__(self, pid: int, status: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self.status = status
        """A descriptor that can be read from when the process has ended."""
        os.set_blocking(status, False)

    def poll(self) -> int | None:
        """The exit code, negative after a signal; None while the process runs."""
        if self.returncode is None:
            with contextlib.suppress(BlockingIOError):
                told = os.read(self.status, 16)
                os.close(self.status)
                if not told:
                    raise RuntimeError("the process that forks is gone")
                self.returncode = int(told)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end. Raises `subprocess.TimeoutExpired` after ``timeout`` seconds."""
        if self.poll() is None:
            with selectors.DefaultSelector() as selector:
                selector.register(self.status, selectors.EVENT_READ)
                if not selector.select(timeout):
                    raise subprocess.TimeoutExpired("harmony-ls", timeout or 0)
            self.poll()
        assert self.returncode is not None
        return self.returncode


def launch(
    arguments: Sequence[str],
    *,
    streams: tuple[int, int, int],
    environment: Mapping[str, str],
    folder: Path,
    takes_terminal: bool = False,
    ignores_hang_up: bool = False,
) -> Launched:
    """Run ``harmony-ls`` with ``arguments``; the descriptors ``streams`` are copied and stay the caller's to close.

    ``environment`` is all of it. ``takes_terminal``: in a new session, whose terminal is stdin.
    """
    command = _Command(tuple(arguments), dict(environment), str(folder), takes_terminal, ignores_hang_up)
    reading, writing = os.pipe()
    try:
        message = json.dumps(asdict(command)).encode()
        assert len(message) <= _MAX_REQUEST_BYTES
        socket.send_fds(_forker(), [message], [*streams, writing])
    finally:
        os.close(writing)
    pid = int.from_bytes(os.read(reading, 8), "big")
    if not pid:
        os.close(reading)
        raise RuntimeError("the process that forks is gone")
    return Launched(pid, reading)


@dataclass(frozen=True, slots=True)
class _Command:
    arguments: Sequence[str]
    environment: Mapping[str, str]
    folder: str
    takes_terminal: bool
    ignores_hang_up: bool


@cache
def _forker() -> socket.socket:
    """The socket of the process that forks. It is started once, and ends with this process."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        # A process with threads should not be forked, and OpenBLAS would start one for each core.
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
        number = theirs.fileno()
        process = subprocess.Popen(
            [sys.executable, "-P", __file__, str(number)],
            pass_fds=[number],
            env=environment,
            stdin=subprocess.DEVNULL,
        )

    def end() -> None:
        ours.close()
        process.wait()

    atexit.register(end)
    return ours


# What follows happens in the process that forks, and in those that are forked.


def _serve(requests: socket.socket) -> _Command | None:
    """Fork for each request, and tell how each process ends. Returns in the forked processes, and None at the end."""
    with selectors.DefaultSelector() as selector:
        selector.register(requests, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is not requests:
                    selector.unregister(key.fileobj)
                    _tell_end(key.fd, *key.data)
                    continue
                message, numbers, _, _ = socket.recv_fds(requests, _MAX_REQUEST_BYTES, _N_STREAMS + 1)
                if not message:
                    return None
                *streams, status = numbers
                command = _Command(**json.loads(message))
                _read_vocabulary(command.environment)
                pid = os.fork()
                if not pid:
                    for each in selector.get_map().values():
                        os.close(each.fd)
                        if each.data is not None:
                            os.close(each.data[1])
                    requests.detach()
                    os.close(status)
                    return _begin(command, streams)
                for number in streams:
                    os.close(number)
                os.write(status, pid.to_bytes(8, "big"))
                selector.register(os.pidfd_open(pid), selectors.EVENT_READ, (pid, status))


def _read_vocabulary(environment: Mapping[str, str]) -> None:
    """Read the vocabulary that the command will need of GPT-OSS: a process reads each once."""
    from harmony_ls.errors import ModelError
    from harmony_ls.prompts.harmony.vocabulary import FILE_NAME, load_encoding

    if folder := environment.get("TIKTOKEN_ENCODINGS_BASE"):
        with contextlib.suppress(ModelError):  # the command will say so
            load_encoding(Path(folder) / FILE_NAME)


def _tell_end(pid_descriptor: int, pid: int, status: int) -> None:
    os.close(pid_descriptor)
    _, how = os.waitpid(pid, 0)
    with contextlib.suppress(BrokenPipeError):  # nobody waits for it
        os.write(status, str(os.waitstatus_to_exitcode(how)).encode())
    os.close(status)


def _begin(command: _Command, streams: Sequence[int]) -> _Command:
    """Become what a process that was started for the command would be."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    if command.takes_terminal:
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    if command.ignores_hang_up:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(command.environment)
    os.chdir(command.folder)
    sys.argv[:] = ["harmony-ls", *command.arguments]
    is_unbuffered = bool(command.environment.get("PYTHONUNBUFFERED"))
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        # It stays open as long as the process.
        stream = open(  # noqa: SIM115
            number,
            "w" if number else "r",
            encoding="utf-8",
            errors="backslashreplace" if name == "stderr" else "strict",
            closefd=False,
        )
        stream.reconfigure(line_buffering=name == "stderr" or stream.isatty(), write_through=is_unbuffered)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    return command


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the tests
    preload_openblas()  # mlx finds it only where it is there first
    for module in _PRELOADED:
        importlib.import_module(module)
    gc.collect()
    gc.freeze()
    if _serve(socket.socket(fileno=int(sys.argv[1]))) is not None:
        from harmony_ls.cli import main

        main()
