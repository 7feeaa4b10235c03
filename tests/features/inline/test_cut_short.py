"""Suggestions during which the settings change or the model goes away: half of one is nobody's answer."""

import asyncio

import pytest

from harmony_ls.features.inline.completer import InlineCompleter
from harmony_ls.features.inline.request import Reason, Source
from harmony_ls.features.inline.running import Running
from tests.features.inline.test_completer import ADD, ScriptedModel, ask, completer_with, settings_for
from tests.models import Rule

# Long enough for a busy machine not to have it whole before the event loop sees its beginning.
LONG = " + ".join(f"value_{number}" for number in range(10, 15))


async def writing(completer: InlineCompleter) -> Running:
    """Let the event loop run until some of a text is written."""
    for _ in range(1_000_000):
        for state in completer._documents.values():
            if state.running is not None and state.running.state.text:
                return state.running
        await asyncio.sleep(0)
    raise AssertionError("nothing was written")


@pytest.mark.parametrize(
    ("change", "reason", "text_afterwards"),
    [
        ({"enabled": False}, Reason.DISABLED, None),
        ({"exclude": ("*.py",)}, Reason.EXCLUDED_FILE, None),
        ({"max_lines": 3}, Reason.SUPERSEDED, LONG),
    ],
)
async def test_what_was_being_written_when_the_settings_changed_is_neither_shown_nor_remembered(
    scripted_model: ScriptedModel, change: dict[str, object], reason: Reason, text_afterwards: str | None
) -> None:
    model = scripted_model([Rule(after="    return ", reply=LONG)])
    request = ask("def add(left, right):\n    return <|>\n")
    async with completer_with(settings_for(model)) as completer:
        offering = asyncio.create_task(completer.offer(request))
        running = await writing(completer)
        assert not running.done
        completer.use(settings_for(model, **change))
        offer = await offering
        assert (offer.items, offer.reason) == ((), reason)
        assert offer.detail
        again = await completer.offer(request)
        assert [(item.text, item.source) for item in again.items] == (
            [] if text_afterwards is None else [(text_afterwards, Source.MODEL)]
        )


async def test_what_was_being_written_when_the_model_was_unloaded_is_neither_shown_nor_remembered(
    scripted_model: ScriptedModel,
) -> None:
    request = ask("def add(left, right):\n    return <|>\n")
    async with completer_with(settings_for(scripted_model([Rule(after="    return ", reply=LONG)]))) as completer:
        offering = asyncio.create_task(completer.offer(request))
        running = await writing(completer)
        await completer._resident_model.unload()
        offer = await offering
        assert running.failed
        assert (offer.items, offer.reason) == ((), Reason.MODEL_LOADING)
        again = await completer.offer(request)
        assert [(item.text, item.source) for item in again.items] == [(LONG, Source.MODEL)]


async def test_settings_that_switch_it_off_before_the_prompt_is_made_are_in_force(
    scripted_model: ScriptedModel,
) -> None:
    model = scripted_model([ADD])
    async with completer_with(settings_for(model)) as completer:
        offering = asyncio.create_task(completer.offer(ask("def add(left, right):\n    return <|>\n")))
        await asyncio.sleep(0)
        completer.use(settings_for(model, enabled=False))
        offer = await offering
        assert (offer.items, offer.reason) == ((), Reason.DISABLED)
