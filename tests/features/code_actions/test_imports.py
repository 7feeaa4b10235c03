"""Imports that an answer begins with go to where the document has its own."""

import pytest

from harmony_ls.edits.changes import LineEdit
from harmony_ls.features.code_actions.imports import import_edit, split_imports, without_imports


@pytest.mark.parametrize(
    ("code", "language", "expected"),
    [
        ("import os\nfrom a.b import c as d\n\n\ndef f():\n    import x", "python", (2, "def f():")),
        ("    import os\n    f()", "python", (0, "    import os")),
        ("from a import (\n    b,\n)\nf()", "python", (0, "from a import (")),
        ("importance = 1\nf()", "python", (0, "importance = 1")),
        ("import os", "python", (0, "import os")),
        ("import { a } from 'b'\nimport c from \"d\";\nf()", "typescript", (2, "f()")),
        ("import('a').then(f)\nf()", "javascript", (0, "import('a').then(f)")),
        ("use a::{b, c};\nfn f() {}", "rust", (1, "fn f() {}")),
        ("import a.b.C;\nint x;", "java", (1, "int x;")),
        ("import os\nf()", "haskell", (0, "import os")),
    ],
)
def test_imports_at_the_margin_are_taken_off(code: str, language: str, expected: tuple[int, str]) -> None:
    imports, rest = split_imports(code.split("\n"), ["f()"], language)
    assert (len(imports), rest[0]) == expected


def test_imports_of_the_region_stay_in_it() -> None:
    code = ["import os", "import sys", "x = 1"]
    assert split_imports(code, ["", "import os"], "python") == ([], code)


@pytest.mark.parametrize(
    ("document", "language", "edit"),
    [
        ("import os\nimport sys\n\n|f()", "python", LineEdit(2, 2, ("import re",))),
        ("import os\nfrom a import (\n    b,\n)\n\n|f()", "python", LineEdit(4, 4, ("import re",))),
        ("from a import b, \\\n    c\nx = 1\n|f()", "python", LineEdit(2, 2, ("import re",))),
        ("import re\n\n|f()", "python", None),
        ("|f()", "python", LineEdit(0, 0, ("import re", ""))),
        ("#!/usr/bin/python\n# A comment.\n\n|f()", "python", LineEdit(2, 2, ("import re",))),
        ('"""What it is for."""\n\n|f()', "python", LineEdit(1, 1, ("import re",))),
        ('# A comment.\n"""What it\nis for.\n"""\n|f()', "python", LineEdit(4, 4, ("import re", ""))),
        ("def g():\n    import os\n|f()", "python", LineEdit(0, 0, ("import re", ""))),
        ("|f()\nimport os", "python", LineEdit(0, 0, ("import re", ""))),
        ("import {\n  a,\n} from 'a'\n|f()", "typescript", LineEdit(3, 3, ("import re",))),
        ("// A comment.\n'use strict'\nimport a from 'a'\nlet x\n|f()", "javascript", LineEdit(3, 3, ("import re",))),
        ("package a.b;\n\n|class C {}", "java", LineEdit(1, 1, ("import re",))),
        ('import os\nTEXT = """\nimport this\n"""\n|f()', "python", LineEdit(1, 1, ("import re",))),
        ("|f()", "haskell", None),
    ],
)
def test_imports_are_added_where_the_others_are(document: str, language: str, edit: LineEdit | None) -> None:
    start = document[: document.index("|")].count("\n")
    lines = document.replace("|", "").split("\n")
    assert import_edit(lines, start, ["import re", "import re"], language) == edit


def test_documents_can_be_looked_at_without_their_imports() -> None:
    assert without_imports(["import os", "x", "    import y"], "python") == ["", "x", "    import y"]
    assert without_imports(["import os"], "haskell") == ["import os"]
