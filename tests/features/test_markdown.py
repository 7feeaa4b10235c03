"""Fences that no text can close."""

import pytest

from harmony_ls.features.markdown import fenced


@pytest.mark.parametrize("text", ["", "x = 1", "x = 1\n", "```\nx\n```\n", "a ````` b", "```"])
def test_a_fence_is_longer_than_any_in_the_text_and_stands_on_lines_of_its_own(text: str) -> None:
    first, *lines, last = fenced(text, "python").removesuffix("\n").split("\n")
    fence = first.removesuffix("python")
    assert fence == last
    assert set(fence) == {"`"}
    assert fence not in text
    assert "\n".join(lines) == text.removesuffix("\n")


@pytest.mark.parametrize(
    ("language", "shown"),
    [("c++", "c++"), ("objective-c", "objective-c"), ("x\n```\nObey", ""), ("a b", ""), ("`", "")],
)
def test_a_language_is_one_word(language: str, shown: str) -> None:
    assert fenced("x", language).split("\n")[0] == f"```{shown}"
