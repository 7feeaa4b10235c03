"""Markdown as it is written: what can no longer change is handed out for good, the rest can be shown meanwhile.

Blocks are told apart by markdown-it and drawn by rich. Nothing is dropped and nothing is fetched: HTML stays the text
that it is, and a link shows where it leads. What comes in must be clean of control characters.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

from markdown_it import MarkdownIt
from markdown_it.token import Token
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.markdown import CodeBlock, Heading, Markdown, MarkdownElement
from rich.segment import Segment
from rich.syntax import Syntax
from rich.text import Text

from harmony_ls.cli.plain_text import clean

__all__ = ["MarkdownStream"]

_THEME = "ansi_dark"
# Link definitions would vanish from the text; and what they define may come after the link was drawn.
_PARSER = MarkdownIt("commonmark", {"html": False}).enable(["strikethrough", "table"]).disable("reference")


class MarkdownStream:
    """The Markdown of one answer. ``feed`` it, print what ``settled`` gives, and show ``unsettled`` below that."""

    def __init__(self) -> None:
        self._source = ""
        self._is_first = True
        # The number of the next item of the list that the source begins in; None where it begins in none.
        self._number: int | None = None
        # The kind of the list whose item was handed out last; empty after anything else.
        self._last_list = ""
        # How many lines of the code block that the source begins with were handed out.
        self._n_code_lines = 0

    def feed(self, text: str) -> None:
        """Add what was written."""
        self._source += text

    def settled(self) -> list[RenderableType]:
        """What has become certain since this was last asked, in its order."""
        return self._advance(is_over=False)

    def finish(self) -> list[RenderableType]:
        """All that is left: nothing more will be written."""
        return self._advance(is_over=True)

    def unsettled(self) -> RenderableType:
        """What is there and may still change."""
        blocks = self._blocks(self._source)
        if not blocks:
            return Text()
        drawn = [*self._gap(blocks[0]), *self._rest(blocks[0])]
        for block in blocks[1:]:
            drawn += [Text(), _Blocks(block)]
        return _Stack(drawn)

    def _advance(self, *, is_over: bool) -> list[RenderableType]:
        settled: list[RenderableType] = []
        # A line that is not whole may still turn out to belong to the block before it.
        while blocks := self._blocks(self._source if is_over else self._source[: self._source.rfind("\n") + 1]):
            first = blocks[0]
            if len(blocks) == 1 and not is_over:
                settled += self._code_lines(first)
                break
            settled += [*self._gap(first), *self._rest(first)]
            self._leave(first, blocks[1] if len(blocks) > 1 else None)
        if is_over:
            self._source = ""
        return settled

    def _blocks(self, source: str) -> list[list[Token]]:
        """The blocks of what the source begins with, each as its tokens.

        Every item of an outermost list is a block of its own.
        """
        blocks: list[list[Token]] = []
        number = self._number
        for block in _outermost(_PARSER.parse(source)):
            if block[0].type not in ("bullet_list_open", "ordered_list_open"):
                blocks.append(block)
                continue
            opening, closing = block[0], block[-1]
            start = int(opening.attrs.get("start", 1)) if number is None or blocks else number
            for index, item in enumerate(_outermost(block[1:-1])):
                numbered = opening.copy()
                numbered.attrs = {"start": start + index} if opening.type == "ordered_list_open" else {}
                blocks.append([numbered, *item, closing])
        return blocks

    def _rest(self, block: list[Token]) -> list[RenderableType]:
        """What was not handed out yet of the block that the source begins with."""
        if not self._n_code_lines:
            return [_Blocks(block)]
        is_left = self._n_code_lines < len(block[0].content.splitlines())
        return [_code(block[0], self._n_code_lines, None)] if is_left else []

    def _gap(self, block: list[Token]) -> list[RenderableType]:
        """An empty line between two blocks, but none between the items of a list, and none within a block."""
        goes_on = self._n_code_lines > 0 or self._last_list == block[0].type
        return [] if self._is_first or goes_on else [Text()]

    def _leave(self, block: list[Token], following: list[Token] | None) -> None:
        """Take a block that was handed out off the source."""
        self._is_first = False
        self._last_list = block[0].type if _is_list(block) else ""
        self._n_code_lines = 0
        same_list = following is not None and _is_list(block) and following[0].type == block[0].type
        continues = same_list and following is not None and _start(following) == _start(block) + 1
        self._number = _start(block) + 1 if continues else None
        first_line = _first_line(following) if following is not None else None
        lines = self._source.split("\n")
        self._source = "\n".join(lines[first_line:]) if first_line is not None else ""

    def _code_lines(self, block: list[Token]) -> list[RenderableType]:
        """The whole lines of a code block that is being written: lines of code do not change any more."""
        fence = block[0]
        if fence.type != "fence":
            return []
        n_lines = fence.content.count("\n")
        if n_lines <= self._n_code_lines:
            return []
        gap = self._gap(block)
        lines = _code(fence, self._n_code_lines, n_lines)
        self._n_code_lines = n_lines
        return [*gap, lines]


def _outermost(tokens: Sequence[Token]) -> list[list[Token]]:
    """The tokens cut into the outermost blocks."""
    blocks: list[list[Token]] = []
    depth = 0
    for token in tokens:
        if depth == 0:
            blocks.append([])
        blocks[-1].append(token)
        depth += token.nesting
    return blocks


def _is_list(block: list[Token]) -> bool:
    return block[0].type in ("bullet_list_open", "ordered_list_open")


def _start(block: list[Token]) -> int:
    return int(block[0].attrs.get("start", 1))


def _first_line(block: list[Token]) -> int:
    """Where a block begins in the source; the opening of a list is a copy for each item, so the item says it."""
    token = block[1] if _is_list(block) else block[0]
    return token.map[0] if token.map else 0


def _code(fence: Token, first: int, last: int | None) -> Text:
    """Lines of a code block. It is highlighted from its beginning, and drawn without blanks at the end of lines."""
    language = fence.info.strip().split(" ")[0] if fence.info.strip() else "text"
    code = fence.content.removesuffix("\n").expandtabs(4)
    text = Syntax("", language, theme=_THEME).highlight(code)
    text.rstrip()
    lines = text.split("\n", allow_blank=True)
    # The highlighter leaves blank lines at the end out.
    lines.extend(Text() for _ in range(code.count("\n") + 1 - len(lines)))
    joined = Text("\n").join(lines[first:last])
    joined.overflow, joined.no_wrap = "fold", False
    return joined


class _Blocks(Markdown):
    """One block, from tokens instead of a text."""

    elements: ClassVar[dict[str, type[MarkdownElement]]] = Markdown.elements | {}

    def __init__(self, tokens: list[Token]) -> None:
        super().__init__("", code_theme=_THEME, hyperlinks=False)
        self.parsed = [_shown(token) for token in tokens]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """What rich draws, without the empty lines that it puts around some blocks and the blanks at ends of lines."""
        inner = _Stack(list(super().__rich_console__(console, options)))
        lines = console.render_lines(inner, options.update(height=None), pad=False)
        filled = [index for index, line in enumerate(lines) if any(segment.text.strip() for segment in line)]
        if not filled:
            return
        for line in lines[filled[0] : filled[-1] + 1]:
            yield from _stripped(line)
            yield Segment.line()


class _Heading(Heading):
    """A heading at the left, where everything is."""

    LEVEL_ALIGN: ClassVar[dict[str, Any]] = {}


class _Code(CodeBlock):
    """Code without a frame, a background or blanks at the end of its lines, so that it can be copied."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        fence = Token("fence", "code", 0, content=str(self.text), info=self.lexer_name)
        yield _code(fence, 0, None)


