"""The Docker engine: finding it, saying why it cannot be used, and removing what crashed processes left in it.

Everything in here blocks: it belongs into a thread.
"""

import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil  # type: ignore[import-untyped]

from harmony_ls.errors import UserError
from harmony_ls.settings.models import ToolSettings

if TYPE_CHECKING:
    from docker import DockerClient

__all__ = ["PROJECT_LABEL", "check_answers", "connect", "engine_faults", "owner_labels", "remove_leftovers"]

PROJECT_LABEL = "harmony-ls.tool"
_PID, _STARTED, _PLACE = "harmony-ls.owner-pid", "harmony-ls.owner-started", "harmony-ls.owner-place"
# Clocks are set: start times of the same process may differ by a little.
_SAME_SECONDS = 5.0
_CALL_SECONDS = 30
_PROBE_SECONDS = 5


def connect(settings: ToolSettings) -> "DockerClient":
    """A client of an engine that answers. Raises UserError with the reason where there is none."""
    from docker import DockerClient

    faults = []
    for address in _addresses(settings):
        try:
            # The client asks things while it is made, and keeps its connection to what does not answer them.
            _probe(address)
            client = DockerClient(base_url=address, timeout=_CALL_SECONDS)
        except engine_faults() as error:
            faults.append(f"{address}: {_why(error)}")
            continue
        return client
    told = f" ({faults[0]})" if faults else ""
    raise UserError(f"The python tool needs Docker, and no engine answers{told}. Start Docker, then begin a new chat.")


def check_answers(client: "DockerClient") -> None:
    """Raise OSError or HTTPException where the engine has gone since `connect`, or hangs.

    The client would leave its connection open then, and wait much longer for an answer.
    """
    base = client.api.base_url
    _probe(f"unix://{client.api._custom_adapter.socket_path}" if base.startswith("http+docker") else base)


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


def _addresses(settings: ToolSettings) -> Iterator[str]:
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


def _probe(address: str) -> None:
    """Raise OSError or HTTPException unless an engine answers at the address."""
    scheme, _, place = address.partition("://")
    connection = HTTPConnection("localhost" if scheme == "unix" else place, timeout=_PROBE_SECONDS)
    if scheme == "unix":
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(_PROBE_SECONDS)
    try:
        if scheme == "unix":
            connection.sock.connect(place)
        connection.request("GET", "/_ping")
        response = connection.getresponse()
        if response.status != 200 or response.read(100) != b"OK":
            raise OSError(f"it answers {response.status}, which is not what a Docker engine says")
    finally:
        connection.close()


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
