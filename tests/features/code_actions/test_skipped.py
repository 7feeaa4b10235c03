"""What is said of diagnostics that were left as they are."""

from harmony_ls.features.code_actions.skipped import Skipped, skipped_text
from harmony_ls.features.diagnostics import MOST_DIAGNOSTICS, DiagnosticNote


def test_nothing_is_said_where_all_is_mended() -> None:
    assert skipped_text((), MOST_DIAGNOSTICS - 1) == ""


def test_what_was_never_read_is_told() -> None:
    assert skipped_text((), MOST_DIAGNOSTICS) == (
        "No more than 100 problems are fixed at a time. Ask again for what is left."
    )


def test_many_places_are_counted() -> None:
    """A message that no window could hold helps nobody; neither does one that looks like something else."""
    skipped = [
        Skipped(
            (DiagnosticNote(number, f"\x1b[2J wrong \n{'x' * 99}"), *(DiagnosticNote(number, "again"),) * number),
            "The answer is broken. Nothing was changed; try again." if number == 2 else f"It said: {'word ' * 60}",
        )
        for number in range(9)
    ]
    first, *places, more = skipped_text(skipped, 50).split("\n")
    assert first == "45 of 50 problems could not be fixed."
    assert more == "And 35 more."
    assert places[2].startswith("Line 2 (")
    assert places[2].endswith("…) and 2 more: The answer is broken.")
    assert len(places) == 4
    assert all("\x1b" not in place and len(place) < 260 for place in places)
