"""Text to token ids and back, without surprises.

Three things a tokenizer of Hugging Face does not promise are made sure here: text from a document never becomes a
special token, whatever it holds; no space is added in front of text that starts in the middle of a line; and tokens are
decoded as bytes, so that leading spaces and half characters survive (mlx-lm's detokenizers drop a leading space).
"""

import codecs
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from typing import Any

from harmony_ls.engine.tokenizer import chat_template
from harmony_ls.engine.tokenizer.marker_texts import MarkerTexts, any_of
from harmony_ls.errors import ModelError

__all__ = ["IncrementalDecoder", "Tokenizer"]

# One call of the tokenizer gets at most this many characters: a pre-tokenizer's cost on one long run is quadratic.
_PIECE_CHARACTERS = 8192
# What may be put before a piece: a newline is a byte token in most vocabularies that add a space, else a control
# character is; a vocabulary without bytes may still have some sign that merges with nothing.
_SENTINELS = ("\n", "\x01", "\x02", "\x1f", "~", "^", "@", "$", "`")
_HTML_TAG = re.compile(
    r"</?(?:table|caption|thead|tbody|tfoot|tr|th|td|h[1-6]|blockquote|strong|em|b|i|u|s|sub|sup|code)>"
)
_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")


class IncrementalDecoder:
    """Turns tokens into text one at a time; bytes of an unfinished character are held back."""

    def __init__(self, tokenizer: "Tokenizer") -> None:
        self._tokenizer = tokenizer
        self._utf8 = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def feed(self, token: int) -> str:
        """The text that ``token`` completes; empty for a special token and while a character is unfinished."""
        return self._utf8.decode(self._tokenizer.token_bytes(token))

    @property
    def pending(self) -> bytes:
        """The bytes of a character that has begun and not ended."""
        return self._utf8.getstate()[0]


