"""One container: created with everything taken away that a program does not need, spoken to, removed.

It knows frames and the engine; what a cell is, and what to do when one does not end, is `interpreter`'s business.
"""

import asyncio
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any

from harmony_ls.settings.models import ToolSettings
from harmony_ls.tools.python.engine import check_answers, engine_faults, owner_labels
from harmony_ls.tools.python.output import N_HEAD, N_TAIL

if TYPE_CHECKING:
    from docker import DockerClient

__all__ = ["Container", "ContainerGoneError", "Frame"]

_MB = 1024 * 1024
_FRAME = struct.Struct(">cI")
_DOCKER_HEADER = struct.Struct(">BxxxI")
_STDERR = 2
_LONGEST_FRAME = 1 << 20
_N_STDERR = 4_000
_READY_SECONDS = 60
# Runs a text under a name that tracebacks can leave out.
_BOOT = (
    "import sys\n"
    "names = {'__name__': 'harmony_ls'}\n"
    "exec(compile(sys.argv[1], '<harmony-ls>', 'exec'), names)\n"
    "names['main'](*(int(each) if each.isdigit() else each for each in sys.argv[3:]))\n"
)


class ContainerGoneError(Exception):
    """The container does not answer any more. The message says what is known of the reason."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One message of the driver; see there for the kinds."""

    kind: bytes
    payload: bytes


class Container:
    """A running container with the driver in it. `start` makes it, `remove` takes it away."""

    def __init__(self, client: "DockerClient", container: Any, stream: Any) -> None:
        self._client = client
        self._container = container
        self._stream = stream
        self._socket: socket.socket = stream._sock
        self._received, self._frames, self._stderr = bytearray(), bytearray(), bytearray()
        self._is_hung_up = False

    @property
    def id(self) -> str:
        """The engine's name for it."""
        return str(self._container.id)

    @classmethod
    async def start(cls, client: "DockerClient", settings: ToolSettings) -> "Container":
        """Create and start one. Raises what the engine raises, and ContainerGoneError where Python does not start."""
        container = await asyncio.to_thread(_start, client, settings)
        try:
            async with asyncio.timeout(_READY_SECONDS):
                if (frame := await container.receive()).kind != b"R":
                    raise ContainerGoneError(f"it began with {frame.kind!r}")
        except TimeoutError:
            await container.remove()
            raise ContainerGoneError("Python did not start in time") from None
        except BaseException:
            await container.remove()
            raise
        return container

    async def send(self, kind: bytes, payload: bytes = b"") -> None:
        """Send one frame. Raises ContainerGoneError."""
        try:
            await asyncio.get_running_loop().sock_sendall(self._socket, _FRAME.pack(kind, len(payload)) + payload)
        except OSError:
            raise ContainerGoneError(await self._why_gone()) from None

    async def receive(self) -> Frame:
        """The next frame. Raises ContainerGoneError where none will come, or where it is not one of the driver's."""
        while True:
            if len(self._frames) >= _FRAME.size:
                kind, length = _FRAME.unpack_from(self._frames)
                if kind not in (b"R", b"A", b"O", b"S", b"E") or length > _LONGEST_FRAME:
                    raise ContainerGoneError("it does not speak as the driver does")
                if len(self._frames) >= _FRAME.size + length:
                    payload = bytes(self._frames[_FRAME.size : _FRAME.size + length])
                    del self._frames[: _FRAME.size + length]
                    return Frame(kind, payload)
            try:
                data = await asyncio.get_running_loop().sock_recv(self._socket, 65_536)
            except OSError:
                data = b""
            if not data:
                raise ContainerGoneError(await self._why_gone())
            self._received += data
            self._take_apart()

    async def remove(self) -> bool:
        """Stop everything in it and remove it, whatever state it is in; False where the engine did not say that it did.

        It may be called again then.
        """
        if not self._is_hung_up:
            self._is_hung_up = True
            self._hang_up()
        return await asyncio.to_thread(self._remove)

    def _hang_up(self) -> None:
        # First of all: while output waits to be read, the engine answers no other call about the container.
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._stream._response.close()
        self._stream.close()

    def _remove(self) -> bool:
        from docker.errors import NotFound

        with suppress(*engine_faults()):  # the engine is gone; the next start looks for leftovers
            check_answers(self._client)
            with suppress(NotFound):
                self._container.remove(force=True, v=True)
            return True
        return False

    def _take_apart(self) -> None:
        """Docker's own frames, of which there may be any number of either kind."""
        while len(self._received) >= _DOCKER_HEADER.size:
            kind, length = _DOCKER_HEADER.unpack_from(self._received)
            end = _DOCKER_HEADER.size + length
            if len(self._received) < end:
                return
            if kind == _STDERR:
                self._stderr += self._received[_DOCKER_HEADER.size : end]
                del self._stderr[:-_N_STDERR]
            else:
                self._frames += self._received[_DOCKER_HEADER.size : end]
            del self._received[:end]

    async def _why_gone(self) -> str:
        return await asyncio.to_thread(self._look_why_gone)

    def _look_why_gone(self) -> str:
        from docker.errors import NotFound

        try:
            check_answers(self._client)
            self._container.reload()
        except NotFound:
            return "it was removed"
        except engine_faults():
            return "the Docker engine does not answer any more"
        state = self._container.attrs.get("State", {})
        if state.get("OOMKilled"):
            return "it ran out of memory"
        if said := self._stderr.decode("utf-8", "replace").strip():
            return f"Python could not go on in it: {said.splitlines()[-1]}"
        return "it was stopped from outside" if not state.get("Running") else "its connection was lost"


