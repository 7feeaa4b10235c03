"""Turn the corpus into training windows: tokenise every file once, draw fill-in-the-middle pieces, pack them.

`encode` tokenises the corpus on all cores into one .npz. `windows` then writes shards of packed windows, endlessly
fresh for as many shards as asked, one file per layout: `spm` (suffix, prefix, middle) and `psm` (prefix, suffix,
middle) hold the same pieces in a different order, so that two models can be compared. It trains nothing.

Cuts fall on token boundaries, nearly always at the start of a unit of the tokenizer's split, which is where token
healing puts a prompt's end; slicing the tokens of the whole file is then the same as tokenising the parts.
"""

from __future__ import annotations

import argparse
import lzma
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

END, FIM_PREFIX, FIM_SUFFIX, FIM_MIDDLE, FIM_PAD = range(5)
WINDOW = 1025
LONGEST_MIDDLE = 150
Ids = np.ndarray[Any, np.dtype[np.uint16]]


@dataclass
class Corpus:
    """All files as one array of tokens, with the line structure that cutting needs.

    A line break is a unit of one or more tokens: newlines and the indentation after them. `break_at` and `content_at`
    are the positions of its first token and of the token after it. `after_first` and `after_last` number the text
    that remains of it behind its first and behind its last newline: how a suffix and a prefix that begin there start.
    """

    ids: Ids
    unit_start: np.ndarray[Any, np.dtype[np.bool_]]
    file_at: np.ndarray[Any, np.dtype[np.int64]]
    break_at: np.ndarray[Any, np.dtype[np.int64]]
    content_at: np.ndarray[Any, np.dtype[np.int64]]
    indentation: np.ndarray[Any, np.dtype[np.int32]]
    after_first: np.ndarray[Any, np.dtype[np.int32]]
    after_last: np.ndarray[Any, np.dtype[np.int32]]
    remains: list[Ids]


def encode_files(tokenizer_path: str, texts: list[str]) -> tuple[list[Ids], list[np.ndarray[Any, Any]]]:
    """Tokens of some files, and the positions where units start."""
    tokenizer = Tokenizer.from_file(tokenizer_path)
    ids, starts = [], []
    for encoding in tokenizer.encode_batch(texts, add_special_tokens=False):
        words = np.array([-1 if word is None else word for word in encoding.word_ids], dtype=np.int64)
        ids.append(np.array(encoding.ids, dtype=np.uint16))
        starts.append(np.diff(words, prepend=-1) != 0)
    return ids, starts


def encode(arguments: argparse.Namespace) -> None:
    with lzma.open(arguments.corpus, "rt", encoding="utf-8", newline="") as corpus:
        # Literal markers in the text must stay text; a corpus of code can do without the few files that hold them.
        texts = [text for text in corpus.read().split("\0") if len(text) > 50 and "<|" not in text]
    texts = texts[: arguments.limit_files]
    chunks = [texts[at : at + 200] for at in range(0, len(texts), 200)]
    ids: list[Ids] = []
    starts: list[np.ndarray[Any, Any]] = []
    with ProcessPoolExecutor(arguments.workers) as pool:
        for some_ids, some_starts in pool.map(partial(encode_files, str(arguments.tokenizer)), chunks):
            ids += some_ids
            starts += some_starts
    file_at = np.concatenate([[0], np.cumsum([len(file) for file in ids])]).astype(np.int64)
    np.savez(arguments.out, ids=np.concatenate(ids), unit_start=np.concatenate(starts), file_at=file_at)
    print(f"{len(ids):,} files, {sum(map(len, texts)):,} characters, {file_at[-1]:,} tokens", flush=True)


def load(path: Path, tokenizer_path: Path) -> Corpus:
    """The encoded corpus with its line breaks found."""
    with np.load(path) as arrays:
        ids, unit_start, file_at = arrays["ids"], arrays["unit_start"], arrays["file_at"]
    tokenizer = Tokenizer.from_file(str(tokenizer_path))
    vocabulary = [tokenizer.decode([number], skip_special_tokens=False) for number in range(tokenizer.get_vocab_size())]
    has_newline = np.array(["\n" in text and not text.strip() for text in vocabulary])
    starts = np.flatnonzero(unit_start)
    ends = np.append(starts[1:], len(ids))
    newlines = np.concatenate([[0], np.cumsum(has_newline[ids])])
    is_break = newlines[ends] > newlines[starts]
    break_at, content_at = starts[is_break], ends[is_break]

    numbers: dict[str, int] = {}
    remains: list[Ids] = []

    def number_of(text: str) -> int:
        if text not in numbers:
            numbers[text] = len(remains)
            remains.append(np.array(tokenizer.encode(text, add_special_tokens=False).ids, dtype=np.uint16))
        return numbers[text]

    known: dict[bytes, tuple[int, int, int]] = {}
    rows = np.empty((len(break_at), 3), dtype=np.int32)
    for row, (start, end) in enumerate(zip(break_at.tolist(), content_at.tolist(), strict=True)):
        key = ids[start:end].tobytes()
        if key not in known:
            text = tokenizer.decode(ids[start:end].tolist(), skip_special_tokens=False)
            last = text[text.rindex("\n") + 1 :]
            known[key] = (len(last), number_of(text[text.index("\n") + 1 :]), number_of(last))
        rows[row] = known[key]
    return Corpus(ids, unit_start, file_at, break_at, content_at, rows[:, 0], rows[:, 1], rows[:, 2], remains)


