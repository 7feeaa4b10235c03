"""Every forward step of rank 0, done by the other ranks too: a sharded network answers only if all its parts compute.

On rank 0 the network appears as `LeadingNetwork`, which the rest of the engine runs like any other. Before each step it
sends the others a message of fixed length: which key-value cache the step is for, how many tokens it feeds, and what
happened to caches since the last message (copied, trimmed, dropped). The tokens follow, perhaps not computed yet. The
others (`follow`) do the same to their caches and take the same step. Tokens are chosen on rank 0 alone.

Since every message names its cache, generations interleave, are cancelled and reuse prompt caches as with one process:
no step is begun on one rank alone. One that fails on a rank leaves the ranks out of step for good; then the model is
given up, and all processes must be started again. A process that is lost in the middle of a step ends the others.
"""

import copy
from collections import deque
from collections.abc import Generator, Iterator
from enum import IntEnum
from typing import Any, TypeVar

import mlx.core as mx
from mlx_lm.models.cache import make_prompt_cache, trim_prompt_cache

from harmony_ls.engine.distributed.process_group import MESSAGE_INTEGERS, Command, leave_group, receive, send
from harmony_ls.engine.distributed.step_watch import StepWatch, end_process
from harmony_ls.engine.wording import brief
from harmony_ls.errors import ModelError

__all__ = ["LeadingNetwork", "follow", "led"]

Item = TypeVar("Item")

# In a message: the command, the cache, the number of tokens, the number of operations, three for each of them.
_HEAD = 4
_OPERATION = 3
# A step is at most one chunk of a prompt; what takes longer than this will not end.
_STEP_SECONDS = 120.0
_MOST_OPERATIONS = (MESSAGE_INTEGERS - _HEAD) // _OPERATION


class _Operation(IntEnum):
    """What happened to a cache: COPY (of which, to which), TRIM (which, by how many tokens), DROP (which)."""

    COPY = 1
    TRIM = 2
    DROP = 3


class LeadingNetwork:
    """Rank 0's part of a sharded network, which takes the other parts with it. Used as a network of mlx-lm is."""

    def __init__(self, network: Any, group: Any) -> None:
        self._network = network
        self._group = group
        self._end = _LastNorm.within(network)
        self._ledger = _Ledger()
        self._fault = ""
        self.watch = StepWatch(_STEP_SECONDS, end_process)

    def make_cache(self) -> list[Any]:
        """Empty cache layers, followed by the name under which the other ranks have theirs."""
        return [*make_prompt_cache(self._network), _CacheName(self._ledger)]

    def __call__(self, tokens: mx.array, cache: list[Any]) -> mx.array:
        """Feed ``tokens`` (1 x n) on all ranks; the logits, not yet computed."""
        if self._fault:
            raise ModelError(self._fault)
        *layers, name = cache
        if not isinstance(name, _CacheName):
            raise TypeError("A sharded network runs one sequence at a time, in a cache of its own make_cache.")
        try:
            while len(self._ledger.operations) > _MOST_OPERATIONS:
                mx.eval(send(self._group, Command.NOTE, 0, 0, *self._ledger.take()))
            # Here the others have done the step before, and one that is gone is an error. Later mlx would wait for it.
            mx.eval(send(self._group, Command.STEP, name.number, tokens.shape[1], *self._ledger.take()))
            _shared(tokens, self._group)
            logits: mx.array = self._network(tokens, cache=layers)
            # All that the ranks exchange in this step, and in this order, whatever of it is asked for later.
            mx.async_eval(self._end.output(logits))  # type: ignore[no-untyped-call]
        except Exception as error:
            self.give_up(error)
            raise
        return logits

    def give_up(self, error: BaseException) -> None:
        """Take no further step: the other ranks may be at another one."""
        self._fault = (
            f"A step of the sharded model failed: {brief(error)} Its processes are no longer in step: start all of "
            "them again."
        )
        leave_group()

    @property
    def fault(self) -> str:
        """Why the model was given up; empty while it was not."""
        return self._fault

    def release(self) -> None:
        """Have the other ranks free their parts."""
        self.watch.close()
        if not self._fault:
            mx.eval(send(self._group, Command.UNLOAD))


def led(network: LeadingNetwork, steps: Generator[Item, None, None]) -> Iterator[Item]:
    """The steps of a generation; a failure of MLX in one of them gives the model up and becomes a ModelError."""
    try:
        while True:
            with network.watch.step():
                item = next(steps)
            yield item
    except StopIteration:
        return
    except RuntimeError as error:
        network.give_up(error)
        raise ModelError(network.fault) from error
    finally:
        steps.close()


