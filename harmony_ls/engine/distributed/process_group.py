"""The processes that were started together: who is who, how they find each other, and what rank 0 tells the others.

What they do with a model is the matter of `harmony_ls.engine.distributed.sharding` (its weights) and
`harmony_ls.engine.distributed.mirror` (its steps).
"""

import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import Any

from harmony_ls.engine.wording import brief
from harmony_ls.errors import ModelError

__all__ = [
    "MESSAGE_INTEGERS",
    "Command",
    "dismiss_followers",
    "is_follower",
    "join_group",
    "leave_group",
    "lost_is_told",
    "rank",
    "receive",
    "send",
]

log = logging.getLogger(__name__)

MESSAGE_INTEGERS = 64
"""How long a message is, its command included."""

# Set by mlx.launch, or by mpirun where that starts the processes.
_RANK_VARIABLES = ("MLX_RANK", "OMPI_COMM_WORLD_RANK", "PMI_RANK")
# Rank 0 joins when it first loads the model. mlx's ring gives up after half a minute where it connects, and never where
# it waits to be connected to.
_JOIN_SECONDS = 300.0
_LAUNCH = "Start harmony-ls on all of them with mlx.launch."

# A process is in one group for good. Filled and emptied on the MLX thread.
_joined: list[Any] = []


class Command(IntEnum):
    """What a message asks of the other ranks. NOTE only tells what happened to caches; END is the last one."""

    LOAD = 1
    STEP = 2
    NOTE = 3
    UNLOAD = 4
    END = 5


def rank() -> int:
    """The number of this process among those that were started together; 0 for one that was started alone."""
    for name in _RANK_VARIABLES:
        if (value := os.environ.get(name, "")).isdecimal():
            return int(value)
    return 0


def is_follower() -> bool:
    """Whether this process was started to follow another: then it calls ``run_follower`` and opens no front door."""
    return rank() > 0


def join_group() -> Any:
    """The group of all processes that were started together, as mlx knows it. The first call waits for them.

    Raises ModelError where there is no other process, or one does not come.
    """
    import mlx.core as mx

    answers: list[Any] = []
    deadline = time.monotonic() + _JOIN_SECONDS

    def join() -> None:
        while not answers:
            started = time.monotonic()
            try:
                answers.append(mx.distributed.init(strict=True))
            except Exception as error:
                # What fails at once is no matter of waiting, such as a process that was started alone.
                if time.monotonic() < started + 1 or time.monotonic() > deadline:
                    answers.append(error)

    # On a thread of its own, since mlx cannot be told to give up.
    thread = threading.Thread(target=join, name="join group", daemon=True)
    thread.start()
    thread.join(_JOIN_SECONDS + 60)
    if not answers:
        raise ModelError(f"The other processes did not come within {_JOIN_SECONDS / 60:.0f} minutes. {_LAUNCH}")
    (group,) = answers
    if isinstance(group, Exception):
        raise ModelError(f"A sharded model needs several processes: {brief(group)} {_LAUNCH}") from group
    if group.size() < 2:
        raise ModelError(f"A sharded model needs several processes, and this one was started alone. {_LAUNCH}")
    _joined[:] = [group]
    return group


def leave_group() -> Any | None:
    """Say no more to the other processes; the group that was left, if there was one."""
    return _joined.pop() if _joined else None


def dismiss_followers() -> None:
    """Have the other processes end, when this one is rank 0 and in step with them. The last thing said to them."""
    if (group := leave_group()) is None:
        return
    import mlx.core as mx

    try:
        mx.eval(send(group, Command.END))
    except RuntimeError as error:
        log.info("A process that followed has ended before: %s", error)


@contextmanager
def lost_is_told() -> Iterator[None]:
    """Make a ModelError of what mlx raises where another process is gone."""
    try:
        yield
    except RuntimeError as error:
        leave_group()
        raise ModelError(
            f"A process was lost while the model was loaded: {brief(error)} Start all of them again."
        ) from error


def send(group: Any, command: Command, *content: int) -> Any:
    """Send a message to the other ranks, without waiting; who evaluates the result waits until it has been sent."""
    import mlx.core as mx

    message = [command, *content]
    sent = mx.distributed.all_sum(
        mx.array([*message, *[0] * (MESSAGE_INTEGERS - len(message))], dtype=mx.int32), group=group
    )
    mx.async_eval(sent)  # type: ignore[no-untyped-call]
    return sent


def receive(group: Any) -> list[int]:
    """Wait for the next message of rank 0. Raises RuntimeError when it has ended."""
    import mlx.core as mx

    message: Any = mx.distributed.all_sum(mx.zeros(MESSAGE_INTEGERS, dtype=mx.int32), group=group).tolist()
    return list(message)
