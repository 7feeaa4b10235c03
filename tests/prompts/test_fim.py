"""The families of fill-in-the-middle markers: found in the vocabulary by their ids, laid out to the token."""

from pathlib import Path

import pytest

from harmony_ls.prompts.fim import FAMILIES, FimFormat, Layout, detect_format, detect_formats, format_of_markers
from tests.engine.tokenizers import KINDS, read, tokenizer
from tests.models import CODE_LLAMA_MARKERS, FAMILY_MARKERS, QWEN_MARKERS, TokenizerRecipe, write_tokenizer

DETECTED = {
    # recipe, model_type: family, layout
    ("qwen", "qwen2"): ("Qwen Coder", Layout.PSM),
    ("qwen plain", "qwen2"): ("Qwen Coder", Layout.PSM),
    ("qwen", "qwen3_moe"): ("Qwen Coder", Layout.PSM),
    ("starcoder", "gpt_bigcode"): ("StarCoder", Layout.PSM),
    ("starcoder2", "starcoder2"): ("StarCoder", Layout.PSM),
    ("starcoder", "stablelm"): ("StarCoder", Layout.PSM),
    ("starcoder", "llama"): ("StarCoder", Layout.PSM),
    ("santacoder", "gpt2"): ("SantaCoder", Layout.PSM),
    ("deepseek", "deepseek_v2"): ("DeepSeek-Coder", Layout.PSM),
    ("codellama", "llama"): ("Code Llama", Layout.PSM),
    ("metaspace", "llama"): ("Code Llama", Layout.PSM),
    ("metaspace plain", "llama"): ("Code Llama", Layout.PSM),
    ("codestral", "mistral"): ("Codestral", Layout.SPM),
    ("codegemma", "gemma"): ("CodeGemma", Layout.PSM),
    ("granite4", "granitemoehybrid"): ("Granite 4", Layout.PSM),
    ("seedcoder", "llama"): ("Seed-Coder", Layout.SPM),
    ("glm", "glm4_moe"): ("GLM", Layout.PSM),
    ("falcon", "falcon_h1"): ("Falcon Coder", Layout.PSM),
}
WITHOUT = [("llama", "llama"), ("harmony", "gpt_oss")]


@pytest.mark.parametrize(("kind", "model_type"), DETECTED)
def test_a_family_is_found_by_its_markers(tmp_path: Path, kind: str, model_type: str) -> None:
    subject = tokenizer(tmp_path, kind)
    found = detect_format(subject, model_type)
    assert found is not None
    assert (found.family.name, found.layout) == DETECTED[kind, model_type]
    assert found.prefix == subject.token_id(found.family.prefix)
    assert found.suffix == subject.token_id(found.family.suffix)
    assert found.middle == (None if found.family.middle is None else subject.token_id(found.family.middle))
    markers = {found.prefix, found.suffix, found.middle} - {None}
    assert markers | subject.eos_token_ids <= found.stop_tokens
    assert all(subject.is_marker(token) for token in found.stop_tokens)


@pytest.mark.parametrize(("kind", "model_type"), WITHOUT)
def test_models_without_markers_have_no_format(tmp_path: Path, kind: str, model_type: str) -> None:
    assert detect_format(tokenizer(tmp_path, kind), model_type) is None


@pytest.mark.parametrize("kind", ["qwen", "starcoder", "deepseek", "seedcoder", "codellama"])
@pytest.mark.parametrize("missing", ["prefix", "suffix", "middle"])
def test_a_family_needs_all_its_markers(tmp_path: Path, kind: str, missing: str) -> None:
    whole = detect_format(tokenizer(tmp_path / "whole", kind), "llama")
    assert whole is not None
    lacking = getattr(whole.family, missing)
    special = tuple(marker for marker in KINDS[kind].special if marker != lacking)
    write_tokenizer(tmp_path / "lacking", TokenizerRecipe(special=special, eos=special[0]))
    assert detect_format(read(tmp_path / "lacking"), "llama") is None


@pytest.mark.parametrize(
    ("model_type", "family"),
    [("gemma", "CodeGemma"), ("granitemoehybrid", "Granite 4"), ("qwen2", "Qwen Coder"), ("unheard_of", "Qwen Coder")],
)
def test_the_architecture_decides_between_families_that_share_markers(
    tmp_path: Path, model_type: str, family: str
) -> None:
    found = detect_format(tokenizer(tmp_path, "qwen"), model_type)
    assert found is not None
    assert found.family.name == family


def test_of_two_families_in_one_vocabulary_the_first_row_is_the_likeliest(tmp_path: Path) -> None:
    markers = (*FAMILY_MARKERS["starcoder"], *QWEN_MARKERS)
    write_tokenizer(tmp_path, TokenizerRecipe(special=markers))
    subject = read(tmp_path)
    found = detect_formats(subject, "llama")
    assert [each.family.name for each in found] == ["Qwen Coder", "StarCoder"]
    assert detect_format(subject, "llama") == found[0]
    assert [each.family.name for each in detect_formats(subject, "gemma")] == ["CodeGemma"], "its row names it"
    assert [row.name for row in FAMILIES].index("Qwen Coder") < [row.name for row in FAMILIES].index("StarCoder")


