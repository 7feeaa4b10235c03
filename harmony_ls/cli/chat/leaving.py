"""How the chat ends when it is told to from outside, or when its terminal goes away. It closes nothing itself."""

import contextlib
import os
import signal
from collections.abc import Iterator, Sequence
from types import FrameType

__all__ = ["HUNG_UP", "ends_on_signals", "quietly_without_terminal"]

_STANDARD_STREAMS = (0, 1, 2)

HUNG_UP = 129
"""The exit code after the terminal was closed: what a shell makes of SIGHUP, which has the number 1."""


@contextlib.contextmanager
def ends_on_signals() -> Iterator[None]:
    """Raise SystemExit with the exit code of a shell, 128 and the number, when told to end or when the terminal goes.

    Only once: nothing interrupts what then closes everything. What a shell has set to be ignored stays ignored
    (``nohup``).
    """
    terminals = _terminals()
    is_leaving = False

    def leave(number: int, _frame: FrameType | None) -> None:
        nonlocal is_leaving
        if number != signal.SIGTERM:
            _let_go(terminals)
        if not is_leaving:
            is_leaving = True
            raise SystemExit(128 + number)

    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    try:
        for number, handler in before.items():
            if handler is not signal.SIG_IGN:
                signal.signal(number, leave)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def quietly_without_terminal() -> Iterator[None]:
    """Raise SystemExit instead of the OSError of a terminal that is gone: nobody is left to be told of it."""
    terminals = _terminals()
    try:
        yield
    except OSError:
        if all(os.isatty(number) for number in terminals):
            raise
        _let_go(terminals)
        raise SystemExit(HUNG_UP) from None


def _terminals() -> tuple[int, ...]:
    return tuple(number for number in _STANDARD_STREAMS if os.isatty(number))


def _let_go(terminals: Sequence[int]) -> None:
    """Have the standard streams lead nowhere, where a terminal was: what is still written must not fail."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in terminals:
        os.dup2(nowhere, number)
    os.close(nowhere)