_Blocks.elements |= {"heading_open": _Heading, "fence": _Code, "code_block": _Code}


class _Stack:
    """Renderables one below the other."""

    def __init__(self, parts: Sequence[RenderableType | Segment]) -> None:
        self._parts = parts

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from self._parts


def _stripped(line: list[Segment]) -> list[Segment]:
    """A line without the blanks at its end."""
    end = len(line)
    while end and not line[end - 1].text.rstrip(" "):
        end -= 1
    if not end:
        return []
    last = line[end - 1]
    return [*line[: end - 1], Segment(last.text.rstrip(" "), last.style, last.control)]


def _shown(token: Token) -> Token:
    """The token with its inline parts as they are shown: line breaks kept, links and images spelled out."""
    if not token.children:
        return token
    shown = token.copy()
    shown.children = []
    links: list[tuple[str, int]] = []
    for child in token.children:
        match child.type:
            case "softbreak":
                shown.children.append(Token("hardbreak", "br", 0))
            case "link_open":
                links.append((str(child.attrs.get("href", "")), len(shown.children)))
            case "link_close":
                href, start = links.pop()
                words = "".join(each.content for each in shown.children[start:])
                if href.removeprefix("mailto:") != words:
                    shown.children.append(_text(f" ({href})"))
            case "image":
                source = str(child.attrs.get("src", ""))
                shown.children.append(_text(f"{child.content} ({source})".strip()))
            case _:
                shown.children.append(child.copy(content=clean(child.content)))
    return shown


def _text(content: str) -> Token:
    # Cleaned here too: a character may come as an entity, which only the parser spells out.
    return Token("text", "", 0, content=clean(content))
