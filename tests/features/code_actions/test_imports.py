"""Imports that an answer begins with go to where the document has its own."""

import pytest

from harmony_ls.features.code_actions.imports import import_edits, split_imports, without_imports


@pytest.mark.parametrize(
    ("code", "language", "expected"),
    [
        ("import os\nfrom a.b import c as d\n\n\ndef f():\n    import x", "python", (2, "def f():")),
        ("    import os\n    f()", "python", (0, "    import os")),
        ("from a import (\n    b,\n)\nf()", "python", (1, "f()")),
        ("from a import b, \\\n    c\nf()", "python", (1, "f()")),
        ("import os\nfrom a import (\n    b,\nf()", "python", (1, "from a import (")),
        ("importance = 1\nf()", "python", (0, "importance = 1")),
        ("import os", "python", (0, "import os")),
        ("import { a } from 'b'\nimport c from \"d\";\nf()", "typescript", (2, "f()")),
        ("import {\n  a,\n} from 'b'\nf()", "typescript", (1, "f()")),
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


def with_imports(document: str, language: str, *imports: str) -> str:
    """A document, whose region begins at the bar, after the edits that add imports."""
    start = document[: document.index("|")].count("\n")
    lines = document.replace("|", "").split("\n")
    for edit in reversed(import_edits(lines, start, [tuple(each.split("\n")) for each in imports], language)):
        assert edit.start == edit.end <= start
        lines[edit.start : edit.end] = edit.lines
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("document", "language", "expected"),
    [
        ("import os\nimport sys\n\n|f()", "python", "import os\nimport sys\nimport re\n\nf()"),
        (
            "import os\nfrom a import (\n    b,\n)\n\n|f()",
            "python",
            "import os\nfrom a import (\n    b,\n)\nimport re\n\nf()",
        ),
        ("from a import b, \\\n    c\nx = 1\n|f()", "python", "from a import b, \\\n    c\nimport re\nx = 1\nf()"),
        ("import re\n\n|f()", "python", "import re\n\nf()"),
        ("import os, re  # both\n\n|f()", "python", "import os, re  # both\n\nf()"),
        ("|f()", "python", "import re\n\nf()"),
        ("#!/usr/bin/python\n# A comment.\n\n|f()", "python", "#!/usr/bin/python\n# A comment.\n\nimport re\n\nf()"),
        ("# About f.\n|f()", "python", "import re\n\n# About f.\nf()"),
        (
            "#!/usr/bin/python\n# coding: utf-8\n|f()",
            "python",
            "#!/usr/bin/python\n# coding: utf-8\n\nimport re\n\nf()",
        ),
        ('"""What it is for."""\n\n|f()', "python", '"""What it is for."""\n\nimport re\n\nf()'),
        (
            "# Mine.\n\n# All rights.\n\n'It.'\n\n|f()",
            "python",
            "# Mine.\n\n# All rights.\n\n'It.'\n\nimport re\n\nf()",
        ),
        (
            '# A comment.\nr"""What it\nis for.\n"""\n|f()',
            "python",
            '# A comment.\nr"""What it\nis for.\n"""\n\nimport re\n\nf()',
        ),
        ("def g():\n    import os\n|f()", "python", "import re\n\ndef g():\n    import os\nf()"),
        ("|f()\nimport os", "python", "import re\n\nf()\nimport os"),
        ('|"""It."""\nf()', "python", 'import re\n\n"""It."""\nf()'),
        (
            "import os\nfrom typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    import a\n\n|f()",
            "python",
            "import os\nfrom typing import TYPE_CHECKING\nimport re\n\nif TYPE_CHECKING:\n    import a\n\nf()",
        ),
        (
            "from __future__ import annotations\n\n|f()",
            "python",
            "from __future__ import annotations\n\nimport re\n\nf()",
        ),
        (
            'import os\nTEXT = """\nimport this\n"""\n|f()',
            "python",
            'import os\nimport re\nTEXT = """\nimport this\n"""\nf()',
        ),
        ("import {\n  a,\n} from 'a'\n|f()", "typescript", "import {\n  a,\n} from 'a'\nimport re\nf()"),
        ("/// <reference types='x' />\n|f()", "typescript", "/// <reference types='x' />\n\nimport re\n\nf()"),
        ("/* Mine. */\n\n|f()", "typescript", "/* Mine. */\n\nimport re\n\nf()"),
        ("/** Does it. */\n|f()", "typescript", "import re\n\n/** Does it. */\nf()"),
        ("'use client'\n\n|f()", "javascriptreact", "'use client'\n\nimport re\n\nf()"),
        (
            "// A comment.\n'use strict'\nimport a from 'a'\nlet x\n|f()",
            "javascript",
            "// A comment.\n'use strict'\nimport a from 'a'\nimport re\nlet x\nf()",
        ),
        (
            "/*\n * Mine.\n */\npackage a.b;\n\n|class C {}",
            "java",
            "/*\n * Mine.\n */\npackage a.b;\n\nimport re\n\nclass C {}",
        ),
        ("//! It.\n#![no_std]\n\n|fn f() {}", "rust", "//! It.\n#![no_std]\n\nimport re\n\nfn f() {}"),
        ("|f()", "haskell", "f()"),
    ],
)
def test_imports_are_added_where_the_others_are(document: str, language: str, expected: str) -> None:
    new = "use re;" if language == "rust" else "import re"
    assert with_imports(document, language, new, new) == expected.replace("import re", new)


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ("|f()", "{future}\n\nimport re\n\nf()"),
        ('"""It."""\n\nimport os\n\n|f()', '"""It."""\n\n{future}\n\nimport os\nimport re\n\nf()'),
        (
            "from __future__ import division\nimport os\n|f()",
            "from __future__ import division\n{future}\nimport os\nimport re\nf()",
        ),
        ("from __future__ import division\n|f()", "from __future__ import division\n{future}\n\nimport re\nf()"),
        ("from __future__ import annotations\nimport re\n\n|f()", "{future}\nimport re\n\nf()"),
    ],
)
def test_what_comes_from_the_future_stands_first(document: str, expected: str) -> None:
    """Anywhere else it is a syntax error, which would refuse the whole edit."""
    future = "from __future__ import annotations"
    text = with_imports(document, "python", "import re", future)
    assert text == expected.format(future=future)
    compile(text, "document", "exec", dont_inherit=True)


def test_a_name_is_imported_once() -> None:
    document = "from typing import (\n    Any,  # of any kind\n    Protocol as P,\n)\n\n|f()"
    given = document.replace("|", "")
    assert with_imports(document, "python", "from typing import Any") == given
    assert with_imports(document, "python", "from typing import Protocol as P, Any") == given
    assert with_imports(document, "python", "from typing import Protocol") != given
    assert with_imports(document, "python", "from typing import (\n    Any,\n    Final,\n)") != given


def test_documents_can_be_looked_at_without_their_imports() -> None:
    assert without_imports(["import os", "x", "    import y"], "python") == ["", "x", "    import y"]
    assert without_imports(["from a import (", "    b,", ")", "x"], "python") == ["", "", "", "x"]
    assert without_imports(["import os"], "haskell") == ["import os"]
