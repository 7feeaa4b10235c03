"""From the events of a turn, and the messages of a stored one, to the parts that a client is told."""

from collections.abc import Sequence
from typing import Any

from harmony_ls.edits.operations import AddFile, DeleteFile, LineKind, Operation
from harmony_ls.edits.streaming import StreamingPatch
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
    Usage,
)
from harmony_ls.lsp.messages.chat_messages import (
    ApprovalPart,
    NoticePart,
    Part,
    PreviewFile,
    ReasoningPart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
    UsageReport,
)
from harmony_ls.messages import Message, Role, ToolCall
from harmony_ls.tools.tool import ApprovalRequest

__all__ = ["PartMaker", "parts_of_messages", "usage_report"]

_PATCH_TOOL = "apply_patch"


class PartMaker:
    """Makes the parts of one turn, event by event, and numbers its calls."""

    def __init__(self) -> None:
        self._n_calls = 0
        self._begun: dict[int, tuple[int, str]] = {}
        self._patches: dict[int, StreamingPatch] = {}
        self._numbers: dict[str, int] = {}
        self._text, self._reasoning = _Paragraphs(), _Paragraphs()

    def part_of(self, event: Event) -> Part | None:
        """What the client is told of an event; None for the end of the turn, which the result tells."""
        match event:
            case TextDelta(text):
                return TextPart(self._text.grown(text))
            case ReasoningDelta(text):
                return ReasoningPart(self._reasoning.grown(text))
            case ToolCallStarted(index, name):
                self._n_calls += 1
                self._begun[index] = (self._n_calls, name)
                self._patches.pop(index, None)  # of a call that was cut off
                if name == _PATCH_TOOL:
                    self._patches[index] = StreamingPatch()
                return ToolCallPart(self._n_calls, name, "begun")
            case ToolCallDelta(index, text):
                number, name = self._begun[index]
                return ToolCallPart(number, name, "growing", text, self._preview(index, text))
            case ToolCallFinished(index, call):
                number, name = self._begun.pop(index)
                self._numbers[call.id] = number
                return ToolCallPart(number, call.name, "complete", call.arguments, self._whole(index))
            case ToolResult(call, content, is_error):
                return ToolResultPart(self._number(call), call.name, content, is_error)
            case Notice(text):
                return NoticePart(text)
            case Usage():
                self._text.end()
                self._reasoning.end()
                return usage_report(event)
            case TurnFinished():
                return None

    def approval(self, request: ApprovalRequest) -> ApprovalPart:
        """What the client is told of a tool that waits for an answer."""
        call = request.call
        return ApprovalPart(self._number(call), call.name, request.summary, request.detail, request.is_sensitive)

    def _number(self, call: ToolCall) -> int:
        return self._numbers.get(call.id, self._n_calls)

    def _preview(self, index: int, text: str) -> list[PreviewFile] | None:
        patch = self._patches.get(index)
        return _preview(patch) if patch is not None and patch.feed(text) else None

    def _whole(self, index: int) -> list[PreviewFile] | None:
        """What a patch comes to, its last line included."""
        patch = self._patches.pop(index, None)
        if patch is None:
            return None
        patch.finish()
        return _preview(patch) or None


class _Paragraphs:
    """What the passes of a turn write, each a paragraph of its own, so that a client can simply join the pieces."""

    def __init__(self) -> None:
        self._end = ""
        self._is_ended = False

    def grown(self, text: str) -> str:
        """The next piece, with the blank line before it that it may need."""
        if self._is_ended and text:
            self._is_ended = False
            n_line_ends = len(self._end) - len(self._end.rstrip("\n"))
            text = ("\n" * (2 - n_line_ends) if self._end else "") + text
        self._end = (self._end + text)[-2:]
        return text

    def end(self) -> None:
        """A pass is over; what comes next is another paragraph."""
        self._is_ended = True


def parts_of_messages(messages: Sequence[Message], shown: Sequence[str] = ()) -> list[Any]:
    """The parts of a turn that is over; ``shown`` are the texts of its passes as they were streamed, where that is
    known."""
    parts: list[Any] = []
    numbers: dict[str, int] = {}
    texts, reasoning = _Paragraphs(), _Paragraphs()
    shown_texts = iter(shown)
    for message in messages:
        if message.role is Role.TOOL:
            number = numbers.get(message.tool_call_id, 0)
            parts.append(ToolResultPart(number, message.name, message.content, message.is_error))
            continue
        if message.role is not Role.ASSISTANT:
            continue
        text = next(shown_texts, "") or message.content
        if message.reasoning:
            parts.append(ReasoningPart(reasoning.grown(message.reasoning)))
        if text:
            parts.append(TextPart(texts.grown(text)))
        texts.end()
        reasoning.end()
        for call in message.tool_calls:
            numbers[call.id] = len(numbers) + 1
            parts.append(ToolCallPart(numbers[call.id], call.name, "complete", call.arguments))
    return parts


def usage_report(usage: Usage) -> UsageReport:
    """The figures of a pass or of a turn."""
    return UsageReport(
        usage.prompt_tokens,
        usage.computed_tokens,
        usage.generated_tokens,
        usage.reasoning_tokens,
        usage.first_token_ms,
        usage.decode_seconds,
    )


def _preview(patch: StreamingPatch) -> list[PreviewFile]:
    return [_preview_file(operation) for operation in patch.operations]


def _preview_file(operation: Operation) -> PreviewFile:
    match operation:
        case AddFile(path, lines):
            return PreviewFile("create", path, len(lines), 0)
        case DeleteFile(path):
            return PreviewFile("delete", path, 0, 0)
        case _:
            kinds = [line.kind for hunk in operation.hunks for line in hunk.lines]
            kind = "update" if operation.move_to is None else "move"
            n_added, n_removed = kinds.count(LineKind.ADDED), kinds.count(LineKind.REMOVED)
            return PreviewFile(kind, operation.path, n_added, n_removed, operation.move_to)
