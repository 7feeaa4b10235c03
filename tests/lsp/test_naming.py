"""What documents are called where there is no folder, one, or some inside each other."""

from pathlib import Path

import pytest

from harmony_ls.lsp.documents.naming import folder_around, name_of

OUTER, INNER, OTHER = Path("/code/shop"), Path("/code/shop/web"), Path("/code/tools")


@pytest.mark.parametrize("folders", [(OUTER, INNER, OTHER), (OTHER, INNER, OUTER)])
@pytest.mark.parametrize(
    ("uri", "folder", "name"),
    [
        ("file:///code/shop/web/a.py", INNER, "a.py"),
        ("file:///code/shop/web/deep/a.py", INNER, "deep/a.py"),
        ("file:///code/shop/website/a.py", OUTER, "website/a.py"),
        ("file:///code/tools/%C3%A9%20b.py", OTHER, "é b.py"),
        ("file:///code/a.py", None, "/code/a.py"),
        ("file:///code/shop/web", INNER, "."),
    ],
)
def test_the_innermost_folder_names_a_document(
    uri: str, folder: Path | None, name: str, folders: tuple[Path, ...]
) -> None:
    assert folder_around(uri.removeprefix("file://"), folders) == folder
    assert name_of(uri, folders) == name


@pytest.mark.parametrize(
    "uri", ["untitled:Untitled-1", "vscode-notebook-cell:/code/shop/a.ipynb#1", "file:", "http://["]
)
def test_what_is_no_file_is_called_by_its_uri(uri: str) -> None:
    assert name_of(uri, (OUTER,)) == uri
