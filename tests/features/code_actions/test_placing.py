"""What a model wrote goes in by the smallest changes, and leaves alone what it was not asked to change."""

import pytest

from harmony_ls.edits.changes import TextChange, apply_text_changes
from harmony_ls.edits.text_file import split_lines
from harmony_ls.errors import UserError
from harmony_ls.features.code_actions.placing import appended, combined, rewriting
from harmony_ls.features.code_actions.region import Region
from harmony_ls.features.document import DocumentSnapshot


def placed(
    text: str,
    code: str,
    lines: tuple[int, int] | None = None,
    *,
    diagnosed: tuple[int, ...] = (),
    language: str = "python",
) -> tuple[tuple[TextChange, ...], str]:
    split = split_lines(text)
    start, end = lines or (0, len(split))
    document = DocumentSnapshot("file:///code/a", "/code/a", language, 1, text)
    made = rewriting(document, Region(split, start, end), code.split("\n"), lambda line: line in diagnosed)
    changes, new_text = combined(document, [made])
    assert apply_text_changes(text, changes) == new_text
    return changes, new_text


@pytest.mark.parametrize(
    ("text", "code", "changes"),
    [
        ("x = 1\ny = 2\n", "x = 1\ny = 3", [(10, 11, "3")]),
        ("x = 1\ny = 2\n", "x = 1\nz = 0\ny = 2", [(6, 6, "z = 0\n")]),
        ("x = 1\ny = 2\nz = 3\n", "x = 1\nz = 3", [(6, 12, "")]),
        ("x = 1\ny = 2", "x = 1\ny = 2\nz = 3", [(11, 11, "\nz = 3")]),
        ("x = 1\ny = 2", "x = 1", [(5, 11, "")]),
        ("x = 1\r\ny = 2\r\n", "x = 1\ny = 22", [(12, 12, "2")]),
        ("x = 1\r\ny = 2\r\n", "x = 1\ny = 2\nz = 3", [(14, 14, "z = 3\r\n")]),
        ("x = 1\ry = 2\r", "x = 10\ry = 2\r".replace("\r", "\n"), [(5, 5, "0")]),
        ("a\r\nb\rc\n", "a\nbb\nc", [(4, 5, "b\r\n")]),
        ("x = '🙂'\n", "x = '🙂🙂'", [(6, 6, "🙂")]),
        ("aa\nbb\ncc\n", "ab\nbb\ncb", [(1, 2, "b"), (7, 8, "b")]),
    ],
)  # fmt: skip
def test_changes_are_as_small_as_they_can_be(text: str, code: str, changes: list[tuple[int, int, str]]) -> None:
    assert placed(text, code)[0] == tuple(TextChange(*each) for each in changes)


def test_blanks_at_the_ends_of_lines_stay_where_nobody_complained_of_them() -> None:
    """Models leave them out unasked, also in texts, where they mean something."""
    text = 'x = """a  \n  \nb\t\n"""  # why  \ny = 1\n'
    changes, new_text = placed(text, 'x = """a\n\nb\n"""  # why\ny = 2')
    assert new_text == text.replace("y = 1", "y = 2")
    assert len(changes) == 1
    assert placed("x = 1  \ny = 2  \n", "x = 1\ny = 2", diagnosed=(1,))[1] == "x = 1  \ny = 2\n"
    assert placed("x = 1\n", "x = 1\ny = 2  ")[1] == "x = 1\ny = 2  \n", "what is new is as it was written"
    with pytest.raises(UserError, match="leave the code as it is"):
        placed("x = 1  \n", "x = 1")
    with pytest.raises(UserError, match="leave the code as it is"):
        placed("x = 1  \n", "x = 1  ", diagnosed=(0,))


