"""The image is fetched once, from a real registry of images on this machine, with progress, and only when asked to."""

import asyncio
import gzip
import hashlib
import io
import json
import os
import tarfile
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from docker import DockerClient
from docker.errors import ImageNotFound

from harmony_ls.errors import UserError
from harmony_ls.settings.models import ToolSettings
from harmony_ls.tools.python import fetch_image, image_to_fetch, python_tool

N_BYTES = 3_000_000
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


class Stall:
    """Where a registry falls silent: before it says what the image is, or in the middle of its layer."""

    def __init__(self, *, in_layer: bool) -> None:
        self.in_layer = in_layer
        self.is_reached, self.is_over = asyncio.Event(), asyncio.Event()

    async def answer(self, request: web.Request, data: bytes) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": str(len(data))})
        if self.in_layer:
            await response.prepare(request)
            await response.write(data[: len(data) // 2])
        self.is_reached.set()
        await self.is_over.wait()
        return response


def registry(stalls: "Stall | None" = None) -> web.Application:
    """One image with one layer, as the registry protocol of Docker serves it; it may stall in the middle."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as archive:
        entry = tarfile.TarInfo("noise")
        entry.size = N_BYTES
        archive.addfile(entry, io.BytesIO(os.urandom(N_BYTES)))
    packed = gzip.compress(layer.getvalue(), 1)
    root = {"type": "layers", "diff_ids": [digest(layer.getvalue())]}
    config = json.dumps({"architecture": "amd64", "os": "linux", "config": {}, "rootfs": root}).encode()
    described = {"schemaVersion": 2, "mediaType": MANIFEST}
    described["config"] = {
        "mediaType": "application/vnd.docker.container.image.v1+json",
        "size": len(config),
        "digest": digest(config),
    }
    tar = "application/vnd.docker.image.rootfs.diff.tar.gzip"
    described["layers"] = [{"mediaType": tar, "size": len(packed), "digest": digest(packed)}]
    manifest = json.dumps(described).encode()
    contents = {digest(config): config, digest(packed): packed, digest(manifest): manifest, "1": manifest}

    async def version(_: web.Request) -> web.Response:
        return web.json_response({})

    async def content(request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        if name not in contents:
            raise web.HTTPNotFound
        if stalls is not None and name == (digest(packed) if stalls.in_layer else "1"):
            return await stalls.answer(request, packed)
        kind = MANIFEST if contents[name] is manifest else "application/octet-stream"
        headers = {"Docker-Content-Digest": digest(contents[name])}
        return web.Response(body=contents[name], content_type=kind, headers=headers)

    application = web.Application()
    application.router.add_get("/v2/", version)
    application.router.add_get("/v2/noise/manifests/{name}", content)
    application.router.add_get("/v2/noise/blobs/{name}", content)
    return application


@pytest.fixture
async def fetched(python_settings: ToolSettings, engine: DockerClient) -> AsyncIterator[ToolSettings]:
    """Settings with an image that only the registry has. An engine takes those of its own machine without TLS."""
    server = TestServer(registry(), host="127.0.0.1")
    await server.start_server()
    image = f"127.0.0.1:{server.port}/noise:1"
    yield python_settings.model_copy(update={"python_image": image})
    await server.close()
    with suppress(ImageNotFound):
        engine.images.remove(image)


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
async def test_41_a_fetch_that_is_cancelled_hangs_up_at_once(python_settings: ToolSettings, in_layer: bool) -> None:
    """Also where neither the registry nor the engine says anything, for which nobody should have to wait."""
    stall = Stall(in_layer=in_layer)
    server = TestServer(registry(stall), host="127.0.0.1")
    await server.start_server()
    settings = python_settings.model_copy(update={"python_image": f"127.0.0.1:{server.port}/noise:1"})
    fetching = asyncio.ensure_future(fetch_image(settings, lambda _done, _total: None))
    try:
        async with asyncio.timeout(30):
            await stall.is_reached.wait()
            fetching.cancel()
            async with asyncio.timeout(2):
                with pytest.raises(asyncio.CancelledError):
                    await fetching
        assert await image_to_fetch(settings) == settings.python_image
    finally:
        stall.is_over.set()
        await server.close()


async def test_41_without_an_engine_nothing_is_offered(python_settings: ToolSettings) -> None:
    nowhere = python_settings.model_copy(update={"docker_host": "unix:///nowhere.sock"})
    assert await image_to_fetch(nowhere) is None