class Tokenizer:
    """A model's tokenizer as prompts and features see it. It wraps mlx-lm's ``TokenizerWrapper``."""

    def __init__(self, wrapper: Any) -> None:
        self._wrapper = wrapper
        self._backend = wrapper._tokenizer
        added: dict[int, Any] = self._backend.added_tokens_decoder
        self._added = {token: str(content) for token, content in added.items()}
        self._markers = {token: str(content) for token, content in added.items() if not _is_text(content)}
        self._marker_ids = {text: token for token, text in self._markers.items() if text}
        self.marker_texts = MarkerTexts(self._marker_ids)
        self._every_marker = self.marker_texts.pattern
        # Of several that begin at one place the longest is found; all are cut alike.
        self._marker_pattern = any_of(text for text in self._marker_ids if len(text) > 1)
        self._takes_blanks_before = {str(content) for content in added.values() if content.lstrip}
        self._vocabulary: dict[str, int] = self._backend.get_vocab()
        self._sentinel, self._sentinel_length = self._find_sentinel()

    @property
    def eos_token_ids(self) -> frozenset[int]:
        """The tokens that end a generation, as the model's configuration names them."""
        return frozenset(self._wrapper.eos_token_ids)

    @property
    def bos_token_id(self) -> int | None:
        """The token that every prompt starts with, if the tokenizer adds one by itself."""
        token: int | None = self._backend.bos_token_id
        if token is None:
            return None
        starts: list[int] = self._backend.encode("a", add_special_tokens=True)
        return token if starts[:1] == [token] else None

    @property
    def adds_space(self) -> bool:
        """Whether a space that means nothing is put in front of a text, so that answers begin with one too."""
        return self._sentinel != ""

    @property
    def has_chat_template(self) -> bool:
        """Whether the model has a chat template of its own."""
        return bool(self._wrapper.has_chat_template)

    @cached_property
    def vocabulary_size(self) -> int:
        """The number of tokens that the tokenizer knows. A model's own vocabulary may be padded to more."""
        return max(self._vocabulary.values()) + 1

    def token_id(self, literal: str) -> int | None:
        """The id of the one token that is spelled ``literal``, or None if there is no such token."""
        token: int | None = self._vocabulary.get(literal)
        return token

    def is_marker(self, token: int) -> bool:
        """Whether ``token`` was added to the vocabulary as a marker (special or not) rather than learned from text."""
        return token in self._markers

    def reserve(self, tokens: Iterable[int]) -> None:
        """Treat these tokens as markers, which no text may become, although the vocabulary has them among its words."""
        literals = {token: literal for literal, token in self._vocabulary.items()}
        for token in tokens:
            if token not in self._markers and token in literals:
                self._markers[token] = literals[token]

    def marker_text(self, token: int) -> str:
        """How a marker is spelled; empty for a token that is none."""
        return self._markers.get(token, "")

    def encode(self, text: str) -> list[int]:
        """The tokens of plain text. A marker that stands in the text is spelled out, never a control token."""
        tokens: list[int] = []
        for piece in self._pieces(text):
            tokens.extend(self._encode_piece(piece))
        return tokens

    def encode_marked(self, text: str, *, is_start: bool) -> list[int]:
        """The tokens of text whose markers are meant, such as a rendered chat template.

        ``is_start`` tells that the text begins a prompt: only there may a space be added in front of it. The tokens are
        those of ``apply_chat_template(tokenize=True)``, except that runs of thousands of letters are cut into pieces.
        """
        if len(text) <= _PIECE_CHARACTERS:
            return self._encode_marked_piece(text, is_start=is_start)
        tokens: list[int] = []
        # Tokenizers cut at markers first, so to cut there changes nothing; but some markers take blanks before them.
        matches = self._every_marker.finditer(text)
        cuts = [match.start() for match in matches if match.group() not in self._takes_blanks_before]
        for start, end in pairwise([0, *(cut for cut in cuts if cut), len(text)]):
            for index, piece in enumerate(_bounded(text[start:end])):
                tokens.extend(self._encode_marked_piece(piece, is_start=is_start and start == 0 and index == 0))
        return tokens

    def _encode_marked_piece(self, piece: str, *, is_start: bool) -> list[int]:
        matches = list(self._every_marker.finditer(piece))
        begins_with_marker = bool(matches) and matches[0].start() == 0
        sentinel = "" if is_start or begins_with_marker else self._sentinel
        clean = (sentinel + piece).encode("utf-8", "replace").decode("utf-8")
        tokens: list[int] = self._backend.encode(clean, add_special_tokens=False)
        tokens = tokens[self._sentinel_length :] if sentinel else tokens
        meant = [self._marker_ids[match.group()] for match in matches]
        if [token for token in tokens if token in self._markers] == meant:
            return tokens
        # A normaliser made a marker of what was none, or read one otherwise: what is none is encoded by itself.
        tokens, position = [], 0
        for match, token in zip(matches, meant, strict=True):
            tokens += [*self.encode(piece[position : match.start()]), token]
            position = match.end()
        return tokens + self.encode(piece[position:])

    def render_chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] = (),
        arguments: Mapping[str, Any] | None = None,
        *,
        opens_answer: bool = True,
    ) -> chat_template.RenderedChat:
        """The chat template over messages in OpenAI's form; see `harmony_ls.engine.tokenizer.chat_template.render`."""
        return chat_template.render(self, self._wrapper, messages, tools, arguments or {}, opens_answer=opens_answer)

    @cached_property
    def answers(self) -> chat_template.AnswerSyntax:
        """How the model's answers are divided into text, reasoning and tool calls, as far as mlx-lm knows."""
        return chat_template.answer_syntax(self._wrapper)

    def parse_tool_call(self, text: str, tools: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, str]]:
        """The calls in what stands between the markers of a tool call: name, arguments as text, and id or "".

        Raises ValueError where mlx-lm's parser for this model cannot read it.
        """
        return chat_template.parse_tool_call(self._wrapper.tool_parser, text, tools)

    def encode_conversation(self, messages: Sequence[tuple[str, str]]) -> list[int]:
        """The tokens of (role, text) messages in the model's chat template, up to where the assistant's message starts.

        Each text is encoded by itself with ``encode``, whatever the template does with the beginnings and ends of
        texts. Raises ModelError when the template fails or does not show a message as it is.
        """
        slots = [f"harmony{index}placeholder" for index in range(len(messages))]
        conversation = [{"role": role, "content": slot} for (role, _), slot in zip(messages, slots, strict=True)]
        rendered = self.render_chat(conversation)
        if not all(slot in rendered.text for slot in slots):
            raise ModelError("The model's chat template does not show the messages as they are.")
        return rendered.encode({slot: self.encode(text) for (_, text), slot in zip(messages, slots, strict=True)})

    def last_piece_start(self, text: str) -> int:
        """Where the last unit begins that the tokenizer never merges across: a word with its leading space, say.

        Vocabularies without such a split give the start of the last token. Look at no more of the text than its end.
        """
        if not text:
            return 0
        pieces = self._split(text)
        return pieces[-1] if pieces is not None else self.last_token_start(text)

    def last_token_start(self, text: str) -> int:
        """Where the last token of ``text`` begins, or the character that it ends if it is only a part of one."""
        tokens = self.encode(text)
        n_bytes = len(text.encode("utf-8", "replace")) - len(b"".join(map(self.token_bytes, tokens[-1:])))
        return min(len(text.encode("utf-8", "replace")[:n_bytes].decode("utf-8", "ignore")), max(0, len(text) - 1))

    def is_boundary(self, text: str, position: int) -> bool:
        """Whether no token of ``text`` lies across ``position``, so that both sides can be encoded alone."""
        if position in (0, len(text)):
            return True
        pieces = self._split(text)
        if pieces is not None and position not in pieces:
            return False
        # A split depends on what follows it ("a  b" is cut otherwise than "a  "), and some tokenizers split nothing.
        return self.encode(text[:position]) + self.encode(text[position:]) == self.encode(text)

    def _split(self, text: str) -> list[int] | None:
        """The starts of the pre-tokens of ``text``; None for a tokenizer whose pre-tokenizer splits nothing."""
        if not self._splits:
            return None
        clean = text.encode("utf-8", "replace").decode("utf-8")
        pieces = self._backend.backend_tokenizer.pre_tokenizer.pre_tokenize_str(clean)
        return [start for _, (start, _) in pieces]

    @cached_property
    def _splits(self) -> bool:
        backend = getattr(self._backend, "backend_tokenizer", None)
        if backend is None or backend.pre_tokenizer is None:
            return False
        # The metaspace of newer SentencePiece conversions only replaces the blanks.
        return len(backend.pre_tokenizer.pre_tokenize_str("one two\nthree")) > 1

    def token_bytes(self, token: int) -> bytes:
        """The bytes a token stands for; empty for markers and for ids that the tokenizer does not know."""
        table = self.byte_table
        return table[token] if 0 <= token < len(table) else b""

    def decode(self, tokens: Iterable[int]) -> str:
        """The text of whole tokens; bytes that are no UTF-8 become U+FFFD."""
        return b"".join(map(self.token_bytes, tokens)).decode("utf-8", errors="replace")

    def decoder(self) -> IncrementalDecoder:
        """A decoder for one stream of tokens."""
        return IncrementalDecoder(self)

    @cached_property
    def byte_table(self) -> tuple[bytes, ...]:
        """The bytes of every token, by id."""
        table = [b""] * self.vocabulary_size
        spell = self._spelling()
        for literal, token in self._vocabulary.items():
            if token in self._added:
                table[token] = b"" if token in self._markers else self._added[token].encode("utf-8", "replace")
            else:
                table[token] = spell(literal)
        return tuple(table)

    def _spelling(self) -> Any:
        """How a token's literal spells bytes. mlx-lm's choice of detokenizer tells which kind of vocabulary it is."""
        from mlx_lm.tokenizer_utils import BPEStreamingDetokenizer, SPMStreamingDetokenizer

        detokenizer = self._wrapper.detokenizer
        if isinstance(detokenizer, BPEStreamingDetokenizer):
            alphabet = _byte_alphabet()
            return lambda literal: b"".join(
                bytes([alphabet[character]]) if character in alphabet else character.encode("utf-8", "replace")
                for character in literal
            )
        if isinstance(detokenizer, SPMStreamingDetokenizer):
            return _sentencepiece_bytes
        return lambda literal: str(
            self._backend.decode([self._vocabulary[literal]], clean_up_tokenization_spaces=False)
        ).encode()

    def _pieces(self, text: str) -> Iterable[str]:
        """``text`` in bounded pieces, with every marker that it spells cut in two.

        Cut markers work for every tokenizer; ``split_special_tokens`` leaves the markers alone that a vocabulary
        declares as not special (Qwen's FIM tokens are).
        """
        starts = [0]
        position = 0
        while (match := self._marker_pattern.search(text, position)) is not None:
            starts.append(match.start() + 1)
            position = match.start() + 1
        starts.append(len(text))
        for start, end in pairwise(starts):
            yield from _bounded(text[start:end])

    def _encode_piece(self, piece: str) -> list[int]:
        # A lone surrogate cannot be UTF-8; the tokenizers library refuses the whole text for it.
        clean = piece.encode("utf-8", "replace").decode("utf-8")
        tokens: list[int] = self._backend.encode(self._sentinel + clean, add_special_tokens=False)
        tokens = tokens[self._sentinel_length :]
        if self._markers.keys().isdisjoint(tokens):
            return tokens
        # A normaliser made a marker of what was none (a wide "<" becomes "<"): cut until none is left.
        if len(clean) == 1:
            return [token for token in tokens if token not in self._markers]
        half = len(clean) // 2
        return self._encode_piece(clean[:half]) + self._encode_piece(clean[half:])

    def _find_sentinel(self) -> tuple[str, int]:
        """A text to encode in front of every piece where the tokenizer would add a space there, and its tokens' number.

        It must be a character that merges with nothing, so that what follows is encoded as in the middle of a text.
        """
        tokens: list[int] = self._backend.encode("x", add_special_tokens=False)
        if b"".join(map(self.token_bytes, tokens)) == b"x":
            return "", 0
        plain = tokens[-1:]
        for sentinel in _SENTINELS:
            alone: list[int] = self._backend.encode(sentinel, add_special_tokens=False)
            spelled = b"".join(map(self.token_bytes, alone)).strip(b" ")
            is_sound = spelled == sentinel.encode() and self._merges_with_nothing(sentinel)
            if is_sound and self._backend.encode(sentinel + "x", add_special_tokens=False) == alone + plain:
                return sentinel, len(alone)
        return "", 0

    def _merges_with_nothing(self, character: str) -> bool:
        byte = character.encode()
        return not any(byte in spelled and len(spelled.strip(b" ")) > 1 for spelled in self.byte_table)


