"""Whether code in another language than Python can hold a test at all, told by the words that tests are made of there.

It is read by no parser: a word in a comment counts as well. So a text with none of them has no test, and no more than
that is known. Where a framework needs no such word, as some of Kotlin's, nothing is; Python is parsed
(`harmony_ls.features.syntax.python_tests`).
"""

import re

__all__ = ["can_hold_test"]

_SCRIPT = re.compile(r"(?<![\w$.])(?:Deno\.|QUnit\.|t\.)?[fx]?(?:it|test|specify)(?:\.\w+)*\s*[(`<]")
_MARKS = {
    "javascript": _SCRIPT,
    "javascriptreact": _SCRIPT,
    "typescript": _SCRIPT,
    "typescriptreact": _SCRIPT,
    "go": re.compile(r"\bfunc\s+(?:\([^)]*\)\s*)?(?:Test|Fuzz|Example|Benchmark)|\b[FPX]?(?:It|Specify|Entry)\("),
    "java": re.compile(r"@[\w.]*(?:Test|Property|Example|Theory)|\bvoid\s+test"),
    "ruby": re.compile(
        r"\b(?:its?|specify|example|scenario|test|property|should|it_\w+|include_examples)\b|\bdef\s+test_"
    ),
    "php": re.compile(r"\bfunction\s+test|#\[[^\]]*Test|@test\b|(?<![\w$>:])(?:it|test|arch)\s*\(", re.IGNORECASE),
    "elixir": re.compile(r"\b(?:test|property|doctest|feature)\b"),
}


def can_hold_test(written: str, tests: str, language: str) -> bool:
    """Whether ``written`` may hold a test. ``tests`` is the text of the tests' file so far: where that is not empty and
    has none of the words either, tests are written in another way there."""
    marks = _MARKS.get(language)
    if marks is None or marks.search(written):
        return True
    return bool(tests.strip()) and not marks.search(tests)
