"""The image is fetched once, from a real registry of images on this machine, with progress, and only when asked to."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from docker import DockerClient

from harmony_ls.errors import UserError
from harmony_ls.settings.models import ToolSettings
from harmony_ls.tools.python import fetch_image, image_to_fetch, python_tool
from tests.tools.python.image_registry import N_BYTES, Stall, serving


@pytest.fixture
async def fetched(python_settings: ToolSettings, engine: DockerClient) -> AsyncIterator[ToolSettings]:
    """Settings with an image that only the registry has."""
    async with serving(engine) as image:
        yield python_settings.model_copy(update={"python_image": image})


async def test_41_an_image_is_fetched_with_progress_when_that_is_asked_for(fetched: ToolSettings) -> None:
    assert await image_to_fetch(fetched) == fetched.python_image
    assert isinstance(await python_tool(fetched), str), "making the tool fetches nothing"
    assert await image_to_fetch(fetched) == fetched.python_image
    told: list[tuple[int, int]] = []
    await fetch_image(fetched, lambda done, total: told.append((done, total)))
    assert told[-1][0] == told[-1][1] >= N_BYTES
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert await image_to_fetch(fetched) is None


async def test_41_what_cannot_be_fetched_is_an_error_that_tells_how_to_do_without_a_network(
    fetched: ToolSettings,
) -> None:
    image = f"{fetched.python_image}-not-there"
    settings = fetched.model_copy(update={"python_image": image})
    with pytest.raises(UserError, match=r"could not be fetched: .*Without a network: `docker pull") as caught:
        await fetch_image(settings, lambda _done, _total: None)
    assert "`docker load -i image.tar` here" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("in_layer", [False, True])
async def test_41_a_fetch_that_is_cancelled_hangs_up_at_once(
    python_settings: ToolSettings, engine: DockerClient, in_layer: bool
) -> None:
    """Also where neither the registry nor the engine says anything, for which nobody should have to wait."""
    stall = Stall(in_layer=in_layer)
    async with serving(engine, stall) as image:
        settings = python_settings.model_copy(update={"python_image": image})
        fetching = asyncio.ensure_future(fetch_image(settings, lambda _done, _total: None))
        async with asyncio.timeout(30):
            await stall.is_reached.wait()
            fetching.cancel()
            async with asyncio.timeout(2):
                with pytest.raises(asyncio.CancelledError):
                    await fetching
        assert await image_to_fetch(settings) == settings.python_image


async def test_41_without_an_engine_nothing_is_offered(python_settings: ToolSettings) -> None:
    nowhere = python_settings.model_copy(update={"docker_host": "unix:///nowhere.sock"})
    assert await image_to_fetch(nowhere) is None
