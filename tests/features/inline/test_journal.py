"""What the journal makes of outcomes: counts, the newest entries, and the speeds of those that asked the model."""

from harmony_ls.features.document import DocumentSnapshot
from harmony_ls.features.inline.journal import Journal, Speeds
from harmony_ls.features.inline.request import (
    InlineCompletion,
    InlineCompletionRequest,
    Offer,
    OfferStats,
    Reason,
    Source,
)

REQUEST = InlineCompletionRequest(DocumentSnapshot("file:///a.py", "/folder/a.py", "python", 1, "secret"), 3)


def answered(first_token_ms: float | None, tokens_per_second: float | None) -> Offer:
    stats = OfferStats(prompt_tokens=9, first_token_ms=first_token_ms, tokens_per_second=tokens_per_second)
    return Offer(items=(InlineCompletion("text", 3, 3, Source.MODEL),), stats=stats)


def test_outcomes_are_counted_and_the_newest_come_first() -> None:
    journal = Journal()
    journal.record(REQUEST, answered(10, 100))
    journal.record(REQUEST, Offer(reason=Reason.MID_LINE, detail="There is text."))
    report = journal.report()
    assert report["counts"] == {"model": 1, "midLine": 1}
    assert [entry["outcome"] for entry in report["last"]] == ["midLine", "model"]
    assert report["last"][0]["detail"] == "There is text."
    assert report["last"][0]["file"] == "a.py"
    assert report["withModel"]["requests"] == 1
    assert "secret" not in str(report)


def test_the_newest_prompt_is_described_when_it_is_asked_for() -> None:
    journal = Journal()
    assert journal.report()["lastPrompt"] == ""
    journal.note_prompt(lambda: "the prompt")
    assert journal.report()["lastPrompt"] == "the prompt"


def test_speeds_are_medians_of_the_last_completions_of_the_model() -> None:
    journal = Journal()
    assert journal.speeds == Speeds(None, None)
    journal.record(REQUEST, answered(10, None))
    assert journal.speeds == Speeds(None, 10), "one token has no pace"
    for first_token_ms, tokens_per_second in [(20, 50), (30, 70), (80, 60)]:
        journal.record(REQUEST, answered(first_token_ms, tokens_per_second))
    typed_through = InlineCompletion("text", 3, 3, Source.TYPED_THROUGH)
    journal.record(REQUEST, Offer(items=(typed_through,), stats=OfferStats(total_ms=0.1)))
    assert journal.speeds == Speeds(60, 25)
    for _ in range(20):
        journal.record(REQUEST, answered(5, 200))
    assert journal.speeds == Speeds(200, 5), "what was long ago does not count"
