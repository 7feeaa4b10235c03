"""How many containers there are at once, however many conversations want one. It knows conversations only as holders.

Who has not run anything for the longest time gives its container up for another; where all are running something, who
comes waits.
"""

import asyncio
from typing import Protocol
from weakref import WeakKeyDictionary

__all__ = ["N_PLACES", "NoPlaceError", "PlaceHolder", "Places", "places_of_process"]

N_PLACES = 8


class NoPlaceError(Exception):
    """All containers were busy for as long as one may wait. The message is a sentence about it."""


class PlaceHolder(Protocol):
    """Somebody with a container."""

    async def give_up(self) -> None:
        """Remove the container, which nothing runs in, and remember that."""


class Places:
    """At most ``n_places`` holders, on one event loop."""

    def __init__(self, n_places: int = N_PLACES) -> None:
        self.n_places = n_places
        self._busy: set[PlaceHolder] = set()
        self._idle: dict[PlaceHolder, None] = {}  # the one that has been so for the longest time first
        self._changed = asyncio.Condition()

    async def enter(self, holder: PlaceHolder, seconds: float) -> None:
        """Have a place, and run something in it. Raises NoPlaceError where none comes free in so many seconds."""
        try:
            async with asyncio.timeout(seconds), self._changed:
                await self._changed.wait_for(lambda: holder in self._idle or len(self._busy) < self.n_places)
                self._idle.pop(holder, None)
                self._busy.add(holder)
        except TimeoutError:
            raise NoPlaceError(
                f"all {self.n_places} containers have been busy with other conversations for {seconds:g} s"
            ) from None
        if len(self._busy) + len(self._idle) > self.n_places:
            other = next(iter(self._idle))
            del self._idle[other]
            try:
                await other.give_up()
            except BaseException:  # cancelled, so nothing runs in the place
                await self.leave(holder)
                raise

    async def rest(self, holder: PlaceHolder) -> None:
        """Nothing runs in the place any more; it is kept while nobody else needs it."""
        self._busy.discard(holder)
        self._idle[holder] = None
        await self._tell()

    async def leave(self, holder: PlaceHolder) -> None:
        """Have no place any more."""
        self._busy.discard(holder)
        self._idle.pop(holder, None)
        await self._tell()

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()


_PLACES: "WeakKeyDictionary[asyncio.AbstractEventLoop, Places]" = WeakKeyDictionary()


def places_of_process() -> Places:
    """Those that all conversations on this event loop share."""
    return _PLACES.setdefault(asyncio.get_running_loop(), Places())
