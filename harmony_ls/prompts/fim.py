"""Fill-in-the-middle prompts: the families of markers, how a vocabulary shows its family, and how a prompt is laid out.

A family is a row of ``FAMILIES``. Its markers are looked up in the vocabulary, each must be one token; names of models
are never consulted. Whether a model was really trained on the markers that it has is found out by a probe
(`harmony_ls.features.fim_probe`), not here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from harmony_ls.prompts.tokenizer import Tokenizer

__all__ = [
    "FAMILIES",
    "FimFamily",
    "FimFormat",
    "FimPrompt",
    "Layout",
    "detect_format",
    "detect_formats",
    "format_of_markers",
]


class Layout(StrEnum):
    """The order of the parts in a prompt.

    ``PSM`` prefix, suffix, middle. ``SPM`` suffix, prefix, middle. ``SPM_JOINED`` is the suffix-first order of the
    models that were trained with the prefix after the middle marker (Code Llama, arXiv 2308.12950, section 2.3).
    ``LINE_AFTER_MIDDLE`` is PSM with the line being typed placed after the middle marker, so that a keystroke changes
    only the end of the prompt.
    """

    PSM = "psm"
    SPM = "spm"
    SPM_JOINED = "spmJoined"
    LINE_AFTER_MIDDLE = "lineAfterMiddle"


@dataclass(frozen=True, slots=True)
class FimFamily:
    """A set of markers that models share.

    ``middle`` is None where the text simply goes on (Codestral). ``layouts`` are the orders the family was trained on,
    the preferred one first. ``also_stop`` are further markers after which nothing belongs to the completion.
    ``model_types`` name the architectures that this row is preferred for when several rows match one vocabulary.
    """

    name: str
    prefix: str
    suffix: str
    middle: str | None
    layouts: tuple[Layout, ...]
    also_stop: tuple[str, ...] = ()
    model_types: frozenset[str] = frozenset()


_QWEN_STOPS = ("<|fim_pad|>", "<|file_sep|>", "<|repo_name|>", "<|im_end|>", "<|endoftext|>")

# The rows that are more particular come first: of several that match, a probe prefers the first that does best.
FAMILIES: tuple[FimFamily, ...] = (
    FimFamily(
        name="Seed-Coder",
        prefix="<[fim-prefix]>",
        suffix="<[fim-suffix]>",
        middle="<[fim-middle]>",
        layouts=(Layout.SPM,),
        also_stop=("<[end▁of▁sentence]>",),
    ),
    FimFamily(
        name="DeepSeek-Coder",
        prefix="<｜fim▁begin｜>",
        suffix="<｜fim▁hole｜>",
        middle="<｜fim▁end｜>",
        layouts=(Layout.PSM,),
        also_stop=("<｜end▁of▁sentence｜>", "<|EOT|>"),
    ),
    FimFamily(
        name="Code Llama",
        prefix="▁<PRE>",
        suffix="▁<SUF>",
        middle="▁<MID>",
        layouts=(Layout.PSM, Layout.SPM_JOINED),
        also_stop=("▁<EOT>",),
    ),
    FimFamily(
        name="Codestral",
        prefix="[PREFIX]",
        suffix="[SUFFIX]",
        middle=None,
        layouts=(Layout.SPM,),
        also_stop=("[MIDDLE]",),
    ),
    FimFamily(
        name="GLM",
        prefix="<|code_prefix|>",
        suffix="<|code_suffix|>",
        middle="<|code_middle|>",
        layouts=(Layout.PSM,),
        also_stop=("<|endoftext|>", "<|user|>"),
    ),
    FimFamily(
        name="CodeGemma",
        prefix="<|fim_prefix|>",
        suffix="<|fim_suffix|>",
        middle="<|fim_middle|>",
        layouts=(Layout.PSM,),
        also_stop=("<|file_separator|>", "<end_of_turn>", "<eos>"),
        model_types=frozenset({"gemma", "gemma2", "gemma3", "gemma3_text"}),
    ),
    FimFamily(
        name="Granite 4",
        prefix="<|fim_prefix|>",
        suffix="<|fim_suffix|>",
        middle="<|fim_middle|>",
        layouts=(Layout.PSM,),
        also_stop=("<|fim_pad|>", "<|end_of_text|>"),
        model_types=frozenset({"granite", "granitemoe", "granitemoehybrid"}),
    ),
    FimFamily(
        name="Qwen Coder",
        prefix="<|fim_prefix|>",
        suffix="<|fim_suffix|>",
        middle="<|fim_middle|>",
        layouts=(Layout.PSM,),
        also_stop=_QWEN_STOPS,
    ),
    FimFamily(
        name="StarCoder",
        prefix="<fim_prefix>",
        suffix="<fim_suffix>",
        middle="<fim_middle>",
        layouts=(Layout.PSM, Layout.SPM_JOINED),
        also_stop=(
            "<fim_pad>",
            "<file_sep>",
            "<repo_name>",
            "<reponame>",
            "<filename>",
            "<|endoftext|>",
            "<|end_of_text|>",
        ),
    ),
    FimFamily(
        name="SantaCoder",
        prefix="<fim-prefix>",
        suffix="<fim-suffix>",
        middle="<fim-middle>",
        layouts=(Layout.PSM,),
        also_stop=("<fim-pad>", "<|endoftext|>"),
    ),
    FimFamily(
        name="Falcon Coder",
        prefix="<|prefix|>",
        suffix="<|suffix|>",
        middle="<|middle|>",
        layouts=(Layout.PSM,),
        also_stop=("<|endoftext|>",),
    ),
)

EMBEDDED_FAMILY = FimFamily(
    name="harmony-ls embedded",
    prefix="<|fim_prefix|>",
    suffix="<|fim_suffix|>",
    middle="<|fim_middle|>",
    layouts=(Layout.SPM,),
    also_stop=("<|endoftext|>", "<|fim_pad|>"),
)


@dataclass(frozen=True, slots=True)
class FimPrompt:
    """A rendered prompt. The first ``stable_tokens`` of it stay the same while one line is being typed."""

    tokens: tuple[int, ...]
    stable_tokens: int


@dataclass(frozen=True, slots=True)
class FimFormat:
    """A family as one vocabulary has it: marker ids, the tokens that end a completion, the layout in use."""

    family: FimFamily
    layout: Layout
    prefix: int
    suffix: int
    middle: int | None
    stop_tokens: frozenset[int]
    bos: tuple[int, ...]

    def render(self, before: Sequence[int], line: Sequence[int], after: Sequence[int]) -> FimPrompt:
        """The prompt for the text ``before`` the line being typed, the typed part of the ``line``, the text ``after``.

        All three are tokens. An empty ``after`` leaves the suffix out where the layout was trained without it.
        """
        middle = () if self.middle is None else (self.middle,)
        match self.layout:
            case Layout.PSM:
                stable = (*self.bos, self.prefix, *before)
                return FimPrompt((*stable, *line, self.suffix, *after, *middle), len(stable))
            case Layout.LINE_AFTER_MIDDLE:
                stable = (*self.bos, self.prefix, *before, self.suffix, *after, *middle)
                return FimPrompt((*stable, *line), len(stable))
            case Layout.SPM_JOINED:
                stable = (*self.bos, self.prefix, self.suffix, *after, *middle, *before)
                return FimPrompt((*stable, *line), len(stable))
            case Layout.SPM:
                suffix = (self.suffix, *after) if after or self.middle is None else ()
                stable = (*self.bos, *suffix, self.prefix, *before)
                return FimPrompt((*stable, *line, *middle), len(stable))


def detect_format(tokenizer: Tokenizer, model_type: str, *, embedded: bool = False) -> FimFormat | None:
    """The likeliest FIM format of a vocabulary, or None where no family has all its markers in it."""
    if embedded:
        return _format(tokenizer, EMBEDDED_FAMILY)
    return next(iter(detect_formats(tokenizer, model_type)), None)


def detect_formats(tokenizer: Tokenizer, model_type: str) -> tuple[FimFormat, ...]:
    """The FIM formats that a vocabulary may stand for, the likeliest first.

    A row that names the architecture leaves no doubt. Else a vocabulary with the markers of several families does not
    tell which of them the model was trained on.
    """
    formats = [found for family in FAMILIES if (found := _format(tokenizer, family)) is not None]
    for found in formats:
        if model_type in found.family.model_types:
            return (found,)
    return tuple(found for found in formats if not found.family.model_types)


def format_of_markers(tokenizer: Tokenizer, prefix: str, suffix: str, middle: str, layout: Layout) -> FimFormat | None:
    """The format of markers that a person named; None if one of them is not a single token of the vocabulary."""
    family = FimFamily("markers of the settings", prefix, suffix, middle, (layout,))
    return _format(tokenizer, family)


def _format(tokenizer: Tokenizer, family: FimFamily) -> FimFormat | None:
    prefix = tokenizer.token_id(family.prefix)
    suffix = tokenizer.token_id(family.suffix)
    middle = tokenizer.token_id(family.middle) if family.middle is not None else None
    if prefix is None or suffix is None or (family.middle is not None and middle is None):
        return None
    markers = {marker for marker in (prefix, suffix, middle) if marker is not None}
    further = {token for literal in family.also_stop if (token := tokenizer.token_id(literal)) is not None}
    bos = tokenizer.bos_token_id
    return FimFormat(
        family=family,
        layout=family.layouts[0],
        prefix=prefix,
        suffix=suffix,
        middle=middle,
        stop_tokens=frozenset(tokenizer.eos_token_ids | markers | further),
        bos=() if bos is None else (bos,),
    )
