"""What must never reach a person, and what only looks like it."""

import pytest

from harmony_ls.features.document import DocumentSnapshot
from harmony_ls.features.inline.refusal import Refusal
from harmony_ls.features.inline.request import Reason
from harmony_ls.features.inline.safety import clean


def document(text: str = "", language_id: str = "python") -> DocumentSnapshot:
    return DocumentSnapshot("file:///a", "/a", language_id, 1, text)


@pytest.mark.parametrize(
    "marker",
    [
        "<|end|>",
        "<|endoftext|>",
        "<|fim_middle|>",
        "<|file_sep|>",
        "<|im_start|>",
        "<|channel|>",
        "<|code_suffix|>",
        "<|file_separator|>",
        "<|eot_id|>",
        "<|reserved_200017|>",
        "<fim_prefix>",
        "<fim-middle>",
        "<fim_pad>",
        "<file_sep>",
        "<reponame>",
        "<\uff5cfim\u2581begin\uff5c>",
        "<\uff5cend\u2581of\u2581sentence\uff5c>",
        "<[fim-suffix]>",
        "<[end\u2581of\u2581sentence]>",
        "[SUFFIX]",
        "[PREFIX]",
        "[INST]",
        "[/INST]",
        "<PRE>",
        " <MID>",
        "\u2581<EOT>",
        "</s>",
        "<s>",
        "<think>",
        "</think>",
        "<end_of_turn>",
        "<eos>",
    ],
)
def test_markers_end_the_text(marker: str) -> None:
    assert clean(f"a + b{marker}\nmore", document()) == "a + b" + " " * (len(marker) - len(marker.lstrip()))
    refusal = clean(marker, document())
    assert isinstance(refusal, Refusal)
    assert refusal.reason is Reason.UNSAFE_TEXT
    assert marker.strip() in refusal.detail


@pytest.mark.parametrize("half", ["<|fim_mid", "<|", "<|end|", "<\uff5cfim\u2581be", "<fim_mi"])
def test_a_marker_cut_in_two_is_one(half: str) -> None:
    assert clean(f"a + b{half}", document()) == "a + b"


@pytest.mark.parametrize("marker", ["<|end|>", "<fim_prefix>", "<\uff5cfim\u2581begin\uff5c>", "<|fim_prefix|>"])
def test_the_documents_own_markers_are_text(marker: str) -> None:
    assert clean(f"x = '{marker}'", document(f"y = '{marker}'")) == f"x = '{marker}'"


@pytest.mark.parametrize(
    "text",
    [
        "x <|> y",  # Haskell
        "f <| g |> h",  # Elm, F#
        "a < b | c > d",
        "xs |> map(f) |> sum",
        "Vec<|x|>",
        "[suffix]",
        "<file>",
        "std::vector<int>",
        "if a <= b or c >= d:",
        "names[SUFFIXES]",
    ],
)
def test_operators_are_no_markers(text: str) -> None:
    if text == "Vec<|x|>":
        assert clean(text, document()) != text  # the price of the rule
    else:
        assert clean(text, document()) == text


def test_an_index_by_a_name_of_the_document_is_code() -> None:
    assert clean("names[PREFIX]", document("PREFIX = 'a'\n")) == "names[PREFIX]"
    assert clean("names[PREFIX]", document("MY_PREFIX = 'a'\n")) == "names"


def test_tags_that_html_has_too() -> None:
    assert clean("<s>old</s> new", document(language_id="html")) == "<s>old</s> new"
    assert clean("<s>old</s> new", document(language_id="python")) != "<s>old</s> new"


@pytest.mark.parametrize(
    "hidden",
    [
        *("\u202e", "\u2066", "\u200b", "\u200e", "\u2060", "\ufeff", "\u00ad", "\u061c", "\u3164", "\u034f"),
        *("\U000e0041", "\U000e0100", "\u200d", "\u180e", "\ufff9"),
    ],
)
def test_hidden_characters_refuse_the_whole_text(hidden: str) -> None:
    refusal = clean(f"is_ad{hidden}min", document(f"a{hidden}"))
    assert isinstance(refusal, Refusal)
    assert f"U+{ord(hidden):04X}" in refusal.detail


@pytest.mark.parametrize("text", ["👩‍👩‍👧", "❤️ it", "می‌خواهم", "क्‍ष", "ё ü 漢字", "\tx\n\ty", "a\u0301", "\u0600\u0661"])
def test_visible_text_of_any_script_is_fine(text: str) -> None:
    assert clean(text, document()) == text


def test_a_run_of_variation_selectors_hides_text() -> None:
    assert isinstance(clean("a❤\ufe0f\ufe00\ufe01", document()), Refusal)


@pytest.mark.parametrize("bad", ["\x00", "\x1b", "\x07", "\x0c", "\x7f", "\x85", "\ufffd", "\u2028", "\uffff"])
def test_the_text_ends_at_a_character_that_is_none(bad: str) -> None:
    assert clean(f"a + b{bad}c", document()) == "a + b"
    assert isinstance(clean(bad, document()), Refusal)


def test_half_a_surrogate_pair_is_no_text() -> None:
    assert clean(f"a{chr(0xD83C)}", document()) == "a"


def test_a_hidden_character_after_the_end_of_the_text_does_not_matter() -> None:
    assert clean("a + b<|end|>\u202e", document()) == "a + b"


def test_line_ends_are_made_plain() -> None:
    assert clean("a\r\nb\rc", document()) == "a\nb\nc"
    assert clean("", document()) == ""
    assert clean(" \n", document()) == " \n"