def follow(network: Any, group: Any) -> Command:
    """Take the steps of rank 0 with this rank's part of the network; the command that ends them.

    Raises RuntimeError when rank 0 or another rank has ended.
    """
    watch = StepWatch(_STEP_SECONDS, end_process)
    try:
        return _follow(network, group, watch)
    finally:
        watch.close()


def _follow(network: Any, group: Any, watch: StepWatch) -> Command:
    end = _LastNorm.within(network)
    caches: dict[int, list[Any]] = {}
    while True:
        command, name, n_tokens, n_operations, *operations = receive(group)
        for start in range(0, n_operations * _OPERATION, _OPERATION):
            _repeat(operations[start : start + _OPERATION], caches, network)
        match command:
            case Command.STEP:
                layers = _layers(caches, name, network)
                with watch.step():
                    tokens = _shared(mx.zeros((1, n_tokens), dtype=mx.int32), group)
                    mx.eval(tokens)
                    mx.eval(end.output(network(tokens, cache=layers)))
            case Command.NOTE:
                continue
            case _:
                return Command(command)


def _shared(tokens: mx.array, group: Any) -> mx.array:
    """Rank 0's tokens, on every rank; the others give zeros. The computation has been started.

    It must not be part of the step: only the first part of a pipeline looks at tokens, but every rank takes part in
    their exchange; and where that fails, what would be looked up is no token.
    """
    shared = mx.distributed.all_sum(tokens.astype(mx.int32), group=group)
    mx.async_eval(shared)  # type: ignore[no-untyped-call]
    return shared


def _repeat(operation: list[int], caches: dict[int, list[Any]], network: Any) -> None:
    """Do to this rank's caches what rank 0 has done to its own."""
    kind, name, value = operation
    match kind:
        case _Operation.COPY:
            caches[value] = copy.deepcopy(_layers(caches, name, network))
        case _Operation.TRIM:
            trim_prompt_cache(_layers(caches, name, network), value)
        case _Operation.DROP:
            # Rank 0 also drops caches that it never used.
            caches.pop(name, None)


def _layers(caches: dict[int, list[Any]], name: int, network: Any) -> list[Any]:
    """The layers of a cache, which begins to exist when it is first heard of."""
    if name not in caches:
        caches[name] = make_prompt_cache(network)
    return caches[name]


class _Ledger:
    """What happened to caches on rank 0 and was not yet told. Caches are dropped on any thread, hence the deque."""

    def __init__(self) -> None:
        self.operations: deque[tuple[_Operation, int, int]] = deque()
        self._n_names = 0

    def new_name(self) -> int:
        """A number that no cache has had."""
        self._n_names += 1
        return self._n_names

    def take(self) -> list[int]:
        """The number of operations, then the oldest of them, as many as go into a message."""
        taken = [self.operations.popleft() for _ in range(min(len(self.operations), _MOST_OPERATIONS))]
        return [len(taken), *(value for operation in taken for value in operation)]


class _CacheName:
    """Stands behind a cache's layers as if it were one, and notes what is done to them. It holds no keys and values."""

    nbytes = 0
    state: tuple[()] = ()

    def __init__(self, ledger: _Ledger) -> None:
        self._ledger = ledger
        self.number = ledger.new_name()

    def is_trimmable(self) -> bool:
        """It is whatever the other layers are."""
        return True

    def trim(self, n_tokens: int) -> int:
        """Note that the cache was trimmed."""
        if n_tokens:
            self._ledger.operations.append((_Operation.TRIM, self.number, n_tokens))
        return n_tokens

    def __deepcopy__(self, memo: dict[int, Any]) -> "_CacheName":
        name = _CacheName(self._ledger)
        self._ledger.operations.append((_Operation.COPY, self.number, name.number))
        return name

    def __del__(self) -> None:
        self._ledger.operations.append((_Operation.DROP, self.number, 0))


class _LastNorm:
    """A network's last norm, which keeps what it gave: all of a step but the logits, which a prefill does not need."""

    def __init__(self, norm: Any) -> None:
        self._norm = norm
        self._output: mx.array | None = None

    @classmethod
    def within(cls, network: Any) -> "_LastNorm":
        """Put one in the place of the network's own, where that is where mlx-lm mostly has it."""
        holder: Any = getattr(network, "model", None)
        last = cls(getattr(holder, "norm", None))
        if last._norm is not None:
            holder.norm = last
        return last

    def __call__(self, *arguments: Any) -> Any:
        self._output = self._norm(*arguments)
        return self._output

    def output(self, logits: mx.array) -> mx.array:
        """What to evaluate so that a step is done on all ranks. It is the logits where no norm was found."""
        output, self._output = self._output, None
        return logits if output is None else output
