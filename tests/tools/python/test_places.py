"""However many conversations run Python, there are only so many containers."""

import asyncio

from docker import DockerClient

from harmony_ls.settings.models import ToolSettings
from harmony_ls.tools.python.places import Places
from tests.tools.python.support import opened


async def test_46_many_conversations_share_a_few_containers_and_who_loses_one_is_told(
    python_settings: ToolSettings, engine: DockerClient
) -> None:
    places = Places(2)
    books = [await opened(python_settings, engine, places) for _ in range(4)]
    assert await asyncio.gather(*(each.text(f"x = {n}\nx") for n, each in enumerate(books))) == ["0", "1", "2", "3"]
    assert len(books[0].containers()) == 2
    text = await books[0].text("'x' in globals()")
    assert text.startswith("[Since the last call the container was given up for another conversation: variables and ")
    assert text.endswith("are gone.]\nFalse")
    assert len(books[0].containers()) == 2
    for each in books:
        await each.tool.close()
    assert books[0].containers() == []


async def test_46_who_finds_all_containers_busy_waits_no_longer_than_a_cell_may_take(
    python_settings: ToolSettings, engine: DockerClient
) -> None:
    places = Places(1)
    busy = await opened(python_settings, engine, places)
    other = await opened(python_settings.model_copy(update={"python_seconds": 0.2}), engine, places)
    cell = asyncio.create_task(busy.run("open('/mnt/data/running', 'w').close()\nwhile True: pass"))
    await busy.has_file("/mnt/data/running")
    answer = await other.run("1")
    assert answer.is_error
    assert answer.text.startswith("[No Python: the container could not be started: all 1 containers have been busy")
    cell.cancel()
    await asyncio.wait([cell])
    assert len(busy.containers()) == 1
    for each in (busy, other):
        await each.tool.close()
    assert busy.containers() == []