@dataclass(frozen=True)
class Piece:
    """One fill-in-the-middle example: token ids without markers."""

    prefix: Ids
    suffix: Ids
    middle: Ids

    def tokens(self, layout: str) -> Ids:
        has_suffix = len(self.suffix) > 0
        before = [FIM_SUFFIX, *self.suffix] if has_suffix else []
        prefix = [FIM_PREFIX, *self.prefix]
        parts = [*before, *prefix] if layout == "spm" else [*prefix, *before]
        return np.array([*parts, FIM_MIDDLE, *self.middle, END], dtype=np.uint16)


def draw_piece(corpus: Corpus, random: np.random.Generator) -> Piece | None:
    """One piece from anywhere in the corpus; None where the place drawn does not suit."""
    place = int(random.integers(len(corpus.ids)))
    file = int(np.searchsorted(corpus.file_at, place, "right")) - 1
    file_start, file_end = int(corpus.file_at[file]), int(corpus.file_at[file + 1])
    next_break = int(np.searchsorted(corpus.break_at, place, "left"))
    if next_break >= len(corpus.break_at) or corpus.break_at[next_break] >= file_end:
        return None
    previous = next_break - 1
    inside_file = previous >= 0 and corpus.break_at[previous] >= file_start
    line_start = int(corpus.content_at[previous]) if inside_file else file_start
    line_end = int(corpus.break_at[next_break])
    cut = place
    if place < line_start:
        cut = line_start
    kind = random.random()
    if random.random() < 0.92:
        while cut > line_start and not corpus.unit_start[cut]:
            cut -= 1

    middle_end, suffix_break = line_end, next_break
    if kind < 0.55:
        if inside_file and random.random() < 0.2:
            cut = int(corpus.break_at[previous])
    elif kind < 0.82:
        if inside_file and random.random() < 0.4:
            cut = int(corpus.break_at[previous])
        suffix_break = later_break(corpus, next_break, previous, file_end, random)
        middle_end = int(corpus.break_at[suffix_break])
    elif kind < 0.95:
        suffix_break = -1
        middle_end = stop_inside(corpus, cut, line_end, random)
    else:
        cut = line_end
    if not 0 <= middle_end - cut <= LONGEST_MIDDLE:
        return None

    suffix = draw_suffix(corpus, middle_end, suffix_break, file_end, random)
    budget = int(random.integers(300, 760)) if random.random() < 0.45 else int(random.integers(12, 300))
    prefix = draw_prefix(corpus, cut, budget, file_start)
    return Piece(prefix, suffix, corpus.ids[cut:middle_end])


def later_break(corpus: Corpus, first: int, previous: int, file_end: int, random: np.random.Generator) -> int:
    """The line break at which a middle of several lines ends: often where its block ends."""
    last = int(np.searchsorted(corpus.break_at, file_end, "left")) - 1
    if random.random() < 0.5:
        return min(last, first + int(random.geometric(0.35)))
    indentation = corpus.indentation[previous] if previous >= 0 else 0
    for at in range(first, min(last, first + 12)):
        if corpus.indentation[at] < indentation:
            return at
    return min(last, first + int(random.integers(1, 6)))


def stop_inside(corpus: Corpus, cut: int, line_end: int, random: np.random.Generator) -> int:
    """A unit boundary of the same line: often the last one, which is where closing brackets stand."""
    boundaries = [at for at in range(cut + 1, line_end) if corpus.unit_start[at]]
    if not boundaries:
        return line_end
    return boundaries[-1] if random.random() < 0.6 else boundaries[int(random.integers(len(boundaries)))]


def draw_suffix(corpus: Corpus, middle_end: int, at_break: int, file_end: int, random: np.random.Generator) -> Ids:
    """What follows the middle, from the next line on (at_break >= 0) or from the rest of the line."""
    if random.random() < 0.1:
        return corpus.ids[:0]
    length = int(random.integers(8, 170))
    if at_break >= 0:
        start = int(corpus.content_at[at_break])
        head = corpus.remains[corpus.after_first[at_break]]
    else:
        start, head = middle_end, corpus.ids[:0]
    end = min(file_end, start + length)
    if random.random() < 0.7:
        line = int(np.searchsorted(corpus.break_at, end, "right")) - 1
        if line >= 0 and corpus.break_at[line] > start:
            end = int(corpus.content_at[line]) if random.random() < 0.5 else int(corpus.break_at[line])
    return np.concatenate([head, corpus.ids[start:end]]) if end > start else corpus.ids[:0]


