"""What a turn looks like: the contract of the views, and the one that draws on a terminal.

What can no longer change is printed for good; what is still being written is drawn below it, in a few lines at most,
and redrawn as it grows. Views show; they ask nothing and decide nothing.
"""

import time
from collections.abc import Sequence
from typing import Protocol

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.segment import Segment
from rich.spinner import Spinner
from rich.text import Text

from harmony_ls.cli.chat.markdown import MarkdownStream
from harmony_ls.cli.chat.rendering import SENSITIVE, arguments_text, diff_text, ending_text, result_text, usage_text
from harmony_ls.cli.plain_text import clean
from harmony_ls.events import (
    Event,
    Notice,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallFinished,
    ToolCallStarted,
    ToolResult,
    TurnFinished,
)
from harmony_ls.tools.tool import ApprovalRequest

__all__ = ["STOPPING", "TerminalView", "View"]

_MOST_LIVE_LINES = 16
_REFRESH_SECONDS = 1 / 15
# Drawing may take this share of the time at most; the rest belongs to the model.
_DRAWING_SHARE = 0.2
_REASONING_STYLE = "dim italic"

STOPPING = "stopping…"
"""What is shown from Ctrl-C to the end of the turn: a step of a large model takes seconds on a slow machine."""


class View(Protocol):
    """How a conversation is shown. Everything that comes in may be of strangers; a view cleans it."""

    @property
    def aside(self) -> Console:
        """Where everything goes that is not the model's answer. Not to be used while a turn is shown."""

    def begin(self) -> None:
        """A turn begins: the model reads."""

    def show(self, event: Event) -> None:
        """Show an event of the turn."""

    def tick(self) -> None:
        """Nothing has happened for a moment."""

    def pause(self, request: ApprovalRequest) -> None:
        """Make room for a question about ``request``, and show what it would do. The next event goes on."""

    def stop(self, words: str = STOPPING) -> None:
        """The person wants the turn to end, which ``words`` say until it has. A signal handler calls this, so it does
        nothing but remember them."""

    def end(self) -> None:
        """The turn is over, however it ended."""

    def say(self, text: str, style: str = "") -> None:
        """Show a text that is not the model's."""


class _Stream(Protocol):
    """Something that is being written."""

    def feed(self, text: str) -> None: ...

    def settled(self) -> Sequence[RenderableType]: ...

    def finish(self) -> Sequence[RenderableType]: ...

    def unsettled(self) -> RenderableType: ...