def test_imports_and_code_are_changed_apart() -> None:
    text = '"""It."""\n\nimport os\n\n\ndef f():\n    return Path(os.sep)  # why\n'
    changes, new_text = placed(text, f"from pathlib import Path\n\n{text[-43:].rstrip()}".replace("why", "not"), (5, 7))
    assert changes[0].text == "from pathlib import Path\n"
    assert [each.text for each in changes[1:]] == ["not"]
    assert new_text == text.replace("os\n\n", "os\nfrom pathlib import Path\n\n").replace("why", "not")


def test_indentation_stays_of_the_documents_kind() -> None:
    """Many models write spaces where a document has tabs."""
    text = "func f() {\n\tif a {\n\t\tb()\n\t}\n\n\tc()\n}\n"
    code = "func f() {\n    if a {\n        b()\n    }\n\n    d()\n}"
    assert placed(text, code, language="go")[1] == text.replace("c()", "d()")
    assert placed(text, "    d()", (5, 6), language="go")[1] == text.replace("c()", "d()")
    text = "if a:\n    b()\n    if c:\n        d()\n"
    assert placed(text, "if a:\n\tb()\n\tif c:\n\t\te()")[1] == text.replace("d()", "e()")


@pytest.mark.parametrize(
    ("tests", "written", "expected"),
    [
        ("import a\r\n", "def test_b():\n    b()", "import a\r\n\r\n\r\ndef test_b():\r\n    b()\r\n"),
        ("import a", "import b\n\n\ndef test_b():\n    b()", "import a\nimport b\n\n\ndef test_b():\n    b()\n"),
        (
            "import a\n\n\ndef test_a():\n    a()\n",
            "import a\nimport b\n\ndef test_b():\n    b()",
            "import a\nimport b\n\n\ndef test_a():\n    a()\n\n\ndef test_b():\n    b()\n",
        ),
        ("x = 1\n", "import b", "x = 1\n\n\nimport b\n"),
        ("\n", "import b\n\ndef test_b():\n    b()", "import b\n\ndef test_b():\n    b()\n"),
    ],
)
def test_tests_go_behind_what_a_file_holds(tests: str, written: str, expected: str) -> None:
    changes, new_text = appended(tests, written.split("\n"), "\n", "python")
    assert apply_text_changes(tests, changes) == new_text == expected


def test_regions_are_put_together_with_what_they_import() -> None:
    text = "import os\n\n\ndef f():\n    return Path(os.sep)\n\n\ndef g():\n    return Any\n"
    document, lines = DocumentSnapshot("file:///code/a.py", None, "python", 1, text), split_lines(text)
    made = [
        rewriting(document, Region(lines, start, end), code.split("\n"), lambda _line: False)
        for start, end, code in (
            (3, 5, "from pathlib import Path\n\ndef f():\n    return Path(os.sep) / os.curdir"),
            (7, 9, "from pathlib import Path\nfrom typing import Any\n\ndef g():\n    return Any, Path"),
        )
    ]
    changes, new_text = combined(document, made)
    assert apply_text_changes(text, changes) == new_text
    assert new_text == (
        "import os\nfrom pathlib import Path\nfrom typing import Any\n\n\n"
        "def f():\n    return Path(os.sep) / os.curdir\n\n\ndef g():\n    return Any, Path\n"
    )


def test_nothing_is_hidden_that_was_not_there() -> None:
    """A mark of a writing direction that a line has held all along may stay in it."""
    text = "x = '\u200f\u05d0'  # old\r\ny = 1\r\n"
    assert placed(text, "x = '\u200f\u05d0'  # new\ny = 2")[1] == text.replace("old", "new").replace("1", "2")
    for code in ("x = '\u200f\u05d0'  # \u202enew", "x = '\u05d0'\u200f  # old", "x = 'a\u200d\u05d0'  # old"):
        with pytest.raises(UserError, match=r"hidden character U\+20"):
            placed(text, f"{code}\ny = 1")
    with pytest.raises(UserError, match="marks of its own"):
        placed(text, "x = 1\ny = 2  # <|im_end|>")
