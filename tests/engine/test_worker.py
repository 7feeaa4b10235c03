"""The order in which jobs step, and how they end. Jobs are plain generators here, order is what they write down."""

import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest

from harmony_ls.engine.worker.worker import Job, Priority, Worker
from harmony_ls.errors import EngineClosedError


class PanicException(BaseException):
    """What a Rust library raises."""


class Bench:
    """A worker, the steps of its jobs in order, and their ends."""

    def __init__(self) -> None:
        self.worker = Worker()
        self.order: list[str] = []
        self.items: dict[str, list[int]] = {}
        self.ends: dict[str, list[BaseException | None]] = {}
        self._all_ended = threading.Condition()

    def job(
        self, name: str, priority: Priority, n_steps: int, at_step: Callable[[int], None] = lambda step: None
    ) -> Job[int]:
        """A job of so many steps; ``at_step`` runs within each."""

        def steps() -> Iterator[int | None]:
            for step in range(1, n_steps + 1):
                self.order.append(name)
                at_step(step)
                yield step if step % 2 else None

        return self.adopt(name, priority, steps())

    def adopt(self, name: str, priority: Priority, steps: Iterator[int | None]) -> Job[int]:
        self.items[name], self.ends[name] = [], []

        def on_end(error: BaseException | None) -> None:
            with self._all_ended:
                self.ends[name].append(error)
                self._all_ended.notify()

        return Job(priority, steps, self.items[name].append, on_end)

    def run(self, *jobs: Job[int]) -> None:
        """Queue all jobs, then start the worker and wait until every job has ended."""
        for job in jobs:
            self.worker.submit(job)
        self.worker.start()
        self.wait()

    def wait(self) -> None:
        with self._all_ended:
            assert self._all_ended.wait_for(lambda: all(self.ends.values()), timeout=60)


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    assert bench.worker.close(60)


def test_the_most_urgent_job_steps_first_whenever_it_was_submitted(bench: Bench) -> None:
    bench.run(
        bench.job("background", Priority.BACKGROUND, 3),
        bench.job("interactive", Priority.INTERACTIVE, 3),
        bench.job("inline", Priority.INLINE, 3),
    )
    assert bench.order == ["inline"] * 3 + ["interactive"] * 3 + ["background"] * 3
    assert bench.items == {name: [1, 3] for name in ("background", "interactive", "inline")}


def test_a_more_urgent_job_overtakes_at_the_next_step(bench: Bench) -> None:
    inline = bench.job("inline", Priority.INLINE, 2)
    slow = bench.job("slow", Priority.BACKGROUND, 5, lambda step: bench.worker.submit(inline) if step == 2 else None)
    bench.run(slow)
    assert bench.order == ["slow", "slow", "inline", "inline", "slow", "slow", "slow"]


def test_equals_take_turns(bench: Bench) -> None:
    bench.run(*(bench.job(name, Priority.INTERACTIVE, 4) for name in "abc"))
    assert "".join(bench.order) == "abcabcabcabc"


def test_a_newcomer_among_equals_waits_one_round_at_most(bench: Bench) -> None:
    late = bench.job("late", Priority.INTERACTIVE, 3)
    a = bench.job("a", Priority.INTERACTIVE, 6, lambda step: bench.worker.submit(late) if step == 2 else None)
    bench.run(a, bench.job("b", Priority.INTERACTIVE, 6))
    first = bench.order.index("late")
    assert first - 4 <= 1, bench.order
    rounds = [name for name in bench.order[first:] if name == "late" or name == "a"]
    assert all(left != right for left, right in pairwise(rounds[:6]))


@pytest.mark.parametrize("when", [1, 2, 7])
def test_a_cancelled_job_takes_no_further_step(bench: Bench, when: int) -> None:
    closed = []

    def steps() -> Iterator[int | None]:
        try:
            for step in range(1, 100):
                bench.order.append("job")
                if step == when:
                    bench.worker.cancel(job)
                yield step
        finally:
            closed.append(True)

    job = bench.adopt("job", Priority.INLINE, steps())
    bench.run(job)
    assert len(bench.order) == when
    assert closed == [True]
    assert bench.ends["job"] == [None]


