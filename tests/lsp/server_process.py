"""A server that is forked from a process which has imported everything (`tests.preloaded`), for a client of asyncio.

server = await fork_server(["--log-level", "debug"])
server.stdin, server.stdout, server.pid, await server.wait(), ...
"""

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.preloaded import Launched, launch

__all__ = ["ForkedServer", "fork_server"]

_STDERR = 2


class ForkedServer:
    """Stands for an `asyncio.subprocess.Process`, as far as clients use one."""

    def __init__(
        self,
        launched: Launched,
        stdin: asyncio.StreamWriter,
        stdout: asyncio.StreamReader,
        stderr: asyncio.StreamReader | None,
    ) -> None:
        self.stdin, self.stdout, self.stderr = stdin, stdout, stderr
        self._launched = launched
        self._ended = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().add_reader(launched.status, self._note_end)

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._launched.pid

    @property
    def returncode(self) -> int | None:
        """The exit code, negative after a signal; None while the process runs."""
        return self._launched.returncode

    async def wait(self) -> int:
        """Wait for the end and return the exit code."""
        return await asyncio.shield(self._ended)

    def send_signal(self, number: int) -> None:
        """Send a signal to a process that has not ended."""
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):  # it has, and we are about to hear of it
                os.kill(self.pid, number)

    def kill(self) -> None:
        """End the process at once."""
        self.send_signal(signal.SIGKILL)

    def _note_end(self) -> None:
        asyncio.get_running_loop().remove_reader(self._launched.status)
        self._ended.set_result(self._launched.wait())


async def fork_server(
    arguments: Sequence[str] = (),
    *,
    environment: Mapping[str, str] | None = None,
    stderr: int | None = None,
    folder: Path | None = None,
) -> ForkedServer:
    """Run ``harmony-ls lsp`` with pipes. ``stderr`` is as in ``subprocess``; ``environment`` comes on top of ours."""
    their_stdin, our_stdin = os.pipe()
    our_stdout, their_stdout = os.pipe()
    theirs = [their_stdin, their_stdout]
    our_stderr = None
    their_stderr = _STDERR if stderr is None else stderr
    if stderr == subprocess.PIPE:
        our_stderr, their_stderr = os.pipe()
        theirs.append(their_stderr)
    try:
        streams = (their_stdin, their_stdout, their_stderr)
        whole = {**os.environ, **(environment or {})}
        launched = launch(("lsp", *arguments), streams=streams, environment=whole, folder=folder or Path.cwd())
    finally:
        for number in theirs:
            os.close(number)
    stdin, stdout = await _writer(our_stdin), await _reader(our_stdout)
    return ForkedServer(launched, stdin, stdout, None if our_stderr is None else await _reader(our_stderr))


async def _reader(number: int) -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    file = os.fdopen(number, "rb", buffering=0)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), file)
    return reader


async def _writer(number: int) -> asyncio.StreamWriter:
    loop = asyncio.get_running_loop()
    file = os.fdopen(number, "wb", buffering=0)
    # A protocol of its own, since a writer asks one how the connection was closed; nothing is read from it.
    transport, protocol = await loop.connect_write_pipe(
        lambda: asyncio.StreamReaderProtocol(asyncio.StreamReader()), file
    )
    return asyncio.StreamWriter(transport, protocol, None, loop)
