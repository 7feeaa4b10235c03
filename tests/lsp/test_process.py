"""How the process begins and ends, and what it lets nobody do to its streams.

Tests named d77 to d94 are numbered robustness cases.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import psutil
import pytest

from tests.lsp import peer as peers
from tests.lsp.peer import SERVER, Peer, frame, handshake
from tests.models import Rule

# These are about a process that begins as an editor begins it.
starting = partial(peers.starting, is_fresh=True)

INITIALIZE = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"processId": None, "capabilities": {}}}
URI = "file:///process.py"


async def code_of(peer: Peer, message_id: int) -> int:
    return int((await peer.wait_for_answer(message_id))["error"]["code"])


async def busy(peer: Peer, model: Path) -> None:
    """Have a server generate hundreds of tokens."""
    settings = {"maxTokens": 512, "maxLines": 100, "eagerness": "eager", "deadlineMs": 10000}
    await handshake(peer, options={"model": str(model), "inlineCompletion": settings})
    peer.open(URI, "def f(x):\n    return ")
    await peer.notified(lambda method, params: method == "harmony/status" and params["state"] in ("ready", "error"))
    place = {"line": 1, "character": 11}
    peer.send_request(
        "textDocument/inlineCompletion",
        {"textDocument": {"uri": URI}, "position": place, "context": {"triggerKind": 1}},
    )


async def test_initialize_is_answered_before_anything_is_loaded() -> None:
    async with starting() as peer:
        result = await peer.initialize()
        process = psutil.Process(peer.process.pid)
        times = process.cpu_times()
        assert result["serverInfo"]["name"] == "harmony-ls"
        assert result["capabilities"]["inlineCompletionProvider"] == {}
        if sys.platform == "linux":  # elsewhere the libraries of another process are not told
            assert not any("mlx" in each.path for each in process.memory_maps())
        # Of the processor, since the time on the clock is that of all who share the machine.
        assert times.user + times.system < 1
        assert await peer.shutdown() == 0


async def test_the_encoding_that_the_client_was_told_counts() -> None:
    """Though the server, which reads more of the message than the greeting does, cannot read all of it."""
    general = {"positionEncodings": ["utf-8"], "staleRequestSupport": {"cancel": True}}
    async with starting() as peer:
        await handshake(peer, capabilities={"general": general})
        assert peer.encoding == "utf-8"
        assert (await peer.doctor())["client"]["positionEncoding"] == "utf-8"
        assert await peer.shutdown() == 0


@pytest.mark.parametrize("transport", [["--stdio"], ["--tcp", "127.0.0.1:0"]], ids=str)
def test_a_log_file_that_cannot_be_written(transport: list[str], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    log = tmp_path / "file" / "log"
    command = [*SERVER, *transport, "--log-file", str(log)]
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    assert result.returncode == 1
    assert f"The log file {log} cannot be written" in result.stderr
    assert "Traceback" not in result.stderr
    assert "listen" not in result.stderr


async def test_d94_requests_at_the_wrong_time() -> None:
    async with starting() as peer:
        peer.send({"jsonrpc": "2.0", "id": 7, "method": "harmony/doctor", "params": {}})
        assert await code_of(peer, 7) == -32002
        peer.send({"jsonrpc": "2.0", "id": 8, "method": "shutdown"})
        assert await code_of(peer, 8) == -32002
        await handshake(peer)
        assert "result" in await peer.wait_for_answer(peer.send_request("shutdown", None))
        peer.send({"jsonrpc": "2.0", "id": 9, "method": "harmony/doctor", "params": {}})
        assert await code_of(peer, 9) == -32600
        peer.send({"jsonrpc": "2.0", "id": 10, "method": "initialize", "params": INITIALIZE["params"]})
        assert await code_of(peer, 10) == -32600
        peer.notify("exit", None)
        assert await peer.ended() == 0
        assert max(peer.answers.values()) == 1


async def test_messages_that_do_not_wait_for_the_handshake() -> None:
    """A client that sends everything in one go gets every answer, in spite of the rules it breaks."""
    async with starting() as peer:
        document = {"uri": URI, "languageId": "python", "version": 1, "text": "x = 1\n"}
        peer.send_bytes(
            frame(INITIALIZE | {"id": 100})
            + frame({"jsonrpc": "2.0", "method": "initialized", "params": {}})
            + frame({"jsonrpc": "2.0", "method": "textDocument/didOpen", "params": {"textDocument": document}})
            + frame({"jsonrpc": "2.0", "id": 101, "method": "harmony/doctor"})
            + frame({"jsonrpc": "2.0", "id": 102, "method": "shutdown"})
        )
        report = (await peer.wait_for_answer(101))["result"]
        assert [each["uri"] for each in report["documents"]] == [URI]
        await peer.wait_for_answer(102)
        assert peer.answers == {100: 1, 101: 1, 102: 1}
        peer.notify("exit", None)
        assert await peer.ended() == 0


@pytest.mark.parametrize(
    ("last_words", "exit_code"),
    [
        pytest.param([], 1, id="the input ends"),
        pytest.param(["exit"], 1, id="exit without shutdown"),
        pytest.param(["shutdown", "exit"], 0, id="shutdown and exit"),
        pytest.param(["shutdown"], 0, id="the input ends after shutdown"),
    ],
)
async def test_d77_exit_codes(last_words: list[str], exit_code: int) -> None:
    async with starting() as peer:
        await handshake(peer)
        for method in last_words:
            if method == "exit":
                peer.notify(method, None)
            else:
                await peer.request(method, None)
        peer.process.stdin.close()  # type: ignore[union-attr]
        assert await peer.ended() == exit_code


async def test_a_client_that_never_initialises() -> None:
    async with starting() as peer:
        peer.send_bytes(b"\x00" * 1000)
        peer.process.stdin.close()  # type: ignore[union-attr]
        assert await peer.ended() == 1
        assert peer.received == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_d77_signals(number: signal.Signals) -> None:
    async with starting() as peer:
        await handshake(peer)
        await peer.doctor()
        peer.process.send_signal(number)
        assert await peer.ended() == 128 + number


async def test_d77_the_input_ends_during_a_generation(tiny_llama: Path) -> None:
    async with starting() as peer:
        await busy(peer, tiny_llama)
        started = time.perf_counter()
        peer.process.stdin.close()  # type: ignore[union-attr]
        assert await peer.ended() == 1
        assert time.perf_counter() - started < 5 + os.getloadavg()[0]


async def test_d92_shutdown_during_a_generation(tiny_llama: Path) -> None:
    async with starting() as peer:
        await busy(peer, tiny_llama)
        started = time.perf_counter()
        assert await peer.shutdown() == 0
        assert time.perf_counter() - started < 5 + os.getloadavg()[0]
        assert set(peer.answers.values()) == {1}


EDITOR = """
import json, os, subprocess, sys
model, *command = sys.argv[1:]
server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, close_fds=False)
os.set_inheritable(server.stdin.fileno(), True)
# Something else of the editor's holds the pipe open, so the server sees no end of input.
sibling = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], close_fds=False)

