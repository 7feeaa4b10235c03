"""The settings table of the README is the one that the declaration gives; ``pytest --update`` rewrites it."""

from pathlib import Path

import pytest

from harmony_ls.settings.fields import setting_fields
from harmony_ls.settings.reference import END_MARKER, START_MARKER, markdown_table, replace_table

README = Path(__file__).parents[2] / "README.md"


def test_the_readme_holds_the_table(update: bool) -> None:
    current = README.read_text(encoding="utf-8")
    fresh = replace_table(current)
    if update and fresh != current:
        README.write_text(fresh, encoding="utf-8")
        return
    assert fresh == current, "the table of settings in README.md is stale: run pytest with --update"


def test_the_table_has_a_row_for_every_setting() -> None:
    rows = markdown_table().splitlines()[2:]
    assert [row.split("`")[1] for row in rows] == [setting.key for setting in setting_fields()]
    assert {row.replace("\\|", "").count("|") for row in rows} == {6}


def test_a_document_without_markers_is_refused() -> None:
    for document in ("", START_MARKER, f"{END_MARKER}{START_MARKER}"):
        with pytest.raises(ValueError, match="the document needs"):
            replace_table(document)
