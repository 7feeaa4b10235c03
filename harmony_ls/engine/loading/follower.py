"""A process that takes part in the steps of rank 0 and does nothing else (`harmony_ls.engine.distributed.sharding`).

It has no engine, no requests and no front door. It ends when rank 0 says so, and when rank 0 is gone. Between requests
it waits inside mlx, whose ring polls: one core is kept busy.
"""

import gc
import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from harmony_ls.engine.distributed.process_group import Command, join_group, receive
from harmony_ls.engine.distributed.sharding import loading_together
from harmony_ls.engine.loading.download import find_model
from harmony_ls.engine.loading.load_progress import LoadProgress
from harmony_ls.engine.loading.loading import load_part
from harmony_ls.engine.models.model import ModelSpec
from harmony_ls.engine.wording import brief
from harmony_ls.engine.worker.blas import preload_openblas
from harmony_ls.errors import ModelError

__all__ = ["run_follower"]

log = logging.getLogger(__name__)


def run_follower(spec: ModelSpec) -> None:
    """Load this process's part of a sharded model when rank 0 does, and take its steps, until rank 0 ends.

    A process has nothing to lose that follows, so an interrupt ends it at once. Raises ModelError where there is no
    rank 0, or it ends without saying so. A part that cannot be loaded is logged, and rank 0 is told.
    """
    preload_openblas()
    import mlx.core as mx

    with _interruptible():
        try:
            _follow_group(spec, join_group())
        except RuntimeError as error:
            raise ModelError(f"Rank 0 is gone: {brief(error)} Start all processes again.") from error
        finally:
            gc.collect()
            mx.clear_streams()


def _follow_group(spec: ModelSpec, group: Any) -> None:
    from harmony_ls.engine.distributed.mirror import follow

    command = Command(receive(group)[0])
    while command is not Command.END:
        network = _load(spec, group) if command is Command.LOAD else None
        command = Command(receive(group)[0]) if network is None else follow(network, group)
        if command is Command.UNLOAD:
            log.info("Rank 0 has unloaded the model.")


def _load(spec: ModelSpec, group: Any) -> Any | None:
    """This rank's part of the network; None where it, or that of another rank, could not be loaded."""
    try:
        with loading_together(group, spec.shard) as loads:
            folder = find_model(spec.reference, _report)
            loads(folder)
            return load_part(spec, folder, _report, group)[1]
    except ModelError as error:
        log.error("%s", error)
        return None


def _report(progress: LoadProgress) -> None:
    if progress.fraction is None:
        log.info("%s", progress.message)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let an interrupt end the process while it waits inside MLX, where Python's own handler never gets to run."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
