"""How ``harmony-ls demo`` looks: a live view of the cursor with the suggestion in grey, a line of account for each line
that was typed, and the figures at the end. It drives nothing.
"""

import statistics
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from harmony_ls.cli.typist import Answer

__all__ = ["DemoView", "Keystroke"]

_LINES_ABOVE = 8
_LINES_BELOW = 3
_ACCEPTED_STYLE = "bold green"
_GHOST_STYLE = "bright_black italic"


@dataclass(frozen=True, slots=True)
class Keystroke:
    """One key: what it inserted, whether it accepted a suggestion, and the answer that followed."""

    inserted: str
    accepted: bool
    answer: Answer


class DemoView:
    """The view of one demo. Use it as a context manager while typing; ``print_summary`` comes after."""

    def __init__(self, console: Console, text: str, offset: int, first_line: int) -> None:
        self._console = console
        self._before, self._after = text[:offset], text[offset:]
        self._typed = Text()
        self._line_start = 0
        self._first_line = first_line
        self._keys: list[Keystroke] = []
        self._line_keys: list[Keystroke] = []
        self._live = Live(console=console, transient=True, auto_refresh=False) if console.is_terminal else None

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._print_line()
        if self._live is not None:
            self._live.stop()

    def show(self, keystroke: Keystroke) -> None:
        """Show the state after a key."""
        if "\n" in keystroke.inserted and not keystroke.accepted:
            self._print_line()
        self._typed.append(keystroke.inserted, style=_ACCEPTED_STYLE if keystroke.accepted else "")
        self._keys.append(keystroke)
        self._line_keys.append(keystroke)
        if self._live is not None:
            self._live.update(self._screen(keystroke.answer), refresh=True)

    def _print_line(self) -> None:
        """Account for the line that has just been finished."""
        line = self._typed[self._line_start :]
        if line.plain.strip() and self._line_keys:
            keys = self._line_keys
            asked = [key.answer.stats["computed_prompt_tokens"] for key in keys if key.answer.stats["prompt_tokens"]]
            n_typed = sum(not key.accepted for key in keys)
            facts = f"{n_typed:>3} keys"
            n_accepted = sum(len(key.inserted) for key in keys if key.accepted)
            facts += f" +{n_accepted:>3} accepted" if n_accepted else " " * 14
            latency = statistics.median(key.answer.client_ms for key in keys)
            facts += f" {latency:>4.0f} ms"
            facts += f" {statistics.median(asked):>3.0f} tokens computed" if asked else ""
            first = self._first_line + self._typed.plain[: self._line_start].count("\n")
            rows = enumerate(Text.assemble(self._indentation_before(), line).split("\n", allow_blank=True), first)
            for number, part in rows:
                if part.plain.strip():
                    self._print_row(number, part, facts)
                    facts = ""
        self._line_start = len(self._typed)
        self._line_keys = []

    def _print_row(self, number: int, code: Text, facts: str) -> None:
        """The code, and what it cost behind it where the terminal is wide enough, else below it."""
        row = Text(f"{number:>5}  ", style="bright_black", no_wrap=True, overflow="ellipsis")
        row.append_text(Text(code.plain, spans=code.spans, style="not dim default"))
        account = Text(facts, style="bright_black", no_wrap=True)
        gap = self._console.width - row.cell_len - account.cell_len
        if facts and gap >= 2:
            self._console.print(row + Text(" " * gap) + account, no_wrap=True, overflow="ellipsis")
            return
        self._console.print(row, no_wrap=True, overflow="ellipsis")
        if facts:
            self._console.print(Text("       ") + account)

    def _indentation_before(self) -> str:
        return self._before.rpartition("\n")[2] if self._line_start == 0 else ""

    def _screen(self, answer: Answer) -> Group:
        """The document around the cursor, the suggestion in grey, and what the key cost."""
        code = Text(self._before)
        code.append_text(self._typed)
        code.append("▏", style="bold cyan")
        code.append(answer.shown, style=_GHOST_STYLE)
        above = code.split("\n")[-_LINES_ABOVE - 1 - answer.shown.count("\n") :]
        below = Text(self._after, style="").split("\n")
        # The rest of the line stands behind the suggestion, as editors draw it.
        above[-1].append_text(below[0])
        view = Text("\n").join([*above, *below[1 : 1 + _LINES_BELOW]])
        view.no_wrap, view.overflow = True, "ellipsis"
        return Group(
            Panel(view, border_style="bright_black", title="harmony-ls", title_align="left"), self._cost(answer)
        )

    def _cost(self, answer: Answer) -> Text:
        cost = Text(f" {answer.client_ms:5.0f} ms  ", style="bold")
        if answer.stats["prompt_tokens"]:
            computed, prompt = answer.stats["computed_prompt_tokens"], answer.stats["prompt_tokens"]
            cost.append(f"{computed} of {prompt} prompt tokens computed  ", style="cyan")
        cost.append(answer.outcome, style="bright_black")
        if answer.detail:
            cost.append(f": {answer.detail}", style="bright_black")
        cost.no_wrap, cost.overflow = True, "ellipsis"
        return cost

    def print_summary(self, *, is_embedded: bool) -> None:
        """The figures of all keys, and where to go from here."""
        keys = self._keys
        asked = [key.answer for key in keys if key.answer.stats["prompt_tokens"]]
        table = Table(title="What it cost", title_justify="left", box=None, show_header=False, padding=(0, 2))
        n_characters = sum(len(key.inserted) for key in keys)
        n_accepted = sum(len(key.inserted) for key in keys if key.accepted)
        if n_characters:
            share = n_accepted / n_characters
            table.add_row(
                "characters typed", f"{n_characters}, of which {n_accepted} ({share:.0%}) came from suggestions"
            )
        if keys:
            latencies = sorted(key.answer.client_ms for key in keys)
            table.add_row(
                "latency of a key", f"{statistics.median(latencies):.0f} ms (median), {latencies[-1]:.0f} ms (longest)"
            )
        if asked:
            computed = statistics.median(answer.stats["computed_prompt_tokens"] for answer in asked)
            prompt = statistics.median(answer.stats["prompt_tokens"] for answer in asked)
            table.add_row("prompt tokens computed again", f"{computed:.0f} of {prompt:.0f} (median)")
            n_free = len(keys) - len(asked)
            table.add_row("keys that needed no generation", f"{n_free} of {len(keys)}")
        self._console.print()
        self._console.print(table)
        self._console.print(_next_steps(is_embedded=is_embedded), highlight=False)


def _next_steps(*, is_embedded: bool) -> str:
    better = (
        "This was the small model that ships with harmony-ls. A better one, any that mlx-lm can load:\n"
        "  harmony-ls demo --model mlx-community/Qwen2.5-Coder-1.5B-4bit\n"
        'and to keep it, in your user settings: [bold]model = "mlx-community/Qwen2.5-Coder-1.5B-4bit"[/]\n\n'
    )
    connect = (
        "[bold]In your editor[/]: start [bold]harmony-ls lsp[/] as a language server. Neovim 0.12:\n"
        "  vim.lsp.config('harmony_ls', { cmd = { 'harmony-ls', 'lsp' } })\n"
        "  vim.lsp.enable('harmony_ls')\n"
        "  vim.lsp.inline_completion.enable()\n"
        "The README has the rest; [bold]harmony-ls doctor[/] checks the installation."
    )
    return "\n" + (better if is_embedded else "") + connect