def draw_prefix(corpus: Corpus, cut: int, budget: int, file_start: int) -> Ids:
    """The text before the cut, from the start of a line, at most `budget` tokens and never less than a line."""
    if cut - budget <= file_start:
        return corpus.ids[file_start:cut]
    line = int(np.searchsorted(corpus.content_at, cut - budget, "left"))
    if line >= len(corpus.content_at) or corpus.content_at[line] > cut:
        return corpus.ids[max(file_start, cut - budget) : cut]
    head = corpus.remains[corpus.after_last[line]]
    return np.concatenate([head, corpus.ids[int(corpus.content_at[line]) : cut]])


def plain(corpus: Corpus, length: int, random: np.random.Generator) -> Ids:
    """A run of whole lines from anywhere, cut at `length` tokens."""
    line = int(random.integers(len(corpus.content_at)))
    start = int(corpus.content_at[line])
    file = int(np.searchsorted(corpus.file_at, start, "right")) - 1
    end = int(corpus.file_at[file + 1])
    return np.append(corpus.remains[corpus.after_last[line]], np.append(corpus.ids[start:end], END))[:length]


def fill_window(corpus: Corpus, waiting: list[Piece], random: np.random.Generator) -> list[Piece | Ids]:
    """The parts of one window: the first waiting piece, those that fit best beside it, then plain code."""
    parts: list[Piece | Ids] = []
    room = WINDOW
    if random.random() >= 0.05:
        while True:
            while len(waiting) < 48:
                piece = draw_piece(corpus, random)
                if piece is not None:
                    waiting.append(piece)
            sizes = [piece_size(piece) for piece in waiting]
            fitting = [index for index, size in enumerate(sizes) if size <= room]
            if not fitting:
                break
            best = fitting[0] if room == WINDOW else max(fitting, key=sizes.__getitem__)
            parts.append(waiting.pop(best))
            room -= sizes[best]
    while room > 0:
        code = plain(corpus, room, random)
        parts.append(code.astype(np.uint16))
        room -= len(code)
    return parts


def piece_size(piece: Piece) -> int:
    return len(piece.prefix) + len(piece.middle) + 3 + (len(piece.suffix) + 1 if len(piece.suffix) else 0)


CORPUS: Corpus | None = None


def write_shard(out: Path, layouts: list[str], size: int, seed: int, number: int) -> None:
    """One shard in every layout; the corpus is inherited from the parent process."""
    assert CORPUS is not None
    random = np.random.default_rng([seed, number])
    waiting: list[Piece] = []
    shards = {layout: np.empty((size, WINDOW), dtype=np.uint16) for layout in layouts}
    for row in range(size):
        parts = fill_window(CORPUS, waiting, random)
        for layout, shard in shards.items():
            shard[row] = np.concatenate([part.tokens(layout) if isinstance(part, Piece) else part for part in parts])
    for layout, shard in shards.items():
        folder = out / layout
        folder.mkdir(parents=True, exist_ok=True)
        partial_path = folder / f"{number:05d}.partial"
        with partial_path.open("wb") as handle:
            np.save(handle, shard)
        partial_path.rename(folder / f"{number:05d}.npy")


def windows(arguments: argparse.Namespace) -> None:
    global CORPUS
    CORPUS = load(arguments.encoded, arguments.tokenizer)
    print(f"{len(CORPUS.break_at):,} line breaks, {len(CORPUS.remains)} kinds of remainder", flush=True)
    work = partial(write_shard, arguments.out, arguments.layouts, arguments.shard_windows, arguments.seed)
    first = arguments.first_shard
    # Forked workers share the corpus's memory.
    with multiprocessing.get_context("fork").Pool(arguments.workers) as pool:
        for _ in pool.imap(work, range(first, first + arguments.shards), chunksize=1):
            pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("encode", help="tokenise the corpus")
    command.add_argument("--corpus", type=Path, required=True, help="corpus.txt.xz of collect.py")
    command.add_argument("--tokenizer", type=Path, required=True, help="tokenizer.json")
    command.add_argument("--limit-files", type=int, help="for a rehearsal")
    command.add_argument("--workers", type=int, default=2)
    command.add_argument("--out", type=Path, required=True, help="encoded.npz")
    command.set_defaults(run=encode)
    command = commands.add_parser("windows", help="write shards of packed windows")
    command.add_argument("--encoded", type=Path, required=True)
    command.add_argument("--tokenizer", type=Path, required=True)
    command.add_argument("--layouts", nargs="+", choices=["spm", "psm"], default=["spm"])
    command.add_argument("--shards", type=int, required=True)
    command.add_argument("--first-shard", type=int, default=0)
    command.add_argument("--shard-windows", type=int, default=4096)
    command.add_argument("--seed", type=int, default=1)
    command.add_argument("--workers", type=int, default=2)
    command.add_argument("--out", type=Path, required=True, help="folder; shards go to <out>/<layout>/")
    command.set_defaults(run=windows)
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()
