"""What a turn looks like where there are no colours and no cursor: on paper, in a pipe, on a dumb terminal."""

import time

from rich.console import Console

from harmony_ls.cli.chat.rendering import SENSITIVE, ending_text, shortened, usage_text
from harmony_ls.cli.chat.view import STOPPING
from harmony_ls.cli.plain_text import clean
from harmony_ls.events import (
    Event,
    Notice,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    ToolResult,
    TurnFinished,
)
from harmony_ls.tools.tool import ApprovalRequest

__all__ = ["PlainView"]


class PlainView:
    """Writes the answer to ``answers`` as it comes, as the Markdown that it is, and everything else to ``aside``.

    ``is_terse``: of what is not the answer only what a person must know is written, which leaves out the figures.
    """

    def __init__(self, answers: Console, aside: Console, *, hides_reasoning: bool, is_terse: bool = False) -> None:
        self.aside = aside
        self._answers = answers
        self._hides_reasoning = hides_reasoning
        self._is_terse = is_terse
        self._open: Console | None = None
        self._section = ""
        self._stopping = ""
        self._began = 0.0

    def begin(self) -> None:
        self._section = ""
        self._stopping = ""
        self._began = time.monotonic()

    def show(self, event: Event) -> None:
        match event:
            case TextDelta(text):
                self._write(self._answers, "answer", text)
            case ReasoningDelta(text):
                if not self._hides_reasoning:
                    self._write(self.aside, "thinking", text, "thinking:\n")
            case ToolCallStarted(_, name):
                self._section = ""
                self._write(self.aside, f"call of {name}", "", f"{name}:\n")
            case ToolCallDelta(_, text):
                self._write(self.aside, self._section, text)
            case ToolResult(call, content, _):
                self._section = ""
                self._write(self.aside, f"answer of {call.name}", shortened(content), f"{call.name} answers:\n")
            case Notice(text):
                self._section = ""
                self._write(self.aside, "notice", text)
            case TurnFinished():
                self._close_line()
                if ending := ending_text(event):
                    self.say(ending)
                if not self._is_terse:
                    self.say(f"[{usage_text(event.usage, time.monotonic() - self._began)}]")

    def tick(self) -> None:
        if self._stopping:
            words, self._stopping = self._stopping, ""
            self.say(words)

    def pause(self, request: ApprovalRequest) -> None:
        self._close_line()
        self.say(f"{request.call.name}: {request.summary}")
        if request.detail:
            self.say(request.detail.rstrip("\n"))
        if request.is_sensitive:
            self.say(SENSITIVE)

    def stop(self, words: str = STOPPING) -> None:
        self._stopping = words

    def end(self) -> None:
        self._close_line()

    def say(self, text: str, style: str = "") -> None:
        self._close_line()
        self._put(self.aside, f"{clean(text)}\n")

    def _write(self, console: Console, section: str, text: str, headline: str = "") -> None:
        if section != self._section:
            self._close_line()
            self._section = section
            self._put(console, clean(headline))
        cleaned = clean(text)
        self._put(console, cleaned)
        if cleaned:
            self._open = None if cleaned.endswith("\n") else console

    def _close_line(self) -> None:
        if self._open is not None:
            self._put(self._open, "\n")
            self._open = None

    def _put(self, console: Console, text: str) -> None:
        # Not through rich, which would wrap the lines.
        console.file.write(text)
        console.file.flush()
