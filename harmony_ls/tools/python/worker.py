"""The process inside a container that runs cells, as a notebook does: one namespace, the last expression is shown.

This text is sent into the container and run there; nothing of it runs on the host. It shares its process with code
that nobody has checked, so it is believed in nothing but when a cell is over, which that code may decide anyway.
"""

from __future__ import annotations

import ast
import builtins
import errno
import inspect
import io
import linecache
import os
import signal
import socket
import struct
import sys
import traceback
import types
from contextlib import suppress
from typing import Any

__all__ = ["main"]

HEADER = struct.Struct(">cI")
REQUESTS, REPLIES, OUTPUT = 3, 4, 5
ITSELF = "<harmony-ls>"  # the name under which container.py has this text run
NO_NETWORK = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL)


def main() -> None:
    """Run one cell after the other, until the driver ends this process."""
    give_way()
    own_pid, is_running = os.getpid(), False

    def interrupt(*_: object) -> None:
        if is_running:
            raise KeyboardInterrupt

    # Kept aside, so that a cell that closes or redirects its output does not silence those after it.
    os.dup2(1, OUTPUT)
    for descriptor in (REQUESTS, REPLIES, OUTPUT):
        os.set_inheritable(descriptor, False)
    # Modules that cells import from /mnt/data are found, and those of this program were imported before.
    sys.path.insert(0, "")
    sys.argv = [""]
    module = types.ModuleType("__main__")
    module.__dict__["__builtins__"] = builtins
    sys.modules["__main__"] = module
    needed = dict(sys.modules)
    number = 0
    while True:
        signal.signal(signal.SIGINT, interrupt)
        source = read_request()
        number += 1
        for name, each in needed.items():
            sys.modules.setdefault(name, each)
        restore_streams()
        is_good = False
        try:
            is_running = True
            is_good = run_cell(source, number, module.__dict__)
        except KeyboardInterrupt:  # between the end of the code and the end of this block
            pass
        finally:
            is_running = False
        flush()
        if os.getpid() != own_pid:  # a cell forked, and this is the copy
            os._exit(0)
        os.write(REPLIES, b"%d %d\n" % (number, not is_good))


def give_way() -> None:
    """Let the driver go first, and be what the kernel kills where memory runs out."""
    with suppress(OSError):
        os.nice(5)
    with suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write("1000")


def read_request() -> str:
    kind, length = HEADER.unpack(read_exactly(HEADER.size))
    if kind == b"B":  # the driver has killed children of this process, which count until they are asked for
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
    return read_exactly(length).decode("utf-8", "surrogatepass")


def read_exactly(length: int) -> bytes:
    data = bytearray()
    while len(data) < length:
        more = os.read(REQUESTS, length - len(data))
        if not more:
            os._exit(0)
        data += more
    return bytes(data)


def restore_streams() -> None:
    """Give back streams that a cell has closed, deleted or led elsewhere."""
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        with suppress(OSError):  # a cell that closed what was kept aside has no more output, which it then is told
            os.dup2(OUTPUT, descriptor)
        stream = getattr(sys, name, None)
        if getattr(stream, "closed", True) or stream is getattr(sys, f"__{name}__"):
            raw = io.FileIO(descriptor, "w", closefd=False)
            new = io.TextIOWrapper(raw, encoding="utf-8", errors="backslashreplace", write_through=True)
            new.mode = "w"  # type: ignore[misc]
            setattr(sys, name, new)


def flush() -> None:
    for name in ("stdout", "stderr"):
        with suppress(Exception):
            getattr(sys, name).flush()


def run_cell(source: str, number: int, namespace: dict[str, Any]) -> bool:
    """Run a cell and show its last expression; False where it ended in an exception, which is then shown."""
    name = f"<cell {number}>"
    linecache.cache[name] = (len(source), None, source.splitlines(True), name)
    try:
        tree: Any = compile(source, name, "exec", ast.PyCF_ONLY_AST)
        last = None
        if tree.body and isinstance(tree.body[-1], ast.Expr) and not source.rstrip().endswith(";"):
            last = tree.body.pop()
        execute(compile(tree, name, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), namespace)
        if isinstance(last, ast.Expr):
            expression = ast.Expression(last.value)
            sys.displayhook(execute(compile(expression, name, "eval", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), namespace))
    except SystemExit as error:
        print(f"SystemExit: {error.code}", file=sys.stderr)
        return error.code in (None, 0)
    except BaseException as error:
        show(error, source)
        return False
    return True


def execute(code: types.CodeType, namespace: dict[str, Any]) -> Any:
    result = eval(code, namespace)
    if not code.co_flags & inspect.CO_COROUTINE:
        return result
    import asyncio

    loop = namespace.get("__loop__")
    if not isinstance(loop, asyncio.AbstractEventLoop) or loop.is_closed():
        loop = namespace["__loop__"] = asyncio.new_event_loop()
    task = loop.create_task(result)
    try:
        return loop.run_until_complete(task)
    except BaseException:
        if not task.done():
            task.cancel()
            with suppress(asyncio.CancelledError):
                loop.run_until_complete(task)
        raise


def show(error: BaseException, source: str) -> None:
    """Print a traceback from the first line of the cell on, and what a container explains of it."""
    try:
        told = traceback.TracebackException.from_exception(error)
        leave_out_own_frames(told, set())
        text = "".join(told.format() if told.stack else told.format_exception_only())
    except BaseException as fault:
        text = f"{type(error).__name__} (the traceback cannot be shown: {type(fault).__name__})\n"
    with suppress(Exception):
        text += "".join(f"({hint})\n" for hint in hints(error, source))
    try:
        print(text, end="", file=sys.stderr)
    except Exception:
        with suppress(OSError):
            os.write(OUTPUT, text.encode("utf-8", "backslashreplace"))


def leave_out_own_frames(told: traceback.TracebackException, seen: set[int]) -> None:
    if id(told) in seen:
        return
    seen.add(id(told))
    if told.stack is not None:
        told.stack[:] = [frame for frame in told.stack if frame.filename != ITSELF]
    others = (told.__cause__, told.__context__, *(getattr(told, "exceptions", None) or ()))
    for other in filter(None, others):
        leave_out_own_frames(other, seen)


def hints(error: BaseException, source: str) -> list[str]:
    """What a model cannot know of the place in which its code failed."""
    chain: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in chain:
        chain.append(current)
        current = current.__cause__ or current.__context__
    found = []
    numbers = {each.errno for each in chain if isinstance(each, OSError)}
    if any(isinstance(each, socket.gaierror) for each in chain) or numbers.intersection(NO_NETWORK):
        found.append("There is no network in here.")
    if errno.EROFS in numbers:
        found.append("Only /mnt/data and /tmp can be written to.")
    if errno.ENOSPC in numbers:
        found.append("The space for files is used up. What is there takes memory; delete what is not needed.")
    if errno.EAGAIN in numbers and any(isinstance(each, BlockingIOError) for each in chain):
        found.append("Perhaps there are too many processes or threads; their number is limited.")
    if any(isinstance(each, ModuleNotFoundError) for each in chain):
        found.append("Only what is installed already can be imported; nothing can be installed.")
    if isinstance(error, SyntaxError) and any(line.lstrip().startswith(("%", "!")) for line in source.splitlines()):
        found.append("The % and ! commands of IPython are not known here; this is plain Python.")
    return found
