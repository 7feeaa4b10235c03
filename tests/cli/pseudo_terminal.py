"""A program under a pseudo-terminal, driven by what it shows: a little of what ``expect`` does."""

import contextlib
import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.preloaded import CAN_PRELOAD, Launched, launch

__all__ = ["CTRL_C", "CTRL_D", "PseudoTerminal"]

CTRL_C = "\x03"
CTRL_D = "\x04"
# Long enough for a machine that does ten other things.
_PATIENCE_SECONDS = 100.0
_N_PRESSES = 10
# The new session takes the terminal as its own, so that Ctrl-C at it becomes a signal.
# Who started the tests in the background may have had Ctrl-C ignored.
_TAKE_TERMINAL = (
    "import fcntl, os, signal, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    "signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])"
)
_IGNORE_HANG_UP = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN); "
_SEQUENCE = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]|\x1b\][^\x07]*\x07|[\x00-\x08\x0e-\x1f]")


def _start(
    arguments: Sequence[str],
    streams: tuple[int, int, int],
    folder: Path,
    environment: Mapping[str, str],
    ignores_hang_up: bool,
) -> "subprocess.Popen[bytes]":
    stdin, stdout, stderr = streams
    start = f"{_IGNORE_HANG_UP if ignores_hang_up else ''}{_TAKE_TERMINAL}"
    return subprocess.Popen(
        [sys.executable, "-c", start, sys.executable, "-m", "harmony_ls", *arguments],
        cwd=folder,
        env=environment,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        start_new_session=True,
    )


class PseudoTerminal:
    """``python -m harmony_ls`` at a terminal of its own. Leave it as a context: what still runs is killed.

    ``errors``: the file that stderr goes to instead. ``ignores_hang_up``: it is started as by ``nohup``. ``is_fresh``:
    Python is started, and imports what it needs; else the program is forked where that can be (`tests.preloaded`).
    """

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        folder: Path,
        environment: Mapping[str, str],
        columns: int = 80,
        rows: int = 24,
        errors: Path | None = None,
        ignores_hang_up: bool = False,
        is_fresh: bool = False,
    ) -> None:
        self._main, terminal = os.openpty()
        fcntl.ioctl(self._main, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        whole = {**os.environ, "TERM": "xterm-256color", **environment}
        with contextlib.ExitStack() as stack:
            their_errors = terminal if errors is None else stack.enter_context(errors.open("wb")).fileno()
            streams = (terminal, terminal, their_errors)
            self._process: Launched | subprocess.Popen[bytes]
            if CAN_PRELOAD and not is_fresh:
                self._process = launch(
                    arguments,
                    streams=streams,
                    environment=whole,
                    folder=folder,
                    takes_terminal=True,
                    ignores_hang_up=ignores_hang_up,
                )
            else:
                self._process = _start(arguments, streams, folder, whole, ignores_hang_up)
        os.close(terminal)
        self._is_open = True
        self.output = ""
        self._decoded_bytes = b""
        self._position = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        if self._is_open:
            os.close(self._main)

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    @property
    def words(self) -> str:
        """Everything shown so far, without control sequences, all white space as one blank."""
        return " ".join(_SEQUENCE.sub("", self.output).split())

    def expect(self, text: str) -> str:
        """Wait until ``text`` is shown after what was waited for last; return what came between."""
        wanted = " ".join(text.split())
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while (start := self.words.find(wanted, self._position)) < 0:
            assert self._read(deadline), f"{wanted!r} did not come; the terminal shows:\n{self.words[-2000:]}"
        between = self.words[self._position : start]
        self._position = start + len(wanted)
        return between

    def send(self, keys: str) -> None:
        """Press keys."""
        os.write(self._main, keys.encode())

    def press(self, keys: str, until: str) -> str:
        """Press keys, and again, until ``until`` is shown; return what came between.

        Python does not hear a Ctrl-C that comes in the moment between readline's prompt and its wait for keys.
        """
        wanted = " ".join(until.split())
        for _ in range(_N_PRESSES):
            self.send(keys)
            deadline = time.monotonic() + _PATIENCE_SECONDS / _N_PRESSES
            while self.words.find(wanted, self._position) < 0 and self._read(deadline):
                pass
            if self.words.find(wanted, self._position) >= 0:
                break
        return self.expect(until)

    def say(self, line: str) -> None:
        """Type a line and press Enter."""
        self.send(f"{line}\r")

    def hang_up(self) -> int:
        """Close the terminal, as its window does; return the exit code."""
        os.close(self._main)
        self._is_open = False
        return self._process.wait(_PATIENCE_SECONDS)

    def exit_code(self) -> int:
        """Wait for the end and return the exit code."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while self._read(deadline):
            pass
        assert time.monotonic() < deadline, f"the program does not end; the terminal shows:\n{self.words[-2000:]}"
        return self._process.wait(_PATIENCE_SECONDS)

    def _read(self, deadline: float) -> bool:
        """Take in what comes next; false at the end, and when it takes too long."""
        ready, _, _ = select.select([self._main], [], [], max(0.0, deadline - time.monotonic()))
        try:
            content = os.read(self._main, 65536) if ready else b""
        except OSError:  # Linux's way to say that the other side is closed
            content = b""
        self._decoded_bytes += content
        self.output = self._decoded_bytes.decode("utf-8", "ignore")
        return bool(content)
