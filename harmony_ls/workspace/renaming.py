"""Renames that overwrite nothing: two names that change places in one step, and a name that must be free.

The rename that Python has would silently replace what somebody else has put there in the same moment. Systems and file
systems that cannot do these say so, and the caller finds another way.
"""

import ctypes
import errno
import os
import sys
from collections.abc import Callable
from functools import lru_cache

__all__ = ["rename_exchange", "rename_to_free"]

# The numbers are those of <linux/fs.h> and of macOS's <sys/stdio.h>.
_FUNCTION, _TO_FREE, _EXCHANGE = ("renameatx_np", 4, 2) if sys.platform == "darwin" else ("renameat2", 1, 2)
# A file system that does not know a flag answers EINVAL, an old kernel ENOSYS, a sandbox that knows neither EPERM.
_UNKNOWN = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EPERM)


def rename_exchange(folder: int, one: str, other: str) -> bool:
    """Let two names of a folder change places. False where that cannot be done here; raises OSError for a name that
    there is not, among others."""
    return _renamed(folder, one, other, _EXCHANGE)


def rename_to_free(folder: int, old: str, new: str) -> bool:
    """Rename within a folder. False where it cannot be done like this here; raises FileExistsError where the new name
    is taken."""
    return _renamed(folder, old, new, _TO_FREE)


def _renamed(folder: int, old: str, new: str, flag: int) -> bool:
    function = _function()
    if function is None:
        return False
    if function(folder, os.fsencode(old), folder, os.fsencode(new), flag) == 0:
        return True
    number = ctypes.get_errno()
    if number in _UNKNOWN:
        return False
    raise OSError(number, os.strerror(number), old, None, new)


@lru_cache(maxsize=1)
def _function() -> Callable[..., int] | None:
    try:
        function = getattr(ctypes.CDLL(None, use_errno=True), _FUNCTION)
    except (OSError, AttributeError):
        return None  # an older C library
    function.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
    function.restype = ctypes.c_int
    return function  # type: ignore[no-any-return]