def test_generation_stops_at_every_marker_of_the_family(tmp_path: Path) -> None:
    for kind, stops in {
        "qwen": ("<|fim_pad|>", "<|file_sep|>", "<|repo_name|>", "<|im_end|>", "<|endoftext|>"),
        "starcoder2": ("<file_sep>", "<|endoftext|>", "<fim_pad>"),
        "starcoder": ("<filename>", "<reponame>"),
        "codegemma": ("<|file_separator|>",),
        "codellama": ("▁<EOT>", "</s>"),
        "deepseek": ("<｜end▁of▁sentence｜>",),
        "seedcoder": ("<[end▁of▁sentence]>",),
        "codestral": ("[MIDDLE]", "</s>"),
        "glm": ("<|user|>",),
    }.items():
        subject = tokenizer(tmp_path / kind, kind)
        found = detect_format(subject, {"codegemma": "gemma"}.get(kind, "llama"))
        assert found is not None
        ids = {subject.token_id(literal) for literal in stops}
        # The tokenizers of the kit end with their first marker; a real Llama's end is in its configuration.
        if kind in ("codellama", "codestral"):
            ids -= {subject.token_id("</s>")}
        assert ids <= found.stop_tokens, kind


P, S, M = 900, 901, 902
BEFORE, LINE, AFTER = [1, 2], [3], [7, 8]


def laid_out(layout: Layout, *, middle: int | None = M, bos: tuple[int, ...] = ()) -> FimFormat:
    return FimFormat(FAMILIES[0], layout, P, S, middle, frozenset(), bos)


@pytest.mark.parametrize(
    ("layout", "tokens", "stable"),
    [
        (Layout.PSM, [P, 1, 2, 3, S, 7, 8, M], 3),
        (Layout.SPM, [S, 7, 8, P, 1, 2, 3, M], 6),
        (Layout.SPM_JOINED, [P, S, 7, 8, M, 1, 2, 3], 7),
        (Layout.LINE_AFTER_MIDDLE, [P, 1, 2, S, 7, 8, M, 3], 7),
    ],
)
@pytest.mark.parametrize("bos", [(), (5,)])
def test_a_layout_to_the_token(layout: Layout, tokens: list[int], stable: int, bos: tuple[int, ...]) -> None:
    prompt = laid_out(layout, bos=bos).render(BEFORE, LINE, AFTER)
    assert list(prompt.tokens) == [*bos, *tokens]
    assert prompt.stable_tokens == stable + len(bos)
    other = laid_out(layout, bos=bos).render(BEFORE, [3, 4, 4], AFTER)
    assert other.tokens[: prompt.stable_tokens] == prompt.tokens[: prompt.stable_tokens]


@pytest.mark.parametrize(
    ("layout", "tokens"),
    [
        (Layout.PSM, [P, 1, 2, 3, S, M]),
        (Layout.SPM, [P, 1, 2, 3, M]),
        (Layout.SPM_JOINED, [P, S, M, 1, 2, 3]),
        (Layout.LINE_AFTER_MIDDLE, [P, 1, 2, S, M, 3]),
    ],
)
def test_nothing_after_the_cursor(layout: Layout, tokens: list[int]) -> None:
    assert list(laid_out(layout).render(BEFORE, LINE, []).tokens) == tokens


def test_codestral_has_no_middle_and_always_a_suffix() -> None:
    codestral = laid_out(Layout.SPM, middle=None)
    assert list(codestral.render(BEFORE, LINE, AFTER).tokens) == [S, 7, 8, P, 1, 2, 3]
    assert list(codestral.render(BEFORE, LINE, []).tokens) == [S, P, 1, 2, 3]


def test_an_empty_document_is_a_prompt_too() -> None:
    for layout in Layout:
        assert laid_out(layout).render([], [], []).tokens


def test_a_tokenizer_with_bos_starts_its_prompts_with_it(tmp_path: Path) -> None:
    subject = tokenizer(tmp_path, "metaspace")
    found = detect_format(subject, "llama")
    assert found is not None
    assert subject.marker_text(found.render([1], [], []).tokens[0]) == "<s>"


def test_markers_that_a_person_names(tmp_path: Path) -> None:
    subject = tokenizer(tmp_path, "codellama")
    prefix, middle, suffix, _ = CODE_LLAMA_MARKERS
    found = format_of_markers(subject, prefix, suffix, middle, Layout.SPM)
    assert found is not None
    assert (found.prefix, found.suffix, found.middle) == tuple(map(subject.token_id, (prefix, suffix, middle)))
    assert found.layout is Layout.SPM
    assert format_of_markers(subject, prefix, "<nothing>", middle, Layout.PSM) is None
