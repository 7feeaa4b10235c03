"""The first process inside a container: it starts the worker that runs cells, and speaks with harmony-ls about it.

This text is sent into the container and run there; nothing of it runs on the host. The worker runs code that nobody has
checked, so everything that must be true is said by this process, which that code cannot reach: as process 1 it is
immune to signals from inside, and it denies others of its user its memory and its descriptors, so that what it says
cannot be forged. It also ends and buries whatever the code leaves behind, and ends with everything when harmony-ls does
(its standard input is then closed).

Frames in both directions: one byte for the kind, four for the length, the payload.
In:  ``C`` a cell to run, ``I`` interrupt it, ``K`` kill everything that runs and start a new worker.
Out: ``R`` ready, ``A`` a cell has arrived, ``O`` output, ``S`` how many bytes of output were left out,
     ``E`` the end of the cell, as JSON.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import selectors
import signal
import struct
import sys
import time
from contextlib import suppress
from typing import Any

__all__ = ["main"]

HEADER = struct.Struct(">cI")
CHUNK = 1 << 18
# What may still be in the pipe when a cell has ended; beyond it some other process goes on writing.
LONGEST_DRAIN = 1 << 22
# More processes than this that a cell left behind are no servers, they are an accident.
N_STRAYS = 16
KILL_SECONDS = 1.5
OOM_COUNTERS = ("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control")
PR_SET_DUMPABLE = 4


def main(boot: str, worker_source: str, n_head: int, n_tail: int) -> None:
    """Serve until the standard input ends. ``boot`` is the program that runs ``worker_source``."""
    os.chdir("/mnt/data")
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        raise SystemExit("the driver cannot be shielded from the code that it runs")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Driver([sys.executable, "-I", "-u", "-c", boot, worker_source, "main"], n_head, n_tail).serve()


class Driver:
    """One worker at a time, and the cell that it runs."""

    def __init__(self, command: list[str], n_head: int, n_tail: int) -> None:
        self.command = command
        self.n_head, self.n_tail = n_head, n_tail
        self.selector = selectors.DefaultSelector()
        self.received = bytearray()
        self.buffer = memoryview(bytearray(CHUNK))
        self.must_bury = False  # the worker has children that were killed here
        self.number = 0  # of cells that this worker was given
        self.unsent = memoryview(b"")  # what the worker has not taken yet of its request
        self.is_running = self.is_interrupted = False
        self.before: dict[str, Any] | None = None  # how a worker died while no cell was running
        self.n_head_left, self.n_skipped, self.tail = n_head, 0, bytearray()
        self.n_oom_kills = oom_kills()
        self.start_worker()

    def serve(self) -> None:
        """Read and answer until harmony-ls lets go of the standard input."""
        wake_up, woken = os.pipe()
        for descriptor in (wake_up, woken):
            os.set_blocking(descriptor, False)
        signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self.selector.register(wake_up, selectors.EVENT_READ, lambda: os.read(wake_up, CHUNK))
        self.selector.register(0, selectors.EVENT_READ, self.on_request)
        self.send(b"R")
        while True:
            for key, _ in self.selector.select():
                # What an earlier one of these did may have taken its descriptor away.
                if key.fd in self.selector.get_map():
                    key.data()
            self.bury()

    def start_worker(self) -> None:
        self.number, self.must_bury, self.unsent = 0, False, memoryview(b"")
        (self.output, its_output), (its_requests, self.requests), (self.replies, its_replies) = [
            tuple(fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in close_later(os.pipe())) for _ in range(3)
        ]
        for descriptor in (self.output, self.requests, self.replies):
            os.set_blocking(descriptor, False)
        with suppress(OSError):
            fcntl.fcntl(self.output, 1031, 1 << 20)  # F_SETPIPE_SZ: fewer turns for much output
        given = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)]
        for source, target in ((its_output, 1), (its_output, 2), (its_requests, 3), (its_replies, 4)):
            given.append((os.POSIX_SPAWN_DUP2, source, target))  # type: ignore[arg-type]
        self.worker = os.posix_spawn(self.command[0], self.command, dict(os.environ), file_actions=given)
        for descriptor in (its_output, its_requests, its_replies):
            os.close(descriptor)
        self.selector.register(self.replies, selectors.EVENT_READ, self.on_reply)

    def drop_worker(self) -> None:
        """Let go of a worker that is dead."""
        for descriptor in (self.output, self.requests, self.replies):
            with suppress(KeyError):
                self.selector.unregister(descriptor)
            os.close(descriptor)

    def on_request(self) -> None:
        data = os.read(0, CHUNK)
        if not data:
            os._exit(0)
        self.received += data
        while len(self.received) >= HEADER.size:
            kind, length = HEADER.unpack_from(self.received)
            if len(self.received) < HEADER.size + length:
                return
            payload = bytes(self.received[HEADER.size : HEADER.size + length])
            del self.received[: HEADER.size + length]
            if kind == b"C":
                self.run(payload)
            elif kind == b"I" and self.is_running:
                self.is_interrupted = True
                os.kill(self.worker, signal.SIGINT)
            elif kind == b"K" and self.is_running:
                self.restart("killed")

    def run(self, code: bytes) -> None:
        self.number += 1
        self.is_running, self.is_interrupted = True, False
        self.n_head_left, self.n_skipped, self.tail = self.n_head, 0, bytearray()
        self.send(b"A")
        # Only now: what something in the background wrote meanwhile has waited, and did not fill any memory.
        self.selector.register(self.output, selectors.EVENT_READ, self.on_output)
        # Never waited for: a worker that takes nothing must not make this process deaf to what ends it.
        self.unsent = memoryview(HEADER.pack(b"B" if self.must_bury else b"C", len(code)) + code)
        self.must_bury = False
        self.selector.register(self.requests, selectors.EVENT_WRITE, self.on_room)

    def on_room(self) -> None:
        """Send on what there is room for."""
        try:
            self.unsent = self.unsent[os.write(self.requests, self.unsent) :]
        except BlockingIOError:
            return
        except BrokenPipeError:  # a worker that is dead is noticed as such
            self.unsent = memoryview(b"")
        if not self.unsent:
            with suppress(KeyError):
                self.selector.unregister(self.requests)

    def on_output(self) -> None:
        with suppress(BlockingIOError):
            if not self.take_output():
                self.selector.unregister(self.output)

    def on_reply(self) -> None:
        try:
            reply = os.read(self.replies, 64)
        except BlockingIOError:
            return
        if not reply:  # the code closed it, or the worker is dying, which is noticed when it is buried
            self.selector.unregister(self.replies)
            return
        words = reply.split()
        is_reply = len(words) == 2 and words[0] == b"%d" % self.number and words[1] in (b"0", b"1")
        if not self.is_running or self.unsent or not is_reply:
            self.restart("broken")
            return
        n_strays = self.end_strays()
        if n_strays is None:
            self.restart("killed")
            return
        status = "interrupted" if self.is_interrupted else "ok" if words[1] == b"0" else "error"
        self.end({"status": status, "strays": n_strays})

    def end_strays(self) -> int | None:
        """End what the cell left running, where it was interrupted or left too much. None: there is no end to it."""
        strays = self.strays()
        if not self.is_interrupted and len(strays) <= N_STRAYS:
            return 0
        n_strays, self.must_bury = len(strays), bool(strays)
        deadline = time.monotonic() + KILL_SECONDS
        while time.monotonic() < deadline:
            for pid in strays:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.bury()
            if not (strays := self.strays()):
                return n_strays
            time.sleep(0.002)  # they need a moment of the processor to die
        return None

    def strays(self) -> list[int]:
        """The processes that live beside the worker."""
        found = []
        for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
            with suppress(OSError), open(f"/proc/{pid}/stat", "rb") as file:
                if pid not in (1, self.worker) and file.read().rpartition(b")")[2].split()[0] not in (b"Z", b"X"):
                    found.append(pid)
        return found

    def bury(self) -> None:
        """Collect the dead; start a new worker where it is among them."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self.worker:
                self.restart("died", os.waitstatus_to_exitcode(status))

    def restart(self, status: str, exit_code: int = 0) -> None:
        """End every process but this one, and begin again with an empty namespace."""
        with suppress(ProcessLookupError):
            os.kill(-1, signal.SIGKILL)
        with suppress(ChildProcessError):
            while True:
                os.waitpid(-1, 0)
        how = {"status": status, "exit_code": exit_code, "oom": self.was_oom()}
        if self.is_running:
            self.drain()
        self.drop_worker()
        self.start_worker()
        if self.is_running:
            self.end(how)
        else:
            self.before = how

    def drain(self) -> None:
        n_read = 0
        with suppress(BlockingIOError):
            while n_read < LONGEST_DRAIN and (n_more := self.take_output()):
                n_read += n_more

    def take_output(self) -> int:
        """Read what there is into the one buffer for it, since new ones cost more than the reading; how much it was."""
        n_read = os.readv(self.output, [self.buffer])
        self.forward(self.buffer[:n_read])
        return n_read

    def forward(self, data: memoryview) -> None:
        """Send the beginning of the output at once; of the rest keep the end."""
        head, rest = data[: self.n_head_left], data[self.n_head_left :]
        if head:
            self.n_head_left -= len(head)
            self.send(b"O", bytes(head))
        if len(rest) > self.n_tail:
            self.n_skipped += len(self.tail) + len(rest) - self.n_tail
            self.tail = bytearray(rest[-self.n_tail :])
        elif rest:
            self.tail += rest
            if len(self.tail) > 4 * self.n_tail:
                self.cut_tail()

    def cut_tail(self) -> None:
        n_cut = max(0, len(self.tail) - self.n_tail)
        self.n_skipped += n_cut
        del self.tail[:n_cut]

    def end(self, how: dict[str, Any]) -> None:
        self.is_running = False
        if how["status"] in ("ok", "error", "interrupted"):
            self.drain()
            with suppress(KeyError):
                self.selector.unregister(self.output)
            how["oom"] = self.was_oom()
        self.cut_tail()
        if self.n_skipped:
            self.send(b"S", b"%d" % self.n_skipped)
        if self.tail:
            self.send(b"O", bytes(self.tail))
        self.tail = bytearray()
        self.send(b"E", json.dumps({**how, "before": self.before}).encode())
        self.before = None

    def was_oom(self) -> bool:
        """Whether the kernel killed something for want of memory since this was last asked."""
        n_before, self.n_oom_kills = self.n_oom_kills, oom_kills()
        return self.n_oom_kills > n_before

    def send(self, kind: bytes, payload: bytes = b"") -> None:
        write_all(1, HEADER.pack(kind, len(payload)) + payload)


def close_later(pipe: tuple[int, int]) -> Any:
    """The ends of a pipe, each closed once its copy was made."""
    for end in pipe:
        yield end
        os.close(end)


def write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def oom_kills() -> int:
    """How many processes of this container the kernel has killed for want of memory."""
    for path in OOM_COUNTERS:
        with suppress(OSError, ValueError), open(path, encoding="ascii") as lines:
            return sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))
    return 0
