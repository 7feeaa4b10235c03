"""``mlx_lm.server`` as a rival: the same model in a process beside ours, asked over HTTP as an editor plugin does.

It listens on a free loopback port, with OpenBLAS loaded as in our own process. Requests are streamed and read to their
end, so that the server keeps its prompt cache; times are taken as the pieces come.
"""

import asyncio
import json
import os
import socket
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from harmony_ls.errors import UserError

__all__ = ["MlxLmServer", "RivalAnswer", "RivalError"]

_HOST = "127.0.0.1"
_START_SECONDS = 180
_ANSWER_SECONDS = 120
_ATTEMPTS = 3
_POLL_SECONDS = 0.05


class RivalError(UserError):
    """mlx_lm.server could not be started or gave no answer."""


@dataclass(frozen=True, slots=True)
class RivalAnswer:
    """What came back: milliseconds to the first text and to the whole suggestion, tokens, and the text."""

    first_token_ms: float
    total_ms: float
    prompt_tokens: int
    computed_tokens: int
    generated_tokens: int
    text: str


class MlxLmServer:
    """One server process around the model of ``folder``. Use it as an asynchronous context manager."""

    def __init__(self, folder: Path, blas_library: str = "") -> None:
        self._folder = folder
        self._environment = {"HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"}
        if blas_library:
            self._environment["LD_PRELOAD"] = blas_library
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (it lives as long as the server)
        self._process: asyncio.subprocess.Process | None = None
        self._port = 0

    @property
    def pid(self) -> int | None:
        """The server's process."""
        return None if self._process is None else self._process.pid

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stop()

    async def complete(
        self, prompt: str, *, max_tokens: int, stop: Sequence[str] = (), single_line: bool = False
    ) -> RivalAnswer:
        """Ask for a greedy completion. With ``single_line`` the suggestion is whole at its first line end.

        Raises RivalError when the server gives none.
        """
        body: dict[str, Any] = {
            "prompt": prompt,
            "max_tokens": max_tokens,
            "temperature": 0.0,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if stop:
            body["stop"] = list(stop)
        try:
            return await asyncio.wait_for(self._stream(body, single_line), _ANSWER_SECONDS)
        except (OSError, ValueError, KeyError, TimeoutError) as error:
            raise RivalError(f"mlx_lm.server gave no answer: {error!r}. {self._last_words()}") from error

    async def _stream(self, body: Mapping[str, Any], single_line: bool) -> RivalAnswer:
        started = time.perf_counter()
        reader, writer = await asyncio.open_connection(_HOST, self._port)
        try:
            writer.write(_post("/v1/completions", json.dumps(body).encode()))
            status = (await reader.readline()).split(b" ", 2)
            if status[1:2] != [b"200"]:
                rest = (await reader.read(2000)).partition(b"\r\n\r\n")[2]
                raise RivalError(f"mlx_lm.server answered {b' '.join(status).decode().strip()}: {rest.decode()[:200]}")
            text = ""
            usage: dict[str, Any] = {}
            first_at = whole_at = None
            while line := await reader.readline():
                if not line.startswith(b"data: {"):
                    continue
                chunk = json.loads(line[len(b"data: ") :])
                usage = chunk.get("usage") or usage
                for choice in chunk["choices"]:
                    if choice["text"] and first_at is None:
                        first_at = time.perf_counter()
                    text += choice["text"]
                    is_whole = choice["finish_reason"] is not None or (single_line and "\n" in text)
                    if is_whole and whole_at is None:
                        whole_at = time.perf_counter()
        finally:
            writer.close()
        ended = whole_at if whole_at is not None else time.perf_counter()
        cached = usage.get("prompt_tokens_details", {}).get("cached_tokens", 0)
        n_prompt = usage.get("prompt_tokens", 0)
        return RivalAnswer(
            first_token_ms=((first_at if first_at is not None else ended) - started) * 1000,
            total_ms=(ended - started) * 1000,
            prompt_tokens=n_prompt,
            computed_tokens=n_prompt - cached,
            generated_tokens=usage.get("completion_tokens", 0),
            text=text.split("\n")[0] if single_line else text,
        )

    async def _start(self) -> None:
        for _ in range(_ATTEMPTS):
            self._port = _free_port()
            # -P: a file of the present folder must not stand in for a module.
            command = [sys.executable, "-P", "-m", "mlx_lm", "server", "--model", str(self._folder.absolute())]
            command += ["--host", _HOST, "--port", str(self._port), "--log-level", "WARNING"]
            self._process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=self._log,
                stderr=self._log,
                env={**os.environ, **self._environment},
                start_new_session=True,
            )
            if await self._is_up():
                return
        raise RivalError(f"mlx_lm.server did not start. {self._last_words()}")

    async def _is_up(self) -> bool:
        """Wait until the server answers. False if it has ended: its port may have been taken by somebody else."""
        assert self._process is not None
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            if self._process.returncode is not None:
                return False
            try:
                reader, writer = await asyncio.open_connection(_HOST, self._port)
                writer.write(f"GET /health HTTP/1.1\r\nHost: {_HOST}\r\nConnection: close\r\n\r\n".encode())
                answer = await reader.read()
                writer.close()
                if b'"ok"' in answer:
                    return True
                if b" 503 " in answer.partition(b"\r\n")[0]:
                    # Its thread with the model has died; the process would stay and never answer.
                    raise RivalError(f"mlx_lm.server could not load the model. {self._last_words()}")
            except OSError:
                pass
            await asyncio.sleep(_POLL_SECONDS)
        raise RivalError(f"mlx_lm.server was not ready after {_START_SECONDS} seconds. {self._last_words()}")

    async def _stop(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
            try:
                await asyncio.wait_for(self._process.wait(), 5)
            except TimeoutError:
                self._process.kill()
                await self._process.wait()
        self._log.close()

    def _last_words(self) -> str:
        if self._log.closed:
            return ""
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        lines = [line for line in lines if "GET /health" not in line]
        return "Its last words: " + " / ".join(lines[-3:]) if lines else "It said nothing."


def _free_port() -> int:
    """A port that is free now: mlx_lm.server takes no port 0. Should it be taken meanwhile, another is tried."""
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _post(path: str, body: bytes) -> bytes:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {_HOST}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body
