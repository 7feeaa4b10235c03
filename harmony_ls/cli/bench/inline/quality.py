"""What the completions are worth: real places in code that the model never saw, through the real pipeline.

Each place is asked about twice. Once as by a person who asks for a completion: nothing is held back, so this shows what
the model knows. Once as by an editor while typing, at the default eagerness: this shows what a person would see. Both
have a generous deadline, because a place that is visited for the first time reads its whole prompt, and typing does
not.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from harmony_ls.cli.bench.inline.cases import Case
from harmony_ls.cli.bench.inline.subject import Subject
from harmony_ls.features.document import DocumentSnapshot
from harmony_ls.features.inline import trim
from harmony_ls.features.inline.completer import InlineCompleter
from harmony_ls.features.inline.context import CursorContext
from harmony_ls.features.inline.journal import Journal
from harmony_ls.features.inline.request import InlineCompletionRequest, Offer

__all__ = ["CaseRecord", "ask_about_cases", "first_identifier"]

_DEADLINE_MS = 10_000
_IDENTIFIER = re.compile(r"[^\W\d]\w*")

Advance = Callable[[], None]


@dataclass(frozen=True, slots=True)
class CaseRecord:
    """One place and what came of it. A finished statement expects nothing.

    ``ungated`` is the first line of what the model knows, ``confidence`` how sure it is of it. ``showable``: an editor
    would be shown it if confidence did not count. ``shown`` is the first line of what it is shown, with the reason or
    the source as ``outcome``.
    """

    package: str
    path: str
    line: int
    expected: str
    ungated: str
    confidence: float
    showable: bool
    shown: str
    outcome: str

    @property
    def is_finished(self) -> bool:
        """Whether nothing should be inserted here."""
        return not self.expected

    @property
    def ungated_exact(self) -> bool:
        """Whether the model knows the rest of the line."""
        return self.ungated == self.expected.rstrip()

    @property
    def ungated_first(self) -> bool:
        """Whether the model knows the next identifier."""
        return bool(self.ungated) and first_identifier(self.ungated) == first_identifier(self.expected)

    @property
    def shown_exact(self) -> bool:
        """Whether what is shown is the rest of the line."""
        return bool(self.shown) and self.shown == self.expected.rstrip()

    @property
    def shown_first(self) -> bool:
        """Whether what is shown begins with the right identifier."""
        return bool(self.shown) and first_identifier(self.shown) == first_identifier(self.expected)


def first_identifier(text: str) -> str:
    """The first identifier of a text, or its visible part where it has none."""
    found = _IDENTIFIER.search(text)
    return found.group() if found else text.strip()


async def ask_about_cases(subject: Subject, cases: Sequence[Case], records: list[CaseRecord], advance: Advance) -> None:
    """Ask about every case; ``records`` grows case by case."""
    inline = subject.settings.inline_completion.model_copy(update={"deadline_ms": _DEADLINE_MS})
    settings = subject.settings.model_copy(update={"inline_completion": inline})
    completer = InlineCompleter(subject.engine, subject.resident, settings, Journal())
    try:
        for case in cases:
            records.append(await _ask(completer, case, inline.max_lines))
            advance()
    finally:
        completer.close()


async def _ask(completer: InlineCompleter, case: Case, max_lines: int) -> CaseRecord:
    # Two documents, so that the second answer does not come from the memory of the first.
    asked = _document(case, "invoked")
    typed = _document(case, "automatic")
    knows = await completer.offer(InlineCompletionRequest(asked, case.offset, invoked=True))
    shows = await completer.offer(InlineCompletionRequest(typed, case.offset))
    completer.forget(asked.uri)
    completer.forget(typed.uri)
    text = _text(knows)
    return CaseRecord(
        package=case.package,
        path=case.path,
        line=case.line,
        expected=case.expected,
        ungated=_first_line(text),
        confidence=knows.stats.confidence or 0.0,
        showable=bool(text) and _is_showable(text, typed, case.offset, max_lines),
        shown=_first_line(_text(shows)),
        outcome=shows.items[0].source.value if shows.items else str(shows.reason or ""),
    )


def _document(case: Case, purpose: str) -> DocumentSnapshot:
    return DocumentSnapshot(f"file:///bench/{purpose}/{case.package}/{case.path}", None, "python", 1, case.text)


def _text(offer: Offer) -> str:
    return offer.items[0].text if offer.items else ""


def _first_line(text: str) -> str:
    """The first line that shows something: a completion at the end of a line may begin with a line end."""
    lines = [line.rstrip() for line in text.split("\n") if line.strip()]
    return lines[0] if lines else ""


def _is_showable(text: str, document: DocumentSnapshot, offset: int, max_lines: int) -> bool:
    """Whether the rules for unasked completions let the text through; that of confidence is applied elsewhere."""
    context = CursorContext.at(document, offset)
    trimmed = trim.trim(text, document, context, is_whole=True, max_lines=max_lines, invoked=False)
    return isinstance(trimmed, trim.Trimmed)
