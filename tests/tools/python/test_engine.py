"""The engine and the image: reasons where they are missing, leftovers of dead processes, an engine that goes away."""

import asyncio
import io
import socket
import subprocess
import sys
import tarfile
from contextlib import suppress
from pathlib import Path

import pytest
from docker import DockerClient
from docker.errors import NotFound

from harmony_ls.settings.models import ToolSettings
from harmony_ls.tools.python import python_tool
from harmony_ls.tools.python.engine import connect
from tests.tools.python.support import Notebook, containers_of, opened

OWNER = """
import asyncio, sys
from harmony_ls.messages import ToolCall
from harmony_ls.settings.models import ToolSettings
from harmony_ls.tools.python import python_tool

async def main():
    tool = await python_tool(ToolSettings.model_validate_json(sys.argv[1]))
    print((await tool.run(ToolCall("1", "python", "'started'"))).text, flush=True)
    await tool.run(ToolCall("1", "python", "while True: pass"))

asyncio.run(main())
"""


async def why_not(settings: ToolSettings) -> str:
    reason = await python_tool(settings)
    assert isinstance(reason, str)
    return reason


async def test_38_what_a_killed_process_leaves_ends_by_itself_and_the_next_start_removes_it(
    notebook: Notebook, python_settings: ToolSettings, engine: DockerClient
) -> None:
    await notebook.run("x = 5")
    command = [sys.executable, "-c", OWNER, python_settings.model_dump_json()]
    owner = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    assert owner.stdout is not None
    try:
        assert await owner.stdout.readline() == b"'started'\n"
        (left,) = containers_of(engine, owner.pid)
        assert left.status == "running"
        await (await opened(python_settings, engine)).tool.close()
        assert len(containers_of(engine, owner.pid)) == 1, "its owner lives"
    finally:
        owner.kill()
        await owner.communicate()
    with suppress(NotFound):  # a test beside this one may be the next start
        await asyncio.to_thread(left.wait, timeout=30)
    await (await opened(python_settings, engine)).tool.close()
    assert containers_of(engine, owner.pid) == []
    assert await notebook.text("x") == "5", "that of a living process is left alone"


@pytest.mark.parametrize("is_running", [True, False])
async def test_38_of_another_place_only_what_has_ended_is_removed(
    python_settings: ToolSettings, engine: DockerClient, is_running: bool
) -> None:
    labels = {"harmony-ls.tool": "python", "harmony-ls.owner-pid": "999999999", "harmony-ls.owner-place": "elsewhere"}
    command = ["python3", "-c", "import signal; signal.pause()"] if is_running else ["python3", "-c", ""]
    container = engine.containers.run(
        python_settings.python_image, command, labels=labels, network_mode="none", detach=True
    )
    try:
        if not is_running:
            container.wait(timeout=30)
        await (await opened(python_settings, engine)).tool.close()
        assert len(containers_of(engine, 999999999)) == is_running
    finally:
        if is_running:
            container.remove(force=True)


async def test_40_no_engine_is_a_reason_and_nothing_else(tmp_path: Path) -> None:
    nothing = await why_not(ToolSettings(docker_host=f"unix://{tmp_path}/none.sock"))
    assert nothing.startswith("The python tool needs Docker, and no engine answers (unix://")
    assert "No such file or directory" in nothing
    (tmp_path / "file").touch()
    assert "Connection refused" in await why_not(ToolSettings(docker_host=f"unix://{tmp_path}/file"))


async def test_40_something_else_behind_the_socket_is_a_reason_too(tmp_path: Path) -> None:
    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 not an engine\r\n")
        writer.close()

    path = tmp_path / "s"
    async with await asyncio.start_unix_server(hang_up, path):
        reason = await why_not(ToolSettings(docker_host=f"unix://{path}"))
    assert reason.startswith("The python tool needs Docker, and no engine answers")
    assert "\n" not in reason


async def test_41_an_image_that_is_missing_is_named_and_not_fetched(python_settings: ToolSettings) -> None:
    reason = await why_not(python_settings.model_copy(update={"python_image": "harmony-ls/not-there:1"}))
    assert "`docker pull harmony-ls/not-there:1` fetches it" in reason
    assert "tools.pythonImage" in reason


async def test_41_an_image_without_python_is_told(python_settings: ToolSettings, engine: DockerClient) -> None:
    engine.api.import_image_from_data(empty_archive(), repository="harmony-ls-empty", tag="test")
    settings = python_settings.model_copy(update={"python_image": "harmony-ls-empty:test"})
    try:
        notebook = await opened(settings, engine)
        answer = await notebook.run("1")
        assert answer.is_error
        assert answer.text.startswith("[No Python: the container could not be started: ")
        assert "python3" in answer.text
        await notebook.tool.close()
        assert notebook.containers() == []
    finally:
        engine.images.remove("harmony-ls-empty:test")


@pytest.mark.parametrize("address", ["tcp://10.0.0.1:2375", "ssh://me@example.org"])
async def test_42_another_machine_is_used_only_if_the_settings_say_so(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("DOCKER_HOST", address)
    reason = await why_not(ToolSettings())
    assert reason.startswith(f"DOCKER_HOST is {address}, which is not a socket of this machine.")
    assert "dockerHost" in reason


async def test_42_the_settings_go_before_the_environment(
    monkeypatch: pytest.MonkeyPatch, python_settings: ToolSettings, tmp_path: Path
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    assert str(tmp_path) in await why_not(python_settings)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    reason = await why_not(ToolSettings(docker_host=f"tcp://127.0.0.1:{port}"))
    assert f"tcp://127.0.0.1:{port}" in reason


def test_an_engine_that_answers_is_found(python_settings: ToolSettings) -> None:
    client = connect(python_settings)
    assert client.ping()
    client.close()


def empty_archive() -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("nothing"))
    return data.getvalue()
