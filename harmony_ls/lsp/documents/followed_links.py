"""Which files a path has been a link to, while it was open in an editor. What such a file is called is not judged here.

An editor that is given a link shows the file behind it, under the link's name; and when a link is put in the place of a
file that is open, it reads that one and tells of a change of the text.
"""

import asyncio
import os

from harmony_ls.workspace.links import link_targets

__all__ = ["FollowedLinks"]


class FollowedLinks:
    """What the path of one document has led to. All methods belong to one event loop; the disk is read on a thread."""

    def __init__(self) -> None:
        self._found: dict[str, None] = {}
        self._looking: asyncio.Future[tuple[str, ...]] | None = None
        self._looked_at = -1

    async def targets(self, path: str, n_changes: int) -> tuple[str, ...]:
        """All of it so far, the first first. ``n_changes`` counts the changes of the text, which call for a new look.

        Who asks first is answered first. A disk that does not answer holds one thread, however many ask.
        """
        if not os.path.isabs(path):
            return ()
        while self._looking is None or self._looked_at < n_changes:
            if self._looking is not None and not self._looking.done():
                await asyncio.wait([self._looking])
                continue
            self._looking = asyncio.get_running_loop().run_in_executor(None, link_targets, path)
            self._looked_at = n_changes
        looking = self._looking
        if not looking.done():
            await asyncio.wait([looking])
        self._found.update(dict.fromkeys(looking.result()))
        return tuple(self._found)