def send(**message):
    body = json.dumps({"jsonrpc": "2.0"} | message).encode()
    server.stdin.write(b"Content-Length: %d\\r\\n\\r\\n" % len(body) + body)
    server.stdin.flush()

def wait_for(text):
    seen = b""
    while text not in seen:
        seen += server.stdout.read1()

inline = {"maxTokens": 512, "maxLines": 100, "eagerness": "eager"}
options = {"model": model, "inlineCompletion": inline}
params = {"processId": os.getpid(), "capabilities": {}, "initializationOptions": options}
send(id=1, method="initialize", params=params)
send(method="initialized", params={})
send(id=2, method="harmony/doctor")
wait_for(b'"id":2')
if model:
    item = {"uri": "file:///a.py", "languageId": "python", "version": 1, "text": "def f(x):\\n    return "}
    place = {"textDocument": item, "position": {"line": 1, "character": 11}, "context": {"triggerKind": 1}}
    send(method="textDocument/didOpen", params={"textDocument": item})
    wait_for(b'"ready"')
    send(id=3, method="textDocument/inlineCompletion", params=place)
print(server.pid, sibling.pid, flush=True)
server.wait()
"""


@pytest.mark.parametrize("at_work", [False, True], ids=["idle", "mid-generation"])
def test_d82_editor_killed(tiny_llama: Path, at_work: bool) -> None:
    """The server goes with its editor, though a sibling process holds its input open."""
    command = [sys.executable, "-c", EDITOR, str(tiny_llama) if at_work else "", *SERVER]
    editor = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert editor.stdout is not None
    server, sibling = (psutil.Process(int(pid)) for pid in editor.stdout.readline().split())
    try:
        editor.kill()
        killed = time.perf_counter()
        gone, _ = psutil.wait_procs([server], timeout=30)
        assert gone == [server]
        assert time.perf_counter() - killed < 2 + os.getloadavg()[0]
        assert sibling.is_running()
    finally:
        sibling.kill()
        editor.wait()
        editor.stdout.close()


def test_a_process_that_cannot_be_seen_is_not_watched() -> None:
    """An editor outside of the server's container names a process that does not exist inside."""
    message = INITIALIZE | {"params": {"processId": 2**22 + 1, "capabilities": {}}}
    shutdown = {"jsonrpc": "2.0", "id": 2, "method": "shutdown"}
    leave = {"jsonrpc": "2.0", "method": "exit"}
    data = frame(message) + frame(shutdown) + frame(leave)
    result = subprocess.run(SERVER, input=data, capture_output=True, timeout=60)
    assert result.returncode == 0
    assert result.stdout.count(b"Content-Length") == 2


