"""The header of a Harmony message, read leniently: who speaks, to whom, on which channel, and in what kind of content.

GPT-OSS gets a few headers in a hundred wrong: words where none belong, two channels, a content type glued to a name.
Whatever is written, something sensible is read, and nothing raises. This knows text alone, neither tokens nor events.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from harmony_ls.messages import ToolSpec

__all__ = [
    "CHANNELS",
    "HarmonyHeader",
    "HeaderPart",
    "PartKind",
    "callable_names",
    "called_tool",
    "may_be_header",
    "read_header",
]

CHANNELS = ("analysis", "commentary", "final")

_BUILT_IN_TOOLS = ("python", "browser.search", "browser.open", "browser.find")
_ROLES = ("assistant", "user", "system", "developer", "tool")
# Recipients that are no tools: who takes part in a conversation, and words that belong elsewhere in a header.
_NO_TOOLS = frozenset({*_ROLES, *CHANNELS, "all", "functions"})
_CONTENT_TYPES = ("json", "code", "text")
_LONE_WORDS = (*CHANNELS, *_CONTENT_TYPES)

# Blanks are those of ASCII: another one may be a part of a character that is still being written.
_BLANKS = " \t\n\r\f\v"
_WORD = re.compile(r"\S+", re.ASCII)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,127}")
_CONTENT_TYPE = re.compile(r"\s*([A-Za-z][A-Za-z0-9_+./-]{0,63})", re.ASCII)
_LEADING_ROLE = re.compile(r"(?:assistant)+|user|system|developer|tool")
# Signs that are glued to a channel ("commentary?") say nothing.
_LEADING_CHANNEL = re.compile(r"[^A-Za-z]*(analysis|commentary|comment|final)[?!.,:;-]*", re.IGNORECASE | re.ASCII)
_LEADING_WORDS = re.compile(r"(?:assistant)*(?:(analysis|commentary|final)?$|(?=to=))")


class PartKind(Enum):
    """What a part of a header stands behind.

    ``OPENING`` is behind the ``<|start|>assistant`` at the end of the prompt, ``IMPLIED`` where the model left out
    ``<|start|>assistant``, ``START`` behind a ``<|start|>`` of its own.
    """

    OPENING = "opening"
    IMPLIED = "implied"
    START = "start"
    CHANNEL = "channel"
    CONSTRAIN = "constrain"


@dataclass(frozen=True, slots=True)
class HeaderPart:
    """The text between one marker of a header and the next."""

    kind: PartKind
    text: str


@dataclass(frozen=True, slots=True)
class HarmonyHeader:
    """What a header says.

    ``author`` is the name of the tool that speaks, where the role is ``tool``. ``channel`` is one of `CHANNELS`, what
    the model wrote in place of one, or None where it named none. ``content_type`` is spelled as openai_harmony spells
    it. ``is_misaddressed``: there was a ``to=`` that names nobody. ``rest`` is the end of the header that is no part of
    a header: the text of a message whose ``<|message|>`` was left out.
    """

    role: str = "assistant"
    author: str = ""
    recipient: str | None = None
    channel: str | None = None
    content_type: str | None = None
    is_misaddressed: bool = False
    rest: str = ""


def callable_names(tools: Sequence[ToolSpec], told_names: Mapping[str, str]) -> dict[str, str]:
    """Every name that a model knows a tool by, with the tool's own name: declared tools, and those of its training.

    ``told_names`` are the names that were changed for the model, with the tools' own.
    """
    built_in = {name: name for name in _BUILT_IN_TOOLS}
    return built_in | {spec.name: spec.name for spec in tools} | dict(told_names)


def called_tool(recipient: str | None, names: Mapping[str, str]) -> str | None:
    """The tool that a message to ``recipient`` calls; None where it is no call.

    A name that nobody knows is a tool all the same: the model can only be told so if it is taken for a call. Built-in
    tools are found under ``functions.`` too, unless a declared tool really has that name.
    """
    if recipient is None or recipient in _NO_TOOLS:
        return None
    if recipient in names:
        return names[recipient]
    name = recipient
    while name.startswith("functions."):
        name = name.removeprefix("functions.")
    return names.get(name, name) or None


def may_be_header(text: str, kind: PartKind) -> bool:
    """Whether ``text``, behind the first marker of a header, may still become one when more is written.

    False tells a plain answer without any header from the first word that no header has; once false, always false.
    Behind a recipient all is true: what is addressed to a tool is no answer.
    """
    words = _WORD.findall(text)
    for index, word in enumerate(words):
        if index == 0 and kind is PartKind.START and _NAME.fullmatch(word):
            continue
        while word.startswith("assistant"):
            word = word.removeprefix("assistant")
        if word.startswith("to="):
            name = "".join([word.removeprefix("to="), *words[index + 1 :]])
            return not name or _NAME.match(name) is not None
        is_unfinished = index == len(words) - 1 and text[-1] not in _BLANKS
        if word and word not in _LONE_WORDS and not (is_unfinished and _begins_lone_word(word)):
            return False
    return True


def read_header(parts: Sequence[HeaderPart], names: Mapping[str, str]) -> HarmonyHeader:
    """What a header says. ``names`` are those of `callable_names`.

    * The last known channel counts; what begins with the name of one is that channel.
    * Only ``to=`` names a recipient, never a word that stands alone. A content type that is glued to the name of a
      known tool is taken off, and nothing from ``<|`` on belongs to a name.
    * The first recipient that is a tool counts.
    """
    reading = _Reading(names)
    for part in parts:
        reading.begin_part(part.kind)
        match part.kind:
            case PartKind.CHANNEL:
                reading.read_channel(part.text)
            case PartKind.CONSTRAIN:
                reading.read_content_type(part.text)
            case PartKind.START:
                reading.read_author(part.text)
            case PartKind.OPENING | PartKind.IMPLIED:
                reading.read_words(part.text, 0)
    return reading.header()


class _Reading:
    """What has been read of one header."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = names
        self._role, self._author = "assistant", ""
        self._channel: str | None = None
        self._content_type: str | None = None
        self._recipients: list[str] = []
        self._is_addressed = False
        self._is_awaited = False
        self._is_marked = False
        self.rest = ""

    def header(self) -> HarmonyHeader:
        tools = (name for name in self._recipients if called_tool(name, self._names) is not None)
        recipient = next(tools, self._recipients[0] if self._recipients else None)
        return HarmonyHeader(
            role=self._role,
            author=self._author,
            recipient=recipient,
            channel=self._channel,
            content_type=self._content_type,
            is_misaddressed=self._is_addressed and recipient in (None, "functions"),
            rest=self.rest,
        )

    def begin_part(self, kind: PartKind) -> None:
        """Go on to another part; what was left of the one before is nothing."""
        # Words that no header has end an unmarked part (`may_be_header`), so what follows them is text.
        self._is_marked = kind in (PartKind.CHANNEL, PartKind.CONSTRAIN)
        self._is_awaited = False
        self.rest = ""

    def read_author(self, text: str) -> None:
        """Behind ``<|start|>``: a role, or a tool's name in place of one; a role may be missing or glued to a word."""
        first = _WORD.search(text)
        if first is None:
            return
        word = first.group()
        if word in _ROLES:
            self._role = word
            self.read_words(text, first.end())
        elif self._is_tool(word, text[first.end() :]):
            self._role, self._author = "tool", word
            self.read_words(text, first.end())
        elif glued := _LEADING_ROLE.match(word):
            role = glued.group()
            self._role = role if role in _ROLES else "assistant"
            self.read_words(text, first.start() + glued.end())
        else:
            self.read_words(text, first.start())

    def read_channel(self, text: str) -> None:
        """Behind ``<|channel|>``: what begins with a known channel is it, an unknown one replaces no known one."""
        known = _LEADING_CHANNEL.match(text)
        if known is not None:
            name = known.group(1).lower()
            self._channel = "commentary" if name == "comment" else name
            self.read_words(text, known.end())
            return
        word = _WORD.search(text)
        if self._channel not in CHANNELS:
            self._channel = word.group()[:64] if word else ""
        self.read_words(text, 0)

    def read_content_type(self, text: str) -> None:
        """Behind ``<|constrain|>``."""
        named = _CONTENT_TYPE.match(text)
        if named is None:
            self.read_words(text, 0)
            return
        if self._content_type is None:
            self._content_type = f"<|constrain|>{named.group(1)}"
        self.read_words(text, named.end())

    def read_words(self, text: str, start: int) -> None:
        """The words from ``start`` on. From the first character that belongs to no header, all is the rest."""
        rest_at: int | None = None
        for found in _WORD.finditer(text, start):
            n_read = self._read_word(found.group(), is_in_rest=rest_at is not None)
            if rest_at is None and n_read < len(found.group()):
                rest_at = found.start() + n_read
        self.rest = "" if rest_at is None else text[rest_at:]

    def _read_word(self, word: str, *, is_in_rest: bool) -> int:
        """Read one word; return how many of its characters belong to a header. In the rest ``to=`` alone may."""
        if is_in_rest and (self._recipients or not self._is_marked):
            return 0
        if self._is_awaited:
            self._is_awaited = False
            return self._read_recipient(word)
        start = 0
        if not is_in_rest and (leading := _LEADING_WORDS.match(word)):
            start = leading.end()
            if leading.group(1) and self._channel not in CHANNELS:
                self._channel = leading.group(1)
        if word.startswith("to=", start):
            self._is_addressed = True
            start += len("to=")
            self._is_awaited = start == len(word)
            return start + self._read_recipient(word[start:])
        if word in _CONTENT_TYPES and not is_in_rest:
            self._content_type = self._content_type or word
            return len(word)
        return start

    def _read_recipient(self, value: str) -> int:
        """Read a name at the start of ``value``; return where it ends."""
        named = _NAME.match(value)
        if named is None:
            return 0
        name = named.group().rstrip(".-")
        known = {known for name in self._names for known in (name, f"functions.{name}")}
        if name not in known:
            glued = (suffix for suffix in (*_CONTENT_TYPES, *CHANNELS) if name.removesuffix(suffix) in known)
            if suffix := next(glued, ""):
                name = name.removesuffix(suffix)
                if suffix in _CONTENT_TYPES:
                    self._content_type = self._content_type or suffix
        self._recipients.append(name)
        return named.end()

    def _is_tool(self, word: str, behind: str) -> bool:
        """Whether a word in place of a role is the name of a tool whose answer is written."""
        if not _NAME.fullmatch(word) or word in CHANNELS:
            return False
        return word in self._names or word.startswith("functions.") or behind.lstrip(_BLANKS).startswith("to=")


def _begins_lone_word(word: str) -> bool:
    return any(lone.startswith(word) for lone in (*_LONE_WORDS, "assistant", "to="))
