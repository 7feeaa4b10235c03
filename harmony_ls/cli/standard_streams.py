"""Standard streams that were closed before the program began, or fail while it writes. What is written is elsewhere."""

import os
import sys

__all__ = ["open_closed_streams", "silence_stdout"]


def open_closed_streams() -> None:
    """Have the standard streams that a shell closed (``<&-``) lead nowhere: without them Python has None instead."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            # The lowest number that is free, which is that of the stream, so that no other file becomes it by chance.
            descriptor = os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, os.fdopen(descriptor, mode, encoding="utf-8", closefd=False))


def silence_stdout() -> None:
    """Have stdout lead nowhere: what is left in its buffer must not fail again at the end of the program."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
