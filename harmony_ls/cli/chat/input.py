"""Reads messages and answers from a terminal: line editing, history, completion, messages of several lines.

Line editing is Python's ``readline`` where it is there; without it the terminal's own must do. What a line means is
decided elsewhere.
"""

import contextlib
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import Any

from harmony_ls.cli.chat.history import InputHistory
from harmony_ls.errors import UserError

__all__ = ["Complete", "TerminalInput", "is_open", "silent_keys"]

Complete = Callable[[str], Sequence[str]]
"""What the word at the end of a line may become, given the line up to the cursor."""

_PROMPT = "> "
_CONTINUATION = ". "
_FENCE = re.compile(r" {0,3}```[^`]*")
# From this version on GNU readline takes what is pasted as one piece, line ends and all.
_BRACKETED_PASTE = (8, 1)


def is_open(message: str) -> bool:
    """Whether a message goes on in the next line: it ends in a backslash, or a fence of three backticks is open."""
    return _in_fence(message) or _ends_in_backslash(message)


class TerminalInput:
    """The keys of the terminal that stdin is. Only the main thread may use it.

    ``is_styled``: the terminal may be sent more than text, such as colours.
    """

    def __init__(self, history: InputHistory, complete: Complete, *, is_styled: bool) -> None:
        self._history = history
        self._complete = complete
        self._is_styled = is_styled
        self._candidates: Sequence[str] = ()
        self._readline = _readline() if sys.stdout.isatty() else None
        # A terminal must be told to mark what is pasted.
        self._takes_pastes_whole = (
            is_styled and self._readline is not None and _version(self._readline) >= _BRACKETED_PASTE
        )
        if self._readline is not None:
            self._prepare(self._readline)

    def read_message(self) -> str:
        """The next message, of one or more lines.

        Raises EOFError at the end of input, KeyboardInterrupt at Ctrl-C, UserError for what is no text. The end of
        input inside of a message ends the message.
        """
        message = self._read_line(_PROMPT)
        while True:
            if is_open(message):
                more = self._continuation()
                if more is None:
                    break
                # In code a backslash at the end means something.
                message = f"{message if _in_fence(message) else message[:-1]}\n{more}"
            elif not self._takes_pastes_whole and message.strip() and _is_waiting():
                more = self._continuation("")
                if more is None:
                    break
                message = f"{message}\n{more}"
            else:
                break
        if self._history.add(message) and self._readline is not None:
            self._readline.add_history(message)
        return message

    def ask(self, question: str) -> str:
        """The answer to a question, without blanks around it. What was typed before it was asked does not count."""
        _discard_typed_ahead()
        with _audible_keys():
            return self._read_line(question, self._read_plainly).strip()

    def _continuation(self, prompt: str = _CONTINUATION) -> str | None:
        try:
            return self._read_line(prompt)
        except EOFError:
            return None

    def _read_line(self, prompt: str, read: Callable[[str], str] | None = None) -> str:
        try:
            line = (read or self._read)(prompt)
            line.encode("utf-8")
        except UnicodeError:
            raise UserError("That was not valid UTF-8, so it was not sent. Set the terminal to UTF-8.") from None
        except OSError as error:
            raise EOFError from error  # the terminal is gone
        return line

    def _read(self, prompt: str) -> str:
        return input(self._styled(prompt)) if sys.stdout.isatty() else self._read_plainly(prompt)

    def _read_plainly(self, prompt: str) -> str:
        """Read without readline, which does not hear a Ctrl-C that comes while it writes its prompt."""
        shown = sys.stdout if sys.stdout.isatty() else sys.stderr
        shown.write(f"\033[1;36m{prompt}\033[0m" if self._is_styled and shown is sys.stdout else prompt)
        shown.flush()
        line = sys.stdin.readline()
        if not line:
            raise EOFError
        return line.removesuffix("\n")

    def _styled(self, prompt: str) -> str:
        # The control characters keep readline from counting what takes no room.
        return f"\001\033[1;36m\002{prompt}\001\033[0m\002" if self._is_styled and self._readline else prompt

    def _prepare(self, readline: ModuleType) -> None:
        readline.set_auto_history(False)
        for entry in self._history.entries:
            readline.add_history(entry)
        readline.set_completer(self._completion)
        readline.set_completer_delims(" \t\n")
        if "libedit" in (readline.__doc__ or ""):
            readline.parse_and_bind("bind ^I rl_complete")
        else:
            readline.parse_and_bind("tab: complete")
            readline.parse_and_bind(f"set enable-bracketed-paste {'on' if self._takes_pastes_whole else 'off'}")

    def _completion(self, _word: str, index: int) -> str | None:
        assert self._readline is not None
        if index == 0:
            self._candidates = self._complete(self._readline.get_line_buffer()[: self._readline.get_endidx()])
        return self._candidates[index] if index < len(self._candidates) else None


@contextlib.contextmanager
def silent_keys() -> Iterator[None]:
    """Keep the terminal from showing what is typed, which would spoil what is drawn. It waits for the next prompt.

    Keys wait as they are, not as lines: the end of input would be lost as part of a line.
    """
    with _keys(lambda termios, flags: flags & ~(termios.ECHO | termios.ICANON)):
        yield


@contextlib.contextmanager
def _audible_keys() -> Iterator[None]:
    """Let the terminal show what is typed and hand it over line by line, as it usually does."""
    with _keys(lambda termios, flags: flags | termios.ECHO | termios.ICANON):
        yield


@contextlib.contextmanager
def _keys(changed: Callable[[Any, int], int]) -> Iterator[None]:
    """Set the terminal's local flags to what ``changed`` makes of them, and back. A terminal that is gone has none."""
    termios = _termios()
    if termios is None:
        yield
        return
    before = None
    with contextlib.suppress(termios.error):
        before = termios.tcgetattr(sys.stdin.fileno())
    try:
        if before is not None:
            after = [*before[:3], changed(termios, before[3]), *before[4:]]
            with contextlib.suppress(termios.error):
                termios.tcsetattr(sys.stdin.fileno(), termios.TCSADRAIN, after)
        yield
    finally:
        if before is not None:
            with contextlib.suppress(termios.error):
                termios.tcsetattr(sys.stdin.fileno(), termios.TCSADRAIN, before)


def _in_fence(message: str) -> bool:
    return sum(_FENCE.fullmatch(line) is not None for line in message.split("\n")) % 2 == 1


def _ends_in_backslash(message: str) -> bool:
    return message.endswith("\\") and not message.endswith("\\\\")


def _readline() -> ModuleType | None:
    try:
        import readline
    except ImportError:
        return None
    return readline


def _version(readline: ModuleType) -> tuple[int, int]:
    """The version of GNU readline; (0, 0) for another library under its name."""
    if "libedit" in (readline.__doc__ or ""):
        return 0, 0
    major, _, minor = str(getattr(readline, "_READLINE_LIBRARY_VERSION", "0.0")).partition(".")
    return (int(major), int(minor)) if major.isdigit() and minor.isdigit() else (0, 0)


def _termios() -> Any:
    """The module of that name where stdin is a terminal that it can set, else None."""
    try:
        import termios
    except ImportError:
        return None
    return termios if sys.stdin.isatty() else None


def _is_waiting() -> bool:
    """Whether a whole line is there already: the next of what was pasted."""
    if _termios() is None:
        return False
    import select

    return bool(select.select([sys.stdin], [], [], 0)[0])


def _discard_typed_ahead() -> None:
    if (termios := _termios()) is not None:
        with contextlib.suppress(termios.error):
            termios.tcflush(sys.stdin.fileno(), termios.TCIFLUSH)
