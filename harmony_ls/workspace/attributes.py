"""What a file is besides its text: owner, mode, access control lists and extended attributes.

A changed file is a new one in the place of the old. It takes over what it can; what the system refuses is told, and
keeps nothing from being changed. Times are not kept: the file was changed now. Nor is what the system takes away itself
from a file that is written to: capabilities, and the signature of its bytes.
"""

import ctypes
import os
import stat
import sys
from dataclasses import dataclass

__all__ = ["Attributes", "attributes_of", "take_over"]

_OF_THE_BYTES = ("security.ima", "security.evm", "security.capability")
_ACCESS_LIST = "system.posix_acl_access"
# copyfile(3) of macOS: its access control lists and extended attributes, for which Python has no functions there.
_COPYFILE_ACL, _COPYFILE_XATTR = 1 << 0, 1 << 2


@dataclass(frozen=True, slots=True)
class Attributes:
    """Those of one file. ``extended`` are read on Linux alone, where access control lists are among them."""

    status: os.stat_result
    extended: tuple[tuple[str, bytes], ...] = ()

    @property
    def mode(self) -> int:
        """The permission bits."""
        return stat.S_IMODE(self.status.st_mode)


def attributes_of(descriptor: int) -> Attributes:
    """Those of an open file."""
    return Attributes(os.fstat(descriptor), tuple(_extended(descriptor).items()))


def take_over(descriptor: int, wanted: Attributes, original: int | None) -> tuple[str, ...]:
    """Give a new file the attributes of another. Returns what could not be, in words.

    ``original`` is the other file, where it is still there: macOS copies from it what Python cannot read.
    """
    refused = _take_over_owner(descriptor, wanted.status)
    mode = wanted.mode
    if "its group" in refused:
        # The group that it has instead gets no more than everybody.
        mode = mode & ~0o070 | (mode & 0o007) << 3
    os.fchmod(descriptor, mode)
    if sys.platform == "darwin":
        return (*refused, *_copied_by_macos(original, descriptor))
    return (*refused, *_take_over_extended(descriptor, dict(wanted.extended)))


def _take_over_owner(descriptor: int, wanted: os.stat_result) -> tuple[str, ...]:
    """Only the superuser may give a file away; a group that one belongs to can be kept."""
    status = os.fstat(descriptor)
    if (status.st_uid, status.st_gid) == (wanted.st_uid, wanted.st_gid):
        return ()
    try:
        os.fchown(descriptor, wanted.st_uid, wanted.st_gid)
        return ()
    except OSError:
        refused = ("its owner",) if status.st_uid != wanted.st_uid else ()
    if status.st_gid == wanted.st_gid:
        return refused
    try:
        os.fchown(descriptor, -1, wanted.st_gid)
        return refused
    except OSError:
        return (*refused, "its group")


if sys.platform == "linux":

    def _extended(descriptor: int) -> dict[str, bytes]:
        found = {}
        try:
            for name in os.listxattr(descriptor):
                if name not in _OF_THE_BYTES:
                    found[name] = os.getxattr(descriptor, name)
        except OSError:
            pass  # a file system without them, or one that keeps some from us
        return found

    def _take_over_extended(descriptor: int, wanted: dict[str, bytes]) -> tuple[str, ...]:
        there = _extended(descriptor)
        refused = []
        if _ACCESS_LIST in there and _ACCESS_LIST not in wanted:
            # Folders give their list to what is made in them; the file that is replaced had none.
            wanted = {**wanted, _ACCESS_LIST: b""}
        for name, value in wanted.items():
            try:
                if not value and name == _ACCESS_LIST:
                    os.removexattr(descriptor, name)
                elif there.get(name) != value:
                    os.setxattr(descriptor, name, value)
            except OSError as error:
                refused.append(f"the attribute {name} ({error.strerror})")
        return tuple(refused)

else:

    def _extended(descriptor: int) -> dict[str, bytes]:
        return {}

    def _take_over_extended(descriptor: int, wanted: dict[str, bytes]) -> tuple[str, ...]:
        return ()


def _copied_by_macos(original: int | None, descriptor: int) -> tuple[str, ...]:
    if original is None:
        return ()
    try:
        function = ctypes.CDLL(None, use_errno=True).fcopyfile
    except (OSError, AttributeError):
        return ("its access control list and extended attributes",)
    function.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_uint32)
    if function(original, descriptor, None, _COPYFILE_ACL | _COPYFILE_XATTR) == 0:
        return ()
    return (f"its access control list or extended attributes ({os.strerror(ctypes.get_errno())})",)
