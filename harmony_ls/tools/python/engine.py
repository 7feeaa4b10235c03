"""The Docker engine: finding it, saying why it cannot be used, and removing what crashed processes left in it.

Everything in here blocks: it belongs into a thread.
"""

import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil  # type: ignore[import-untyped]

from harmony_ls.errors import UserError
from harmony_ls.settings.models import ToolSettings

if TYPE_CHECKING:
    from docker import DockerClient

__all__ = [
    "PROJECT_LABEL", "address_of", "addresses", "asked", "check_answers", "check_is_engine", "connect", "connection_to",
    "engine_faults", "no_engine", "owner_labels", "remove_leftovers",
]  # fmt: skip

PROJECT_LABEL = "harmony-ls.tool"
_PID, _STARTED, _PLACE = "harmony-ls.owner-pid", "harmony-ls.owner-started", "harmony-ls.owner-place"
# Clocks are set: start times of the same process may differ by a little.
_SAME_SECONDS = 5.0
_CALL_SECONDS = 30
_PROBE_SECONDS = 5
_N_ANSWER = 100


def connect(settings: ToolSettings) -> "DockerClient":
    """A client of an engine that answers. Raises UserError with the reason where there is none."""
    from docker import DockerClient

    faults: list[tuple[str, Exception]] = []
    for address in addresses(settings):
        try:
            # The client asks things while it is made, and keeps its connection to what does not answer them.
            check_is_engine(address)
            client = DockerClient(base_url=address, timeout=_CALL_SECONDS)
        except engine_faults() as error:
            faults.append((address, error))
            continue
        return client
    raise UserError(no_engine(faults))


def no_engine(faults: Sequence[tuple[str, Exception]]) -> str:
    """Why there is no python tool, for a person: at none of these addresses an engine answered."""
    told = f" ({faults[0][0]}: {_why(faults[0][1])})" if faults else ""
    return f"The python tool needs Docker, and no engine answers{told}. Start Docker; the next message will find it."


def check_answers(client: "DockerClient") -> None:
    """Raise OSError or HTTPException where the engine has gone since `connect`, or hangs.

    The client would leave its connection open then, and wait much longer for an answer.
    """
    check_is_engine(address_of(client))


def address_of(client: "DockerClient") -> str:
    """Where the engine of a client is."""
    base = str(client.api.base_url)
    return f"unix://{client.api._custom_adapter.socket_path}" if base.startswith("http+docker") else base


def engine_faults() -> tuple[type[Exception], ...]:
    """What calls of the engine raise: its refusals, and everything that means that it is not there."""
    from docker.errors import DockerException
    from requests.exceptions import RequestException

    return (DockerException, RequestException, HTTPException, OSError)


def owner_labels() -> dict[str, str]:
    """What is written on a container, so that it can be told whether its owner lives."""
    process = psutil.Process()
    return {
        PROJECT_LABEL: "python",
        _PID: str(process.pid),
        _STARTED: f"{process.create_time():.2f}",
        _PLACE: _place(),
    }


def remove_leftovers(client: "DockerClient") -> int:
    """Remove the containers whose owner is gone, and say how many there were. Those of living owners are left alone.

    A process number means something only where it was given: containers that were started elsewhere (on another
    machine, before a reboot) are removed if they have ended, which they do by themselves with their owner.
    """
    n_removed = 0
    for container in client.api.containers(all=True, filters={"label": f"{PROJECT_LABEL}=python"}):
        labels = container.get("Labels") or {}
        if labels.get(_PLACE) == _place():
            is_leftover = not _is_alive(labels.get(_PID, ""), labels.get(_STARTED, ""))
        else:
            is_leftover = container.get("State") in ("exited", "dead")
        if is_leftover:
            with suppress(*engine_faults()):  # another process may be at it
                client.api.remove_container(container["Id"], force=True, v=True)
                n_removed += 1
    return n_removed


def addresses(settings: ToolSettings) -> Iterator[str]:
    """Where an engine may be, the likeliest first. Raises UserError where the environment names one elsewhere."""
    if settings.docker_host is not None:
        yield settings.docker_host
        return
    given = os.environ.get("DOCKER_HOST", "")
    if given.startswith("unix://"):
        yield given
        return
    if given:
        raise UserError(
            f"DOCKER_HOST is {given}, which is not a socket of this machine. To run Python there all the same, write "
            "the address into your config.toml: dockerHost in the section [tools]."
        )
    home = Path.home()
    places = [Path("/var/run/docker.sock"), home / ".docker/run/docker.sock", home / ".orbstack/run/docker.sock"]
    places += [home / ".colima/default/docker.sock"]
    if runtime := os.environ.get("XDG_RUNTIME_DIR"):
        places.append(Path(runtime) / "docker.sock")
    for place in places:
        if place.exists():
            yield f"unix://{place}"


def connection_to(address: str, seconds: float) -> HTTPConnection:
    """A connection to an engine, which waits for so long for each thing that it is told. Raises OSError."""
    scheme, _, place = address.partition("://")
    connection = HTTPConnection("localhost" if scheme == "unix" else place, timeout=seconds)
    try:
        if scheme == "unix":
            connection.sock = socket.socket(socket.AF_UNIX)
            connection.sock.settimeout(seconds)
            connection.sock.connect(place)
        else:
            connection.connect()
    except OSError:
        connection.close()
        raise
    return connection


def asked(address: str, path: str, seconds: float) -> tuple[int, bytes]:
    """What an engine answers when it is asked for a path: the status, and the beginning of the text.

    Raises OSError and HTTPException.
    """
    connection = connection_to(address, seconds)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read(_N_ANSWER)
    finally:
        connection.close()


def check_is_engine(address: str, seconds: float = _PROBE_SECONDS) -> None:
    """Raise OSError or HTTPException unless an engine answers at the address."""
    status, answer = asked(address, "/_ping", seconds)
    if status != 200 or answer != b"OK":
        raise OSError(f"it answers {status}, which is not what a Docker engine says")


def _why(error: Exception) -> str:
    """The innermost cause of an error that other errors are wrapped around, in one line."""
    cause: BaseException = error
    while (inner := cause.__cause__ or cause.__context__) is not None:
        cause = inner
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def _place() -> str:
    """Where process numbers mean the same: this boot of this machine, and on Linux this namespace of processes."""
    boot_id: Any
    try:
        boot_id = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot_id}/{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return f"{os.uname().nodename}/{int(psutil.boot_time())}"


def _is_alive(pid: str, started: str) -> bool:
    try:
        return bool(abs(psutil.Process(int(pid)).create_time() - float(started)) < _SAME_SECONDS)
    except (psutil.NoSuchProcess, ValueError):
        return False
    except psutil.Error:
        return True