def _is_text(added: Any) -> bool:
    """Whether an added token is text nevertheless: blanks (CodeGen), letters (DeepSeek-Coder's ü), HTML (Gemma)."""
    content = str(added)
    if not content.strip():
        return True
    return not added.special and (len(content) == 1 or _HTML_TAG.fullmatch(content) is not None)


def _bounded(text: str) -> Iterable[str]:
    """Pieces of at most ``_PIECE_CHARACTERS``, cut after a newline where there is one."""
    start = 0
    while len(text) - start > _PIECE_CHARACTERS:
        newline = text.rfind("\n", start, start + _PIECE_CHARACTERS)
        end = newline + 1 if newline > start else start + _PIECE_CHARACTERS
        yield text[start:end]
        start = end
    if start < len(text):
        yield text[start:]


def _byte_alphabet() -> dict[str, int]:
    """The printable characters that byte-level BPE writes for the 256 bytes (GPT-2's table)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    alphabet = {chr(byte): byte for byte in printable}
    unprintable = [byte for byte in range(256) if byte not in set(printable)]
    alphabet.update({chr(256 + index): byte for index, byte in enumerate(unprintable)})
    return alphabet


def _sentencepiece_bytes(literal: str) -> bytes:
    match = _BYTE_TOKEN.fullmatch(literal)
    if match is not None:
        return bytes([int(match.group(1), 16)])
    return literal.replace("▁", " ").encode("utf-8", "replace")