class TerminalView:
    """Draws turns on a terminal that has a cursor. ``hides_reasoning``: only how much was thought is shown."""

    def __init__(self, console: Console, *, hides_reasoning: bool) -> None:
        self.aside = console
        self._console = console
        self._hides_reasoning = hides_reasoning
        self._live: Live | None = None
        self._stream: _Stream | None = None
        self._calls: dict[int, _Call] = {}
        self._unanswered: dict[str, _Call] = {}
        self._waiting_for = ""
        self._needs_gap = False
        self._stopping = ""
        self._is_over = True
        self._began = 0.0
        self._next_refresh = 0.0

    def begin(self) -> None:
        self._began = time.monotonic()
        self._stream = None
        self._calls.clear()
        self._unanswered.clear()
        self._waiting_for = "reading"
        self._needs_gap = False
        self._stopping = ""
        self._is_over = False
        self._refresh()

    def show(self, event: Event) -> None:
        match event:
            case TextDelta(text):
                self._continue(MarkdownStream, text)
            case ReasoningDelta(text):
                self._continue(_HiddenReasoning if self._hides_reasoning else _Reasoning, text)
            case ToolCallStarted(index, name):
                self._finish_stream()
                self._calls[index] = _Call(name)
            case ToolCallDelta(index, text):
                if index in self._calls:
                    self._calls[index].arguments += text
            case ToolCallFinished(index, call):
                self._finish_stream()
                self._calls.pop(index, None)
                self._unanswered[call.id] = _Call(call.name, call.arguments)
                self._waiting_for = f"running {clean(call.name)}"
            case ToolResult(call, content, is_error):
                shown = self._unanswered.pop(call.id, None)
                parts: list[RenderableType] = [shown] if shown is not None else []
                self._print([*parts, result_text(content, is_error=is_error)])
                self._waiting_for = "reading"
            case Notice(text):
                self._finish_stream()
                self._print([Text(clean(text), "yellow")])
            case TurnFinished():
                self._finish_turn(event)
            case _:
                return
        self._refresh_if_due()

    def tick(self) -> None:
        self._refresh_if_due()

    def pause(self, request: ApprovalRequest) -> None:
        self._finish_stream()
        # What is asked says what would be done; the arguments are the same in the model's words.
        self._unanswered.pop(request.call.id, None)
        parts: list[RenderableType] = [
            Text.assemble((clean(request.call.name), "bold cyan"), " ", clean(request.summary))
        ]
        if request.detail:
            parts.append(diff_text(request.detail.rstrip("\n")))
        if request.is_sensitive:
            parts.append(Text(SENSITIVE, "yellow"))
        self._print(parts)
        self._stop_live()

    def stop(self, words: str = STOPPING) -> None:
        self._stopping = words

    def end(self) -> None:
        self._is_over = True
        self._finish_stream()
        self._stop_live()

    def say(self, text: str, style: str = "") -> None:
        self._console.print(Text(clean(text), style))

    def _continue(self, kind: "type[MarkdownStream | _Reasoning | _HiddenReasoning]", text: str) -> None:
        self._waiting_for = ""
        if not isinstance(self._stream, kind):
            self._finish_stream()
            self._stream = kind()
            if self._needs_gap:
                self._print_now([Text()])
        self._stream.feed(clean(text))

    def _finish_stream(self) -> None:
        if self._stream is not None:
            rest = self._stream.finish()
            self._stream = None
            self._print_now(rest)
            self._needs_gap = True

    def _finish_turn(self, finished: TurnFinished) -> None:
        self._is_over = True
        self._finish_stream()
        for call in self._unanswered.values():
            # It may have been running: only who runs it knows what it did.
            self._print([call, Text("This call was not answered.", "yellow")])
        for call in self._calls.values():
            self._print([call, Text("This call was not made.", "yellow")])
        self._calls.clear()
        self._unanswered.clear()
        if ending := ending_text(finished):
            self._print([Text(ending, "yellow")])
        usage = usage_text(finished.usage, time.monotonic() - self._began)
        self._print([Text(usage, "dim"), Text()])
        self._stop_live()

    def _print(self, parts: Sequence[RenderableType]) -> None:
        """Print a section of its own, set off from what is above."""
        gap = [Text()] if self._needs_gap else []
        self._print_now([*gap, *parts])
        self._needs_gap = True

    def _print_now(self, parts: Sequence[RenderableType]) -> None:
        # Inside of its context the console writes once, at the end: nothing half drawn is ever seen.
        with self._console:
            if self._live is not None:
                self._live.update(self._unsettled(), refresh=True)
            if parts:
                self._console.print(Group(*parts))

    def _refresh_if_due(self) -> None:
        if time.monotonic() >= self._next_refresh:
            self._refresh()

    def _refresh(self) -> None:
        started = time.monotonic()
        settled = self._stream.settled() if self._stream is not None else []
        if self._live is None:
            self._live = Live(
                console=self._console,
                auto_refresh=False,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
                vertical_overflow="crop",
            )
            self._live.start()
        self._print_now(settled)
        ended = time.monotonic()
        self._next_refresh = ended + max(_REFRESH_SECONDS, (ended - started) / _DRAWING_SHARE)

    def _stop_live(self) -> None:
        if self._live is not None:
            with self._console:
                self._live.update(Text())
                self._live.stop()
            self._live = None

    def _unsettled(self) -> RenderableType:
        """What is drawn below the text that is there for good."""
        parts: list[RenderableType] = []
        if self._stream is not None:
            parts.append(self._stream.unsettled())
        elif self._calls:
            parts += self._calls.values()
        elif not self._is_over:
            parts += self._unanswered.values()
            if self._waiting_for and not self._stopping:
                parts.append(self._spinner())
        if self._stopping and not self._is_over:
            parts.append(Text(self._stopping, "yellow"))
        return _Tail(Group(*parts), max(2, min(_MOST_LIVE_LINES, self._console.height - 3)))

    def _spinner(self) -> RenderableType:
        seconds = time.monotonic() - self._began
        spinner = Spinner("dots", Text(f"{self._waiting_for} … {seconds:.0f} s", "dim"), style="dim")
        spinner.start_time = 0.0
        return spinner


class _Call:
    """A tool call: its name, and its arguments as far as they are written."""

    def __init__(self, name: str, arguments: str = "") -> None:
        self.name = name
        self.arguments = arguments

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text(clean(self.name), "bold cyan")
        if self.arguments.strip():
            yield arguments_text(self.arguments)


class _Reasoning:
    """Reasoning, line by line."""

    def __init__(self) -> None:
        self._line = ""
        self._lines: list[str] = []

    def feed(self, text: str) -> None:
        *lines, self._line = f"{self._line}{text}".split("\n")
        self._lines += lines

    def settled(self) -> Sequence[RenderableType]:
        lines, self._lines = self._lines, []
        return [Text(line, _REASONING_STYLE) for line in lines]

    def finish(self) -> Sequence[RenderableType]:
        settled = [*self.settled(), *([Text(self._line, _REASONING_STYLE)] if self._line.strip() else [])]
        self._line = ""
        return settled

    def unsettled(self) -> RenderableType:
        return Text(self._line, _REASONING_STYLE)


class _HiddenReasoning:
    """How much is thought, and not what. Each piece is about a token."""

    def __init__(self) -> None:
        self._n_pieces = 0

    def feed(self, _text: str) -> None:
        self._n_pieces += 1

    def settled(self) -> Sequence[RenderableType]:
        return []

    def finish(self) -> Sequence[RenderableType]:
        return [self.unsettled()]

    def unsettled(self) -> RenderableType:
        return Text(f"thinking… {self._n_pieces:,} tokens", _REASONING_STYLE)


class _Tail:
    """The last lines of something."""

    def __init__(self, renderable: RenderableType, height: int) -> None:
        self._renderable = renderable
        self._height = height

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        lines = console.render_lines(self._renderable, options.update(height=None), pad=False)
        for index, line in enumerate(lines[-self._height :]):
            if index:
                yield Segment.line()
            yield from line