def test_a_cancelled_job_ends_although_a_more_urgent_one_runs(bench: Bench) -> None:
    idle = bench.job("idle", Priority.BACKGROUND, 100)
    ended_by_then: list[bool] = []

    def at_step(step: int) -> None:
        if step == 3:
            bench.worker.cancel(idle)
        if step == 4:
            ended_by_then.append(bool(bench.ends["idle"]))

    bench.run(idle, bench.job("inline", Priority.INLINE, 20, at_step))
    assert ended_by_then == [True]
    assert bench.order == ["inline"] * 20


def test_a_job_that_has_not_begun_can_be_cancelled(bench: Bench) -> None:
    job = bench.job("job", Priority.INLINE, 5)
    bench.worker.cancel(job)
    bench.run(job)
    assert bench.order == []
    assert bench.ends["job"] == [None]


@pytest.mark.parametrize(
    "error", [ValueError("no"), MemoryError(), PanicException("panicked"), SystemExit(3)], ids=repr
)
def test_an_exception_ends_its_own_job_and_no_other(bench: Bench, error: BaseException) -> None:
    def fail(step: int) -> None:
        if step == 2:
            raise error

    bench.run(bench.job("bad", Priority.INTERACTIVE, 5, fail), bench.job("good", Priority.INTERACTIVE, 5))
    assert bench.ends == {"bad": [error], "good": [None]}
    assert bench.items["good"] == [1, 3, 5]


def test_an_exception_while_a_job_is_closed_is_reported(bench: Bench) -> None:
    def steps() -> Iterator[int | None]:
        try:
            bench.worker.cancel(job)
            yield 1
        finally:
            raise ValueError("while closing")

    job = bench.adopt("job", Priority.INLINE, steps())
    bench.run(job, bench.job("good", Priority.INLINE, 2))
    assert str(bench.ends["job"][0]) == "while closing"
    assert bench.ends["good"] == [None]


def test_a_listener_that_is_gone_does_not_end_the_thread(bench: Bench) -> None:
    """An event loop that was closed raises RuntimeError from call_soon_threadsafe."""

    def gone(_: object) -> None:
        raise RuntimeError("Event loop is closed")

    forsaken: Job[int] = Job(Priority.INLINE, bench.job("forsaken", Priority.INLINE, 3).steps, gone, gone)
    del bench.ends["forsaken"]
    bench.run(forsaken, bench.job("good", Priority.INTERACTIVE, 2))
    assert bench.ends["good"] == [None]


def test_an_error_keeps_nothing_of_its_job_alive(bench: Bench) -> None:
    """Frames kept by a traceback would keep arrays, which must be freed on the thread that made them."""

    class Weights:
        freed = threading.Event()

        def __del__(self) -> None:
            self.freed.set()

    def inner() -> None:
        weights = Weights()
        try:
            raise KeyError("first")
        except KeyError:
            raise ValueError(f"second {weights is None}") from None

    def steps() -> Iterator[int | None]:
        inner()
        yield None

    bench.run(bench.adopt("job", Priority.INLINE, steps()))
    assert bench.ends["job"] != [None]
    assert Weights.freed.wait(10)


def test_an_error_that_has_a_cause_and_a_context_keeps_the_frames_of_neither(bench: Bench) -> None:
    class Weights:
        freed = threading.Event()

        def __del__(self) -> None:
            self.freed.set()

    def inner() -> None:
        weights = Weights()
        raise KeyError(f"context {weights is None}")

    def steps() -> Iterator[int | None]:
        try:
            inner()
        except KeyError:
            raise ValueError("outcome") from OSError("cause")
        yield None

    bench.run(bench.adopt("job", Priority.INLINE, steps()))
    assert str(bench.ends["job"][0]) == "outcome"
    assert Weights.freed.wait(10)