NOISE = """

import ctypes, os, subprocess, sys
print("printed", flush=True)
os.write(1, b"written to descriptor 1\\n")
ctypes.CDLL(None).puts(b"put by C")
ctypes.CDLL(None).fflush(None)
subprocess.run([sys.executable, "-S", "-c", "print('by a child')"])
"""


@pytest.fixture
def noisy_model(scripted_model: Callable[[Sequence[Rule]], Path]) -> Path:
    """A model whose own code prints while it is loaded."""
    folder = scripted_model([Rule("x = ", "1")])
    with (folder / "scripted.py").open("a", encoding="utf-8") as architecture:
        architecture.write(NOISE)
    return folder


async def test_d79_what_prints_does_not_reach_the_client(noisy_model: Path) -> None:
    """Python, descriptors, C and child processes: all of it lands on stderr."""
    async with starting("--trust-remote-code", stderr=subprocess.PIPE) as peer:
        await handshake(peer, options={"model": str(noisy_model)})
        peer.open(URI, "x = ")
        status = await peer.notified(
            lambda method, params: method == "harmony/status" and params["state"] in ("ready", "error")
        )
        assert status["state"] == "ready", status
        await peer.doctor()
        assert await peer.shutdown() == 0
        noise = await peer.process.stderr.read()  # type: ignore[union-attr]
        for kind in (b"printed", b"written to descriptor 1", b"put by C", b"by a child"):
            assert kind in noise
        assert all("jsonrpc" in message for message in peer.received)


def test_d77_a_client_that_reads_nothing() -> None:
    """Answers pile up in the pipe; the server still sees its input end."""
    reading, writing = os.pipe()
    server = subprocess.Popen(SERVER, stdin=subprocess.PIPE, stdout=writing)
    requests = [frame({"jsonrpc": "2.0", "id": number, "method": "harmony/doctor"}) for number in range(2, 400)]
    server.communicate(frame(INITIALIZE) + b"".join(requests), timeout=60)
    assert server.returncode == 1
    os.close(writing)
    os.close(reading)


def test_stdout_closed_by_the_client() -> None:
    """A client that closes its end of our output and leaves properly gets exit code 0."""
    reading, writing = os.pipe()
    os.close(reading)
    server = subprocess.Popen(SERVER, stdin=subprocess.PIPE, stdout=writing)
    os.close(writing)
    leave = frame({"jsonrpc": "2.0", "id": 2, "method": "shutdown"}) + frame({"jsonrpc": "2.0", "method": "exit"})
    server.communicate(frame(INITIALIZE) + leave, timeout=60)
    assert server.returncode == 0


def test_stderr_that_nobody_reads() -> None:
    """Warnings that fill the pipe of stderr stop nothing."""
    reading, writing = os.pipe()
    server = subprocess.Popen(
        [*SERVER, "--log-level", "debug"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=writing
    )
    os.close(writing)
    broken = frame({"jsonrpc": "2.0", "method": "textDocument/didChange", "params": {"x": "y"}})
    leave = frame({"jsonrpc": "2.0", "id": 2, "method": "shutdown"}) + frame({"jsonrpc": "2.0", "method": "exit"})
    output, _ = server.communicate(frame(INITIALIZE) + broken * 3000 + leave, timeout=60)
    assert server.returncode == 0
    assert output.count(b"Content-Length") >= 2
    os.close(reading)


def test_started_without_streams() -> None:
    """No stderr, and an input that is empty: it ends, and says nothing on stdout."""
    program = "import os, sys; os.close(2); os.execv(sys.executable, sys.argv[1:])"
    result = subprocess.run([sys.executable, "-c", program, *SERVER], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    assert (result.returncode, result.stdout) == (1, b"")


def test_input_from_a_file(tmp_path: Path) -> None:
    """Files are no pipes, but a recorded session can be played back from one to another."""
    recording, output = tmp_path / "in", tmp_path / "out"
    leave = frame({"jsonrpc": "2.0", "id": 2, "method": "shutdown"}) + frame({"jsonrpc": "2.0", "method": "exit"})
    recording.write_bytes(frame(INITIALIZE) + leave)
    with recording.open("rb") as stdin, output.open("wb") as stdout:
        assert subprocess.run(SERVER, stdin=stdin, stdout=stdout).returncode == 0
    assert output.read_bytes().count(b"Content-Length") == 2
    assert json.loads(output.read_bytes().rpartition(b"\r\n")[2])["result"] is None
