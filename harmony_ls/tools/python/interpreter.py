"""A Python that remembers, for one conversation: cells one after the other, and what to do when one does not end.

A cell that takes too long is interrupted; one that does not heed that is killed with its process, and one whose
container does not heed that is removed with it. What was lost is said with the output, in brackets.
"""

import asyncio
import json
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harmony_ls.settings.models import ToolSettings
from harmony_ls.tools.python.container import Container, ContainerGoneError
from harmony_ls.tools.python.engine import engine_faults
from harmony_ls.tools.python.output import HeadAndTail
from harmony_ls.tools.python.places import Places

if TYPE_CHECKING:
    from docker import DockerClient

__all__ = ["CellResult", "Interpreter"]

_INTERRUPT_SECONDS = 2.0
_KILL_SECONDS = 5.0
_LOST = "variables and imports are gone, files in /mnt/data are kept."
_ALL_LOST = "variables and the files in /mnt/data are gone. The next call starts with nothing."


@dataclass(frozen=True, slots=True)
class CellResult:
    """What a cell wrote, and what is to be said about it before and after."""

    output: str
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    is_error: bool = False


class Interpreter:
    """Runs cells in a container that it starts with the first one."""

    def __init__(self, client: "DockerClient", settings: ToolSettings, places: Places) -> None:
        self._client = client
        self._settings = settings
        self._lock = asyncio.Lock()
        self._container: Container | None = None
        self._starting: asyncio.Task[Container] | None = None
        self._settling: asyncio.Task[str] | None = None
        self._unremoved: set[Container] = set()
        self._places = places
        self._has_given_up = False

    async def run(self, code: str) -> CellResult:
        """Run a cell. Raises what the engine raises where no container can be started, and NoPlaceError."""
        async with self._lock:
            await self._places.enter(self, self._settings.python_seconds)
            try:
                return await self._run(code)
            finally:
                await self._places.rest(self)

    async def _run(self, code: str) -> CellResult:
        before = [told] if (told := await self._settled()) else []
        if self._has_given_up:
            self._has_given_up = False
            before.append(
                "Since the last call the container was given up for another conversation: variables and "
                "the files in /mnt/data are gone."
            )
        payload = code.encode("utf-8", "surrogatepass")
        while True:
            was_there = self._container is not None
            container = await self._started()
            output = HeadAndTail()
            try:
                await self._send_cell(container, payload)
                after, is_error = await self._executed(container, output, before)
                return CellResult(output.text(), tuple(before), tuple(after), is_error)
            except ContainerGoneError as error:
                await self._drop(container)
                if was_there and isinstance(error, _NotRunError):
                    before.append(f"The container was lost since the last call ({error}): a new one was started.")
                    before[-1] += " Variables and the files in /mnt/data are gone."
                    continue
                after = [f"The container was lost: {error}; {_ALL_LOST}"]
                return CellResult(output.text(), tuple(before), tuple(after), is_error=True)

    async def give_up(self) -> None:
        """Remove the container, in which nothing runs, since another conversation needs its place."""
        if self._settling is not None:
            await asyncio.shield(self._settling)
        if self._starting is not None:  # for a call that was cancelled
            with suppress(ContainerGoneError, *engine_faults()):
                self._container = await asyncio.shield(self._starting)
            self._starting = None
        if self._container is not None:
            self._has_given_up = True
            await self._drop(self._container)

    async def close(self) -> None:
        """Remove the container, whatever runs in it."""
        if self._settling is not None:
            self._settling.cancel()
            with suppress(asyncio.CancelledError):
                await self._settling
        if self._starting is not None:
            with suppress(ContainerGoneError, *engine_faults()):
                self._container = await self._starting
        if self._container is not None:
            await self._drop(self._container)
        await self._remove_lost()
        await self._places.leave(self)

    async def _started(self) -> Container:
        if self._container is None:
            await self._remove_lost()
            if self._starting is None:
                self._starting = asyncio.create_task(Container.start(self._client, self._settings))
            try:
                # A call that is cancelled meanwhile leaves a container for the next one.
                self._container = await asyncio.shield(self._starting)
            finally:
                if self._starting.done():
                    self._starting = None
        return self._container

    async def _send_cell(self, container: Container, payload: bytes) -> None:
        try:
            await container.send(b"C", payload)
        except ContainerGoneError as error:
            raise _NotRunError(str(error)) from None
        except asyncio.CancelledError:
            # Half a frame was sent perhaps, so nothing more can be said to it.
            self._settle(self._given_up(container))
            raise

    async def _executed(self, container: Container, output: HeadAndTail, before: list[str]) -> tuple[list[str], bool]:
        """Wait for the end of the cell: what to say after its output, and whether it went wrong."""
        seconds = self._settings.python_seconds
        try:
            async with asyncio.timeout(seconds):
                await _arrival(container)
                end = await _end_of(container, output)
        except TimeoutError:
            end = await self._stop(container, output)
            if end["status"] not in ("ok", "error"):
                return [f"Timed out after {seconds:g} s: {_how_it_was_stopped(end)}", *_afterwards(end)], True
        except asyncio.CancelledError:
            self._settle(self._cancelled(container))
            raise
        if (how := end.get("before")) is not None:
            before.append(f"Since the last call {self._how_it_died(how)}")
        after = _afterwards(end)
        if end["status"] not in ("ok", "error"):
            after.insert(0, f"While this ran {self._how_it_died(end)}")
        elif end.get("oom"):
            after.append(f"A process ran out of memory ({self._settings.python_memory_mb:,} MB) and was killed.")
        return after, end["status"] != "ok"

    async def _stop(self, container: Container, output: HeadAndTail) -> dict[str, Any]:
        for kind, seconds in ((b"I", _INTERRUPT_SECONDS), (b"K", _KILL_SECONDS)):
            await container.send(kind)
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    return await _end_of(container, output)
        raise ContainerGoneError("it could not be stopped otherwise")

    def _settle(self, coroutine: Any) -> None:
        self._settling = asyncio.create_task(coroutine)

    async def _settled(self) -> str:
        """Wait until a cancelled cell is out of the way; what is to be said about it."""
        if self._settling is None:
            return ""
        told = await asyncio.shield(self._settling)
        self._settling = None
        return told

    async def _cancelled(self, container: Container) -> str:
        try:
            end = await self._stop(container, HeadAndTail())
        except ContainerGoneError:
            return await self._given_up(container)
        return f"The last call was cancelled: {_how_it_was_stopped(end)}"

    async def _given_up(self, container: Container) -> str:
        await self._drop(container)
        return "The last call was cancelled, and its container removed: variables and the files in /mnt/data are gone."

    async def _drop(self, container: Container) -> None:
        if self._container is container:
            self._container = None
        self._unremoved.add(container)
        if await container.remove():
            self._unremoved.discard(container)

    async def _remove_lost(self) -> None:
        """Remove what an engine that was gone may still have: no other process does while this one lives."""
        for container in tuple(self._unremoved):
            if await container.remove():
                self._unremoved.discard(container)

    def _how_it_died(self, how: dict[str, Any]) -> str:
        if how.get("oom"):
            return f"Python ran out of memory ({self._settings.python_memory_mb:,} MB) and was restarted: {_LOST}"
        if how["status"] == "broken":
            return f"the code broke the connection to its own process, which was restarted: {_LOST}"
        if how["status"] == "killed":
            return f"more and more processes were started. All were killed and Python was restarted: {_LOST}"
        exit_code = int(how.get("exit_code", 0))
        by = f"signal {-exit_code}" if exit_code < 0 else f"exit status {exit_code}"
        return f"the Python process ended ({by}) and was restarted: {_LOST}"


class _NotRunError(ContainerGoneError):
    """The container was gone before the cell reached it."""


async def _arrival(container: Container) -> None:
    """Wait until the driver has the cell: a socket takes what nobody will read any more."""
    try:
        frame = await container.receive()
    except ContainerGoneError as error:
        raise _NotRunError(str(error)) from None
    if frame.kind != b"A":
        raise ContainerGoneError("it does not speak as the driver does")


async def _end_of(container: Container, output: HeadAndTail) -> dict[str, Any]:
    while (frame := await container.receive()).kind != b"E":
        if frame.kind == b"O":
            output.feed(frame.payload)
        elif frame.kind == b"S" and frame.payload.isdigit() and len(frame.payload) < 20:
            output.skip(int(frame.payload))
    end: dict[str, Any] = json.loads(frame.payload)
    return end


def _how_it_was_stopped(end: dict[str, Any]) -> str:
    if end["status"] in ("ok", "error", "interrupted"):
        return "the code was interrupted; variables are kept."
    return f"the code did not heed the interrupt, so Python was killed and restarted: {_LOST}"


def _afterwards(end: dict[str, Any]) -> list[str]:
    n_strays = end.get("strays") or 0
    return [f"{n_strays} processes that the code had left running were ended."] if n_strays else []