def _start(client: "DockerClient", settings: ToolSettings) -> Container:
    check_answers(client)
    container = client.containers.create(settings.python_image, **_hardened(settings))
    try:
        stream = container.attach_socket(params={"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1})
        stream._sock.setblocking(False)
        running = Container(client, container, stream)
        try:
            container.start()
        except BaseException:
            running._hang_up()
            raise
    except BaseException:
        container.remove(force=True, v=True)
        raise
    return running


def _hardened(settings: ToolSettings) -> dict[str, Any]:
    """How a container is created: what it is run with is in here, and nothing else is given to it."""
    from docker.types import LogConfig, Ulimit

    memory_mb = settings.python_memory_mb
    # Files in these take memory of the same account: together a small part, so that full ones leave room to run.
    files = "rw,noexec,nosuid,nodev,mode=1777"
    source = resources.files("harmony_ls.tools.python")
    texts = [(source / name).read_text(encoding="utf-8") for name in ("driver.py", "worker.py")]
    return {
        # The driver is process 1 and does an init's work; nothing that it runs can signal it or look into it.
        "entrypoint": ["python3", "-I", "-c", _BOOT, texts[0], "-", _BOOT, texts[1], str(N_HEAD), str(N_TAIL)],
        "command": [],
        "stdin_open": True,
        "network_mode": "none",
        "read_only": True,
        "tmpfs": {"/mnt/data": f"{files},size={memory_mb // 4}m", "/tmp": f"{files},size={memory_mb // 8}m"},
        "shm_size": memory_mb // 8 * _MB,
        "mem_limit": memory_mb * _MB,
        "memswap_limit": memory_mb * _MB,
        "nano_cpus": 1_000_000_000,
        "pids_limit": 64,
        "user": "65534:65534",
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "ipc_mode": "private",
        "ulimits": [Ulimit(name="core", soft=0, hard=0), Ulimit(name="nofile", soft=1024, hard=1024)],
        # The engine would write everything that is printed to the host's disk.
        "log_config": LogConfig(type="none"),
        "healthcheck": {"test": ["NONE"]},
        "environment": {"HOME": "/tmp", "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"},
        "working_dir": "/tmp",
        "hostname": "python",
        "labels": owner_labels(),
    }
