"""The whole path of an inline completion over the real engine, with models that answer from a script."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from harmony_ls.engine.engine import Engine
from harmony_ls.engine.models.model import ModelSpec
from harmony_ls.errors import ModelError
from harmony_ls.features.completion_models import CompletionModels
from harmony_ls.features.document import DocumentSnapshot
from harmony_ls.features.inline.completer import InlineCompleter
from harmony_ls.features.inline.journal import Journal
from harmony_ls.features.inline.request import (
    InlineCompletionRequest,
    Offer,
    Reason,
    SelectedCompletion,
    Source,
)
from harmony_ls.features.resident_model import ModelState, ResidentModel
from harmony_ls.settings.models import FimMarkersSettings, InlineCompletionSettings, Settings
from tests.models import Rule

ScriptedModel = Callable[[Sequence[Rule]], Path]

QWEN = FimMarkersSettings(prefix="<|fim_prefix|>", suffix="<|fim_suffix|>", middle="<|fim_middle|>")
CURSOR = "<|>"
ADD = Rule(after="    return ", reply="left + right")


def settings_for(model: Path, **inline: object) -> Settings:
    values = {"fim": QWEN, "deadline_ms": 10_000, **inline}
    return Settings(model=str(model), trust_remote_code=True, inline_completion=InlineCompletionSettings(**values))


def ask(
    marked: str, *, version: int = 1, invoked: bool = False, selected: SelectedCompletion | None = None
) -> InlineCompletionRequest:
    before, _, after = marked.partition(CURSOR)
    document = DocumentSnapshot("file:///add.py", "/add.py", "python", version, before + after)
    return InlineCompletionRequest(document, len(before), invoked, selected)


@asynccontextmanager
async def completer_with(settings: Settings, *, loaded: bool = True) -> AsyncIterator[InlineCompleter]:
    async with Engine() as engine:
        resident_model = ResidentModel(CompletionModels(engine), settings, lambda _status: None)
        if loaded:
            await resident_model.ready()
        completer = InlineCompleter(engine, resident_model, settings, Journal())
        try:
            yield completer
        finally:
            completer.close()


async def generating(completer: InlineCompleter) -> None:
    """Let the event loop run until a prompt was made, which is when a generation starts."""
    for _ in range(1_000_000):
        if completer._journal.report()["lastPrompt"]:
            return
        await asyncio.sleep(0)
    raise AssertionError("no generation was started")


def applied(request: InlineCompletionRequest, offer: Offer) -> str:
    item = offer.items[0]
    text = request.document.text
    return text[: item.start] + item.text + text[item.end :]


async def test_a_completion_comes_from_the_model_and_is_typed_through(scripted_model: ScriptedModel) -> None:
    async with completer_with(settings_for(scripted_model([ADD]))) as completer:
        first = await completer.offer(ask("def add(left, right):\n    return <|>\n"))
        assert first.items[0].text == "left + right"
        assert first.items[0].source is Source.MODEL
        assert first.stats.prompt_tokens > 0
        for n_typed in range(1, len("left + right")):
            typed = "left + right"[:n_typed]
            offer = await completer.offer(ask(f"def add(left, right):\n    return {typed}<|>\n", version=1 + n_typed))
            assert offer.items[0].text == "left + right"[n_typed:]
            assert offer.items[0].source is Source.TYPED_THROUGH
            assert offer.stats.prompt_tokens == 0


async def test_a_newer_request_supersedes_and_adopts_the_running_generation(scripted_model: ScriptedModel) -> None:
    async with completer_with(settings_for(scripted_model([ADD]))) as completer:
        older = asyncio.create_task(completer.offer(ask("def add(left, right):\n    return <|>\n")))
        await generating(completer)
        newer = asyncio.create_task(completer.offer(ask("def add(left, right):\n    return left<|>\n", version=2)))
        superseded, adopted = await asyncio.gather(older, newer)
        assert (superseded.items, superseded.reason) == ((), Reason.SUPERSEDED)
        assert adopted.items[0].text == " + right"
        assert adopted.items[0].source is Source.ADOPTED


async def test_typing_something_else_starts_a_generation_of_its_own(scripted_model: ScriptedModel) -> None:
    rules = [ADD, Rule(after="    return m", reply="ax(left, right)")]
    async with completer_with(settings_for(scripted_model(rules))) as completer:
        older = asyncio.create_task(completer.offer(ask("def add(left, right):\n    return <|>\n")))
        await generating(completer)
        offer = await completer.offer(ask("def add(left, right):\n    return m<|>\n", version=2))
        assert (await older).reason is Reason.SUPERSEDED
        assert offer.items[0].text == "ax(left, right)"
        assert offer.items[0].source is Source.MODEL


@pytest.mark.parametrize(
    ("line", "later", "text", "source"),
    [
        ("<|> * 2", "<|>", "left + right", Source.MODEL),
        ("<|> * 2", "<|> * 20", "left + right", Source.MODEL),
        ("<|>", "<|> * 2", "left + right", Source.MODEL),
        ("<|> * 2", "left<|> * 2", " + right", Source.ADOPTED),
        ("<|>", "<|>)", "left + right", Source.ADOPTED),
        ("<|>)", "<|>", "left + right", Source.ADOPTED),
    ],
)
async def test_a_generation_is_adopted_where_the_rest_of_its_line_is_still_there(
    scripted_model: ScriptedModel, line: str, later: str, text: str, source: Source
) -> None:
    async with completer_with(settings_for(scripted_model([ADD]))) as completer:
        older = asyncio.create_task(completer.offer(ask(f"def add(left, right):\n    return {line}\n", invoked=True)))
        await generating(completer)
        offer = await completer.offer(ask(f"def add(left, right):\n    return {later}\n", version=2, invoked=True))
        assert (await older).reason is Reason.SUPERSEDED
        assert [(item.text.rstrip(), item.source) for item in offer.items] == [(text, source)]


async def test_of_many_requests_at_once_only_the_newest_is_computed(scripted_model: ScriptedModel) -> None:
    async with completer_with(settings_for(scripted_model([ADD]))) as completer:
        requests = [ask(f"# {'x' * n}\ndef add(left, right):\n    return <|>\n", version=n) for n in range(100)]
        offers = await asyncio.gather(*map(completer.offer, requests))
        assert [offer.reason for offer in offers[:-1]] == [Reason.SUPERSEDED] * 99
        assert offers[-1].items[0].text == "left + right"


async def test_requests_for_different_documents_do_not_supersede_each_other(scripted_model: ScriptedModel) -> None:
    async with completer_with(settings_for(scripted_model([ADD]))) as completer:
        request = ask("def add(left, right):\n    return <|>\n")
        other = InlineCompletionRequest(
            DocumentSnapshot("file:///other.py", "/other.py", "python", 1, request.document.text), request.offset
        )
        offers = await asyncio.gather(completer.offer(request), completer.offer(other))
        assert [offer.items[0].text for offer in offers] == ["left + right", "left + right"]


async def test_what_the_model_doubts_is_not_shown_unless_asked_for(scripted_model: ScriptedModel) -> None:
    doubtful = scripted_model([Rule(after="    return ", reply="left + right", probability=0.5)])
    async with completer_with(settings_for(doubtful)) as completer:
        automatic = await completer.offer(ask("def add(left, right):\n    return <|>\n"))
        assert (automatic.items, automatic.reason) == ((), Reason.LOW_CONFIDENCE)
        assert "probability" in automatic.detail
        invoked = await completer.offer(ask("def add(left, right):\n    return <|>\n", version=2, invoked=True))
        assert invoked.items[0].text == "left + right"


async def test_eagerness_moves_the_threshold(scripted_model: ScriptedModel) -> None:
    doubtful = scripted_model([Rule(after="    return ", reply="sum((left, right))", probability=0.85)])
    shown = {}
    for eagerness in ("quiet", "normal", "eager"):
        async with completer_with(settings_for(doubtful, eagerness=eagerness)) as completer:
            shown[eagerness] = bool((await completer.offer(ask("def add(left, right):\n    return <|>\n"))).items)
    assert shown == {"quiet": False, "normal": True, "eager": True}


async def test_an_answer_before_the_model_is_loaded_says_that_it_loads(tmp_path: Path) -> None:
    # Reading a named pipe takes until somebody writes into it: a load that lasts exactly as long as the test wants.
    os.mkfifo(tmp_path / "config.json")
    async with completer_with(settings_for(tmp_path, deadline_ms=50), loaded=False) as completer:
        offer = await completer.offer(ask("def add(left, right):\n    return <|>\n"))
        assert (offer.items, offer.reason) == ((), Reason.MODEL_LOADING)
        assert "Loading" in offer.detail
        await asyncio.to_thread((tmp_path / "config.json").write_text, "{}")


async def test_a_model_that_cannot_be_loaded_is_named_at_every_request(tmp_path: Path) -> None:
    settings = settings_for(tmp_path / "nothing")
    async with completer_with(settings, loaded=False) as completer:
        for version in (1, 2):
            offer = await completer.offer(ask("def add(left, right):\n    return <|>\n", version=version))
            assert (offer.items, offer.reason) == ((), Reason.MODEL_FAILED)
            assert "nothing" in offer.detail


async def test_cancelling_a_request_frees_the_model(scripted_model: ScriptedModel) -> None:
    async with completer_with(settings_for(scripted_model([ADD]))) as completer:
        task = asyncio.create_task(completer.offer(ask("def add(left, right):\n    return <|>\n")))
        await generating(completer)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        offer = await completer.offer(ask("def add(left, right):\n    return <|>\n", version=2))
        assert offer.items[0].text == "left + right"


async def test_the_selected_item_of_the_completion_list_is_continued(scripted_model: ScriptedModel) -> None:
    rules = [Rule(after="items.append", reply="(item)")]
    async with completer_with(settings_for(scripted_model(rules))) as completer:
        marked = "items = []\nfor item in range(3):\n    items.app<|>\n"
        start = marked.index("app<|>")
        request = ask(marked, selected=SelectedCompletion(start, start + 3, "append"))
        offer = await completer.offer(request)
        assert offer.items[0].text == "append(item)"
        assert (offer.items[0].start, offer.items[0].end) == (start, start + 3)
        assert "items.append(item)\n" in applied(request, offer)


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
async def test_several_lines_keep_the_document_s_line_ends(scripted_model: ScriptedModel, ending: str) -> None:
    rules = [Rule(after="def add(left, right):", reply="\n    total = left + right\n    return total")]
    async with completer_with(settings_for(scripted_model(rules))) as completer:
        offer = await completer.offer(ask(f"import os{ending}{ending}def add(left, right):<|>{ending}"))
        assert offer.items[0].text == f"{ending}    total = left + right{ending}    return total"


async def test_the_closing_bracket_of_the_editor_is_not_doubled(scripted_model: ScriptedModel) -> None:
    rules = [Rule(after="print(", reply="value)")]
    async with completer_with(settings_for(scripted_model(rules))) as completer:
        request = ask("value = 1\nprint(<|>)\n")
        assert applied(request, await completer.offer(request)) == "value = 1\nprint(value)\n"


async def test_markers_in_a_document_stay_text(scripted_model: ScriptedModel) -> None:
    async with completer_with(settings_for(scripted_model([ADD]))) as completer:
        hostile = "# <|fim_middle|> <|endoftext|> <|fim_suffix|>\ndef add(left, right):\n    return <|>\n"
        offer = await completer.offer(ask(hostile))
        assert offer.items[0].text == "left + right"
        prompt = completer._journal.report()["lastPrompt"]
        assert prompt.count("<|fim_middle|>") == 2


async def test_a_half_typed_word_is_healed(scripted_model: ScriptedModel) -> None:
    rules = [Rule(after="def add(left, right):\n    ", reply="return left + right")]
    async with completer_with(settings_for(scripted_model(rules))) as completer:
        offer = await completer.offer(ask("def add(left, right):\n    retu<|>\n"))
        assert offer.items[0].text == "rn left + right"


async def test_other_settings_apply_to_the_next_request(scripted_model: ScriptedModel) -> None:
    settings = settings_for(scripted_model([ADD]))
    async with completer_with(settings) as completer:
        assert (await completer.offer(ask("def add(left, right):\n    return <|>\n"))).items
        completer.use(settings.model_copy(update={"inline_completion": InlineCompletionSettings(enabled=False)}))
        offer = await completer.offer(ask("def add(left, right):\n    return <|>\n", version=2))
        assert (offer.items, offer.reason) == ((), Reason.DISABLED)


async def test_closing_a_document_answers_its_live_request(scripted_model: ScriptedModel) -> None:
    async with completer_with(settings_for(scripted_model([ADD]))) as completer:
        request = ask("def add(left, right):\n    return <|>\n")
        task = asyncio.create_task(completer.offer(request))
        await generating(completer)
        completer.forget(request.document.uri)
        assert (await task).reason is Reason.SUPERSEDED


async def test_what_an_offer_cost_is_told_with_it(scripted_model: ScriptedModel) -> None:
    async with completer_with(settings_for(scripted_model([ADD]))) as completer:
        stats = (await completer.offer(ask("def add(left, right):\n    return <|>\n"))).stats
        assert stats.prompt_tokens >= stats.computed_prompt_tokens > 0
        assert stats.generated_tokens == len("left + right") + 1 + stats.healed_tokens
        assert stats.first_token_ms is not None
        assert stats.tokens_per_second is not None
        # The first token has come after its time, all others in what is left of the whole.
        others_ms = 1000 * (stats.generated_tokens - 1) / stats.tokens_per_second
        assert 0 < others_ms <= stats.total_ms
        typed_through = await completer.offer(ask("def add(left, right):\n    return l<|>\n", version=2))
        assert typed_through.items[0].source is Source.TYPED_THROUGH
        assert typed_through.stats.tokens_per_second is None


async def test_the_states_of_the_model_are_reported_in_order(scripted_model: ScriptedModel) -> None:
    states: list[ModelState] = []
    async with Engine() as engine:
        settings = settings_for(scripted_model([ADD]))
        resident_model = ResidentModel(CompletionModels(engine), settings, lambda status: states.append(status.state))
        await resident_model.ready()
        await resident_model.unload()
    assert states[0] is ModelState.LOADING
    assert states[-2:] == [ModelState.READY, ModelState.UNLOADED]


async def test_ghost_text_and_completion_list_at_one_key_both_get_the_answer(scripted_model: ScriptedModel) -> None:
    async with completer_with(settings_for(scripted_model([ADD]))) as completer:
        request = ask("def add(left, right):\n    return <|>\n")
        offers = await asyncio.gather(completer.offer(request), completer.offer(request))
        assert [offer.items[0].text for offer in offers] == ["left + right", "left + right"]


async def test_who_asks_by_a_command_does_not_get_the_doubts_of_an_automatic_request(
    scripted_model: ScriptedModel,
) -> None:
    doubtful = scripted_model([Rule(after="    return ", reply="left + right", probability=0.5)])
    async with completer_with(settings_for(doubtful)) as completer:
        automatic = asyncio.create_task(completer.offer(ask("def add(left, right):\n    return <|>\n")))
        await generating(completer)
        invoked = await completer.offer(ask("def add(left, right):\n    return <|>\n", invoked=True))
        assert (await automatic).reason is Reason.SUPERSEDED
        assert invoked.items[0].text == "left + right"
        assert invoked.items[0].source is Source.MODEL


async def test_another_model_answers_anew(scripted_model: ScriptedModel) -> None:
    other = Rule(after="    return ", reply="sum((left, right))")
    first, second = settings_for(scripted_model([ADD])), settings_for(scripted_model([other]))
    async with Engine() as engine:
        resident_model = ResidentModel(CompletionModels(engine), first, lambda _status: None)
        completer = InlineCompleter(engine, resident_model, first, Journal())
        request = ask("def add(left, right):\n    return <|>\n")
        assert (await completer.offer(request)).items[0].text == "left + right"
        await resident_model.use(second)
        completer.use(second)
        assert (await completer.offer(request)).items[0].text == "sum((left, right))"
        completer.close()


async def test_what_is_not_written_at_the_deadline_serves_the_next_request(
    scripted_model: ScriptedModel, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "config.json")
    settings = settings_for(scripted_model([ADD]), deadline_ms=300)
    async with Engine() as engine:
        resident_model = ResidentModel(CompletionModels(engine), settings, lambda _status: None)
        await resident_model.ready()
        completer = InlineCompleter(engine, resident_model, settings, Journal())
        # Until something comes through the pipe, reading it holds the thread that would generate.
        blocking = asyncio.create_task(engine.load(ModelSpec(str(tmp_path))))
        pipe = await asyncio.to_thread((tmp_path / "config.json").open, "w")
        late = await completer.offer(ask("def add(left, right):\n    return <|>\n"))
        assert (late.items, late.reason) == ((), Reason.TIMED_OUT)
        pipe.write("{}")
        pipe.close()
        with pytest.raises(ModelError):
            await blocking
        offer = await completer.offer(ask("def add(left, right):\n    return left<|>\n", version=2))
        assert offer.items[0].text == " + right"
        completer.close()
