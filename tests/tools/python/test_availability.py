"""Whether there is a python tool is asked at every turn: it costs next to nothing, and is true again in seconds."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from harmony_ls.settings.models import ToolSettings
from harmony_ls.tools.python import python_availability, python_tool
from harmony_ls.tools.python.availability import forget_answers


async def test_40_docker_that_starts_later_is_found(python_settings: ToolSettings, tmp_path: Path) -> None:
    socket = tmp_path / "engine.sock"
    settings = python_settings.model_copy(update={"docker_host": f"unix://{socket}"})
    answer = await python_availability(settings)
    assert answer.reason.startswith("The python tool needs Docker, and no engine answers (unix://")
    assert answer.missing_image == ""
    assert answer.reason == await python_tool(settings), "both say the same"
    engine = await asyncio.to_thread(_address, python_settings)
    socket.symlink_to(engine.removeprefix("unix://"))
    async with asyncio.timeout(60):
        while (await python_availability(settings)).reason:
            pass
    tool = await python_tool(settings)
    assert not isinstance(tool, str), tool
    await tool.close()


async def test_41_a_missing_image_is_told_apart(python_settings: ToolSettings) -> None:
    settings = python_settings.model_copy(update={"python_image": "harmony-ls/not-there:1"})
    answer = await python_availability(settings)
    assert answer.missing_image == "harmony-ls/not-there:1"
    assert answer.reason == await python_tool(settings)
    assert (await python_availability(python_settings)).reason == ""


async def test_41_a_name_that_no_image_can_have_is_a_reason(python_settings: ToolSettings) -> None:
    for image in ("no image/", "a:b:c", "?x=1"):
        answer = await python_availability(python_settings.model_copy(update={"python_image": image}))
        assert image in answer.reason


async def test_46_all_who_ask_within_seconds_share_one_answer(tmp_path: Path) -> None:
    n_asked = 0

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal n_asked
        n_asked += 1
        writer.close()

    path = tmp_path / "s"
    settings = ToolSettings(docker_host=f"unix://{path}")
    async with await asyncio.start_unix_server(hang_up, path):
        answers = await asyncio.gather(*(python_availability(settings) for _ in range(20)))
        assert n_asked == 1
        assert len(set(answers)) == 1
        forget_answers()
        await python_availability(settings)
        assert n_asked == 2


async def test_40_an_engine_that_hangs_costs_those_who_ask_little_time(tmp_path: Path) -> None:
    """It is asked once, and what it did not answer holds for a long while."""
    n_asked = 0

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal n_asked
        n_asked += 1
        while await reader.read(100):
            pass
        writer.close()

    path = tmp_path / "s"
    settings = ToolSettings(docker_host=f"unix://{path}")
    async with await asyncio.start_unix_server(hang, path), asyncio.timeout(10):
        first = await python_availability(settings)
        assert "timed out" in first.reason
        for _ in range(100):
            assert await python_availability(settings) == first
    assert n_asked == 1


@pytest.mark.parametrize("host", ["tcp://10.0.0.1:2375", "ssh://me@example.org"])
async def test_42_another_machine_in_the_environment_is_a_reason(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setenv("DOCKER_HOST", host)
    assert (await python_availability(ToolSettings())).reason.startswith(f"DOCKER_HOST is {host}")


def test_40_asking_imports_no_docker(tmp_path: Path) -> None:
    """Its import takes longer than all that is asked."""
    program = (
        "import asyncio, sys\n"
        "from harmony_ls.settings.models import ToolSettings\n"
        "from harmony_ls.tools.python import python_availability\n"
        f"settings = ToolSettings(docker_host='unix://{tmp_path}/none.sock')\n"
        "assert asyncio.run(python_availability(settings)).reason\n"
        "assert 'docker' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def _address(settings: ToolSettings) -> str:
    from harmony_ls.tools.python.engine import address_of, connect

    client = connect(settings)
    try:
        return address_of(client)
    finally:
        client.close()