def test_closing_ends_every_job_within_one_step(bench: Bench) -> None:
    begun, release = threading.Event(), threading.Event()

    def at_step(step: int) -> None:
        if step == 2:
            begun.set()
            release.wait()

    running = bench.job("running", Priority.INLINE, 100, at_step)
    bench.worker.submit(running)
    bench.worker.submit(bench.job("waiting", Priority.BACKGROUND, 100))
    bench.worker.start()
    begun.wait()
    closing = threading.Thread(target=bench.worker.close)
    closing.start()
    while not bench.worker._closing:
        pass
    release.set()
    closing.join(60)
    assert bench.order == ["running", "running"]
    assert bench.ends == {"running": [None], "waiting": [None]}
    with pytest.raises(EngineClosedError):
        bench.worker.submit(bench.job("late", Priority.INLINE, 1))


def test_closing_tells_that_a_step_takes_longer(bench: Bench) -> None:
    begun, release = threading.Event(), threading.Event()

    def at_step(step: int) -> None:
        begun.set()
        release.wait()

    bench.worker.submit(bench.job("long", Priority.INLINE, 1, at_step))
    bench.worker.start()
    begun.wait()
    assert not bench.worker.close(0.01)
    release.set()
    assert bench.worker.close(60)


def test_a_worker_that_was_never_started_closes(bench: Bench) -> None:
    assert bench.worker.close()
    assert bench.worker.close()


def test_what_runs_at_exit_runs_on_the_thread_after_the_last_job() -> None:
    seen: list[str] = []
    worker = Worker(on_exit=lambda: seen.append(threading.current_thread().name))
    ended = threading.Event()
    job: Job[int] = Job(Priority.INLINE, iter([1, 2]), lambda item: seen.append("step"), lambda error: ended.set())
    worker.submit(job)
    worker.start()
    assert ended.wait(60)
    assert worker.close(60)
    assert seen == ["step", "step", "mlx"]


def ending_of(program: str) -> tuple[int, str, str]:
    """The exit code of a process of its own, and what it writes."""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    return result.returncode, result.stdout, result.stderr


PROLOGUE = """
import atexit, threading
from harmony_ls.engine.worker.worker import Job, Priority, Worker

def use_mlx():
    import mlx.core as mx
    mx.eval(mx.random.normal((64, 64)) @ mx.random.normal((64, 64)))
    yield 1
"""

FAILING_AT_EXIT = """
def fail():
    raise SystemExit("no")

worker, ended = Worker(on_exit=fail), threading.Event()
worker.submit(Job(Priority.INLINE, use_mlx(), lambda item: None, lambda error: ended.set()))
worker.start()
ended.wait()
print(worker.close())
"""

BUSY_AT_CLOSE = """
begun, release = threading.Event(), threading.Event()

def steps():
    yield from use_mlx()
    begun.set()
    release.wait()
    yield 2

worker = Worker(on_exit=lambda: print("let go"))
worker.submit(Job(Priority.INLINE, steps(), lambda item: None, lambda error: None))
worker.start()
begun.wait()
print(worker.close(0.01))
atexit.register(release.set)
"""


def test_what_fails_at_exit_is_logged_and_streams_are_freed_all_the_same(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise ValueError("no such file")

    worker = Worker(on_exit=fail)
    worker.start()
    with caplog.at_level(logging.ERROR, "harmony_ls.engine.worker.worker"):
        assert worker.close(60)
    assert "ValueError: no such file" in caplog.text
    for _ in range(3):
        code, output, errors = ending_of(PROLOGUE + FAILING_AT_EXIT)
        assert (code, output) == (0, "True\n"), errors


def test_a_step_that_was_too_long_for_close_is_waited_for_when_the_process_ends() -> None:
    for _ in range(3):
        assert ending_of(PROLOGUE + BUSY_AT_CLOSE) == (0, "False\nlet go\n", "")


@pytest.mark.skipif(sys.platform != "linux", reason="OpenBLAS is loaded on Linux alone")
def test_a_broken_package_of_openblas_holds_up_no_job() -> None:
    program = """
import sys, types
sys.modules["scipy_openblas32"] = types.ModuleType("scipy_openblas32")
worker, ended = Worker(), threading.Event()
worker.submit(Job(Priority.INLINE, use_mlx(), print, lambda error: ended.set()))
worker.start()
ended.wait()
print(worker.blas.active or "__spec__" in worker.blas.advice)
"""
    code, output, errors = ending_of(PROLOGUE + program)
    assert (code, output, errors) == (0, "1\nTrue\n", "")
