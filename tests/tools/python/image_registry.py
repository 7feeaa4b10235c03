"""A registry of images on this machine, with one image that no engine has. It may fall silent."""

import asyncio
import gzip
import hashlib
import io
import json
import os
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from aiohttp import web
from aiohttp.test_utils import TestServer
from docker import DockerClient
from docker.errors import ImageNotFound

__all__ = ["N_BYTES", "Stall", "serving"]

N_BYTES = 3_000_000
_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


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


@asynccontextmanager
async def serving(engine: DockerClient, stall: Stall | None = None) -> AsyncIterator[str]:
    """The name of an image that only a registry of this machine has. An engine takes such images without TLS."""
    server = TestServer(_registry(stall), host="127.0.0.1")
    await server.start_server()
    image = f"127.0.0.1:{server.port}/noise:1"
    try:
        yield image
    finally:
        if stall is not None:
            stall.is_over.set()
        await server.close()
        with suppress(ImageNotFound):
            engine.images.remove(image)


def _registry(stall: Stall | None) -> web.Application:
    """One image with one layer, as the registry protocol of Docker serves it; it may stall in the middle."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as archive:
        entry = tarfile.TarInfo("noise")
        entry.size = N_BYTES
        archive.addfile(entry, io.BytesIO(os.urandom(N_BYTES)))
    packed = gzip.compress(layer.getvalue(), 1)
    root = {"type": "layers", "diff_ids": [_digest(layer.getvalue())]}
    config = json.dumps({"architecture": "amd64", "os": "linux", "config": {}, "rootfs": root}).encode()
    described = {"schemaVersion": 2, "mediaType": _MANIFEST}
    described["config"] = {
        "mediaType": "application/vnd.docker.container.image.v1+json",
        "size": len(config),
        "digest": _digest(config),
    }
    tar = "application/vnd.docker.image.rootfs.diff.tar.gzip"
    described["layers"] = [{"mediaType": tar, "size": len(packed), "digest": _digest(packed)}]
    manifest = json.dumps(described).encode()
    contents = {_digest(config): config, _digest(packed): packed, _digest(manifest): manifest, "1": manifest}

    async def version(_: web.Request) -> web.Response:
        return web.json_response({})

    async def content(request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        if name not in contents:
            raise web.HTTPNotFound
        if stall is not None and name == (_digest(packed) if stall.in_layer else "1"):
            return await stall.answer(request, packed)
        kind = _MANIFEST if contents[name] is manifest else "application/octet-stream"
        headers = {"Docker-Content-Digest": _digest(contents[name])}
        return web.Response(body=contents[name], content_type=kind, headers=headers)

    application = web.Application()
    application.router.add_get("/v2/", version)
    application.router.add_get("/v2/noise/manifests/{name}", content)
    application.router.add_get("/v2/noise/blobs/{name}", content)
    return application


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
