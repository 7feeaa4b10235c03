"""Long texts in pieces that a tokenizer of OpenAI can be given one after another. It knows no tokens.

openai_harmony's tokenizer takes quadratic time for a long word, and holds the interpreter's lock meanwhile: a line of
32,000 exclamation marks takes half a second, a megabyte of them a quarter of an hour.
"""

import re
from collections.abc import Iterator

__all__ = ["PIECE_CHARACTERS", "pieces"]

PIECE_CHARACTERS = 4096

# Where o200k_base cuts every text before it merges anything: in front of a space between letters, and after the last
# newline of some. (A "/" right after a newline belongs to the punctuation in front of it.)
_CUT = re.compile(r"(?<=[A-Za-z0-9]) (?=[A-Za-z])|(?<=\n)(?=[ \t]+\S|[^\s/])")


def pieces(text: str, n_characters: int = PIECE_CHARACTERS) -> Iterator[str]:
    """``text`` in pieces of at most ``n_characters``, whose tokens one after another are the tokens of the whole.

    Only where a word, or a run of blanks or signs, is longer than that it is cut in two. Lone surrogates, which no
    encoding has, become question marks.
    """
    clean = text.encode("utf-8", "replace").decode("utf-8")
    start = 0
    while len(clean) - start > n_characters:
        cuts = [cut for match in _CUT.finditer(clean, start, start + n_characters) if (cut := match.start()) > start]
        end = cuts[-1] if cuts else start + n_characters
        yield clean[start:end]
        start = end
    if start < len(clean):
        yield clean[start:]
