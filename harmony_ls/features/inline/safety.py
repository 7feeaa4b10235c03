"""What must never reach a person: hidden characters, control characters, broken text and the model's own markers.

Two kinds of fault are told apart. Where the model has left the text (a marker, a control character, half a character),
what stands before is as good as ever, so the text is cut there. Where the text hides something (bidirectional
controls, zero-width and tag characters: "Trojan Source", CVE-2021-42574), none of it can be trusted, because what a
person reads is not what they would accept; it is refused whole.

A marker is allowed where the document itself holds that very literal: a person who writes a tokenizer's table wants
``<|fim_middle|>`` completed, it was decoded from ordinary tokens (special tokens are stopped at by id and never
decoded), and as text it can do no more harm than the document does already. Hidden characters have no such exception.
"""

import re
import unicodedata

from harmony_ls.features.document import DocumentSnapshot
from harmony_ls.features.inline.refusal import Refusal
from harmony_ls.features.inline.request import Reason
from harmony_ls.features.line_ends import with_plain_line_ends

__all__ = ["clean"]

_MARKER = re.compile(
    r"""
      <\|[\w./:-]{1,64}\|>                                     # Qwen, CodeGemma, GLM, Llama 3, Harmony, ChatML
    | <\uff5c[^\uff5c<>\n]{1,64}\uff5c>                          # DeepSeek, with the fullwidth bar
    | </?fim[_-][a-z_-]{1,24}>                                 # StarCoder, SantaCoder, Granite
    | <\[[a-z\u2581_-]{2,32}\]>                                # Seed-Coder
    | <(?:file_sep|repo_name|reponame|filename|gh_stars|empty_output|endoftext)>
    | <(?:jupyter|commit|issue)_[a-z]{1,24}>
    | <(?:start_of_turn|end_of_turn|start_of_image|eos|bos|pad|unk|mask)>
    | </?think>
    | \u2581?<(?:PRE|SUF|MID|EOT)>                             # CodeLlama
    | </?s>                                                    # Llama 2, Mistral
    | \[/?(?:INST|SUFFIX|PREFIX|MIDDLE|TOOL_CALLS|TOOL_RESULTS|AVAILABLE_TOOLS|SYSTEM_PROMPT)\]
    | <[|\uff5c][\w\u2581-]{0,64}[|\uff5c]?\Z                   # a marker that the end of the text cuts in two
    | </?fim[_-][a-z_-]{0,24}\Z
    """,
    re.VERBOSE,
)
# Tags that HTML has too. There they are markup, everywhere else the marks of a model.
_ALSO_HTML = frozenset({"<s>", "</s>", "<PRE>"})
_MARKUP_LANGUAGES = frozenset(
    {"html", "xml", "xhtml", "markdown", "svelte", "vue", "astro", "php", "handlebars", "erb", "jinja", "jinja-html"}
    | {"javascriptreact", "typescriptreact", "razor", "aspnetcorerazor", "django-html", "blade", "heex", "eelixir"}
)
# Format characters (category Cf) that have a shape: Arabic and Syriac signs that enclose or precede numbers.
_VISIBLE_FORMATS = frozenset("\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd")
# Letters and marks that show nothing although their category says otherwise.
_INVISIBLE = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0")
_BLANKS = " \t\n"
_JOINERS = frozenset("\u200c\u200d")


def clean(text: str, document: DocumentSnapshot) -> str | Refusal:
    """The part of a model's text that may be shown, its line ends made ``\\n``, or why none of it may."""
    text = with_plain_line_ends(text)
    kept = text[: _end_of_sound_text(text)]
    first_marker = None
    while marker := _first_marker(kept, document):
        first_marker = marker.group()
        kept = kept[: marker.start()]
    if hidden := _first_hidden(kept):
        return Refusal(Reason.UNSAFE_TEXT, f"The model's text holds the hidden character {_named(hidden)}.")
    if kept.strip() or not text.strip(_BLANKS):
        return kept
    if first_marker is not None:
        return Refusal(Reason.UNSAFE_TEXT, f"The model's text begins with a model's marker, {first_marker!r}.")
    first = text.lstrip(_BLANKS)[0]
    return Refusal(Reason.UNSAFE_TEXT, f"The model's text begins with {_named(first)}, which is no text.")


def _end_of_sound_text(text: str) -> int:
    """The offset of the first character that is no text, the text's length without one."""
    if text.isprintable():  # false for every control character and surrogate, line ends and blanks included
        end = text.find("\ufffd")
        return end if end >= 0 else len(text)
    for offset, character in enumerate(text):
        if character in "\t\n" or " " <= character <= "~":
            continue
        if character == "\ufffd" or unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp"):
            return offset
        if ord(character) & 0xFFFE == 0xFFFE:  # the two noncharacters that end every plane
            return offset
    return len(text)


def _first_hidden(text: str) -> str | None:
    if text.isascii():
        return None
    for offset, character in enumerate(text):
        if character <= "~":
            continue
        before, after = text[offset - 1 : offset], text[offset + 1 : offset + 2]
        if character in _JOINERS:
            # They join emoji, and letters of scripts that need them. Beside ASCII they only hide.
            if not before or before.isascii() or not after or after.isascii():
                return character
        elif "\ufe00" <= character <= "\ufe0f":
            # One selects the form of the sign before it. Runs of them carry hidden text.
            if not before or before.isspace() or "\ufe00" <= before <= "\ufe0f":
                return character
        elif _shows_nothing(character):
            return character
    return None


def _shows_nothing(character: str) -> bool:
    if character in _INVISIBLE or "\U000e0000" <= character <= "\U000e0fff":
        return True
    return unicodedata.category(character) == "Cf" and character not in _VISIBLE_FORMATS


def _first_marker(text: str, document: DocumentSnapshot) -> re.Match[str] | None:
    return next((marker for marker in _MARKER.finditer(text) if not _belongs_to(marker.group(), document)), None)


def _belongs_to(literal: str, document: DocumentSnapshot) -> bool:
    """Whether a literal that looks like a marker is the document's own. Only a marker costs this search."""
    if literal in _ALSO_HTML and document.language_id in _MARKUP_LANGUAGES:
        return True
    if literal.startswith("["):
        # ``names[PREFIX]`` is ordinary code where the document knows a PREFIX.
        return re.search(rf"\b{literal.strip('[/]')}\b", document.text) is not None
    return literal in document.text


def _named(character: str) -> str:
    return f"U+{ord(character):04X} {unicodedata.name(character, '')}".rstrip()
