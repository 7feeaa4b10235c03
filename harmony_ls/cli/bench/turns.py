"""Two measurements that are compared, made in turns, so that whatever else the machine does meets both alike."""

from collections.abc import Awaitable, Callable

__all__ = ["in_turns"]


async def in_turns(
    n_pairs: int,
    ours: Callable[[], Awaitable[object]],
    theirs: Callable[[], Awaitable[object]],
    advance: Callable[[], None],
) -> None:
    """Make both ``n_pairs`` times, in turns which is first, and ``advance`` after each pair."""
    for pair in range(n_pairs):
        for measure in (ours, theirs) if pair % 2 == 0 else (theirs, ours):
            await measure()
        advance()
