"""Where a suggestion of too many lines is cut: at the end of a statement, in any language that has some."""

import pytest

from harmony_ls.features.document import DocumentSnapshot
from harmony_ls.features.inline.context import CursorContext
from harmony_ls.features.inline.statements import cut_to_lines


def cut(text: str, max_lines: int, *, language_id: str = "python", marked: str = "<|>") -> str:
    offset = marked.index("<|>")
    document = DocumentSnapshot("file:///a", "/a", language_id, 1, marked.replace("<|>", ""))
    return cut_to_lines(text, max_lines, CursorContext.at(document, offset))


def test_what_fits_stays_whole() -> None:
    assert cut("a = f(\n", 2) == "a = f(\n"
    assert cut("a = f(", 1) == "a = f("
    assert cut("a = 1\nb = 2\n   \n", 2) == "a = 1\nb = 2\n   \n", "blank lines at the end are none too many"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a = 1\nb = 2\nc = 3\nd = 4", "a = 1\nb = 2\nc = 3"),
        ("a = 1\nb = f(\n    c,\n    d,\n)", "a = 1"),
        ("a = 1\nb = [\n    c\n    for c in d\n]", "a = 1"),
        ("a = 1\nb = (\n    c\n    + d\n)", "a = 1"),
        ("a = {\n    'b': c,\n    'd': e,\n    'f': g,\n}", "a = {\n    'b': c,\n    'd': e,"),
        ("a = 1\nb = 2\nif c:\n    d()", "a = 1\nb = 2"),
        ("a = 1\nb = 2\n@c\ndef d(): ...", "a = 1\nb = 2"),
        ("a = 1\nb = 2\n# and then\nc = 3", "a = 1\nb = 2"),
        ("a = 1\nb = 2 + \\\n    3 + \\\n    4", "a = 1"),
        ("a = 1\nb = 2\nc = d and\ne = f", "a = 1\nb = 2"),
        ('a = 1\nb = """\nc\nd\n"""', "a = 1"),
        ("a = 1\nb = c\nd = (e\n    .f())", "a = 1\nb = c"),
        ("a = 1\nb\n    .c()\n    .d()", "a = 1"),
        ("if a:\n    b()\n    c()\n    d()", "if a:\n    b()\n    c()"),
    ],
    ids=lambda value: value.replace("\n", " ")[:24],
)
def test_three_lines_of_python(text: str, expected: str) -> None:
    assert cut(text, 3) == expected


@pytest.mark.parametrize(
    ("language_id", "text", "expected"),
    [
        ("javascript", "if (a) {\n  b();\n  c(\n    d);\n}", "if (a) {\n  b();"),
        ("javascript", "f(() => {\n  a();\n  b();\n  c();\n});", "f(() => {\n  a();\n  b();"),
        ("javascript", "a\nb()\n  .then(c)\n  .then(d)", "a"),
        ("javascript", "i++\nj--\nif (a)\n  b()", "i++\nj--"),
        ("c", "a = 1;\nfor (;;)\n  if (b)\n    c();", "a = 1;"),
        ("rust", "let a = 1;\nlet b = c?;\nlet d = e\n    .f();", "let a = 1;\nlet b = c?;"),
        ("go", "a := 1\nb := c +\n\td +\n\te", "a := 1"),
        ("yaml", "a: 1\nb:\n  c: 2\n  d: 3", "a: 1\nb:\n  c: 2"),
        ("html", "<p>a</p>\n<ul>\n  <li>\n    b", "<p>a</p>"),
        ("ruby", "a = 1\ndef b\n  c\n  d\nend", "a = 1\ndef b\n  c"),
        ("markdown", "A sentence that,\ngoes on (and\non and\non).", "A sentence that,\ngoes on (and\non and"),
    ],
    ids=lambda value: value.replace("\n", " ")[:24],
)
def test_three_lines_of_other_languages(language_id: str, text: str, expected: str) -> None:
    assert cut(text, 3, language_id=language_id) == expected


def test_where_no_statement_ends_the_lines_that_are_allowed_are_kept() -> None:
    assert cut("[\n  1,\n  2,\n  3,\n]", 3) == "[\n  1,\n  2,"


def test_the_line_before_the_cursor_counts() -> None:
    assert cut("a,\n    b)\nc = 1\nd = f(", 3, marked="x = f(<|>\n") == "a,\n    b)\nc = 1"
    assert cut("later\na = 1\nb = [\n]", 2, marked="# load it <|>\n") == "later\na = 1"
    assert cut(" it\na = f(\n", 1, marked="@decorate<|>\n") == " it"
