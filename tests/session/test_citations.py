"""What a model cites of the web is shown as links, while the history keeps what it wrote. The page is really opened."""

import json
from collections.abc import Callable

import pytest

from harmony_ls.events import ToolCallStarted
from harmony_ls.messages import FinishReason
from harmony_ls.session.files import conversation_document, use_document
from harmony_ls.session.session import Session
from harmony_ls.session.sliced_json import written
from harmony_ls.settings import Settings
from harmony_ls.tools.browser import browser_tools
from harmony_ls.tools.tool import ApprovalRequest, Decision
from harmony_ls.tools.toolbox import ToolBox
from tests.models import Rule
from tests.session.support import (
    Oracle,
    Script,
    answer,
    calls,
    chat_model,
    final,
    greedy,
    kinds,
    reason_of,
    said,
    text_of,
)
from tests.tools.browser.servers import Site, site

PAGE = "<title>Tides</title><p>The moon pulls the sea."
LONG_CONTEXT = {"max_position_embeddings": 32_768, "rope_scaling": None}


def opening(served: Site) -> str:
    """A call that opens the page, as GPT-OSS writes it."""
    return calls(json.dumps({"id": served.url()}), "browser.open")


def settings_for(*served: Site) -> Settings:
    on = {"tools": {"browser": "allow"}, "browser": {"allowedHosts": [each.host for each in served]}}
    return Settings.model_validate(on)


async def approve(_request: ApprovalRequest) -> Decision:
    return Decision.ONCE


def tools_for(served: Site) -> ToolBox:
    tools = browser_tools(settings_for(served))
    return ToolBox(tools, {tool.spec.name: "allow" for tool in tools})


READ = "L2: The moon pulls the sea.<|end|><|start|>assistant"


async def test_citations_are_links_for_people_and_marks_in_the_history(script: Script) -> None:
    async with site({"/": PAGE}) as served:
        folder = script(
            Rule(said("Why tides?"), opening(served)),
            Rule(READ, final("The moon【0†L2】. Not【7†L1】, not【.")),
            Rule(said("Sure?"), final("Yes【0†L1-L2】")),
            **LONG_CONTEXT,
        )
        async with chat_model(folder) as model:
            session = Session(model, greedy(), tools=tools_for(served))
            events = await answer(session, "Why tides?")
            link = f"([{served.host}]({served.url()}))"
            assert text_of(events) == f"The moon {link}. Not【7†L1】, not【."
            assert session.messages[-1].content == "The moon【0†L2】. Not【7†L1】, not【."
            # The next turn is read as the model wrote it, from its own tokens.
            again = await answer(session, "Sure?")
            assert text_of(again) == f"Yes {link}"
            assert session.messages[-1].content == "Yes【0†L1-L2】"
    assert kinds(events)[-3:] == ["TextDelta", "Usage", "TurnFinished"]


async def test_a_conversation_that_is_gone_on_with_gives_no_cursor_twice(script: Script) -> None:
    """The page of the first process is gone; what is said of it is not linked to the page of the second."""
    async with site({"/": PAGE}) as served, site({"/": "<p>Wind makes waves."}) as other:
        folder = script(
            Rule(said("Why tides?"), opening(served)),
            Rule(READ, final("The moon【0†L2】")),
            Rule(said("Why waves?"), opening(other)),
            Rule("L2: Wind makes waves.<|end|><|start|>assistant", final("The wind【1†L2】, not the moon【0†L2】")),
            **LONG_CONTEXT,
        )
        async with chat_model(folder) as model:
            first = Session(model, greedy(), tools=tools_for(served))
            await answer(first, "Why tides?")
            kept = json.loads("".join(written(conversation_document(first))))
            allowed = settings_for(served, other)
            again = Session(model, greedy(), tools=ToolBox(browser_tools(allowed), approve=approve))
            use_document(kept, again)
            events = await answer(again, "Why waves?")
            assert text_of(events) == f"The wind ([{other.host}]({other.url()})), not the moon【0†L2】"
            # What is forgotten is forgotten by the tools, too.
            again.clear()
            assert again.tools.text_filters()[0].feed("【1†L2】") == "【1†L2】"


async def test_what_is_held_back_comes_before_the_call_that_follows(script: Script) -> None:
    preamble = "<|channel|>commentary<|message|>I look it up【0†L<|end|><|start|>assistant"
    async with site({"/": PAGE}) as served:
        folder = script(
            Rule(said("Why tides?"), preamble + opening(served)), Rule(READ, final("The moon.")), **LONG_CONTEXT
        )
        async with chat_model(folder) as model:
            events = await answer(Session(model, greedy(), tools=tools_for(served)), "Why tides?")
    before = events[: next(n for n, event in enumerate(events) if isinstance(event, ToolCallStarted))]
    assert text_of(before) == "I look it up【0†L"
    assert text_of(events) == "I look it up【0†LThe moon."


async def test_what_is_held_back_when_an_answer_is_cut_off_is_shown(script: Script) -> None:
    text = "See it【0†L3"
    async with site({}) as served:
        folder = script(Rule(said("Go"), final(f"{text}-L9】 and on")), **LONG_CONTEXT)
        async with chat_model(folder) as model:
            # A token is a byte, or a marker.
            session = Session(model, greedy(max_tokens=len("^final^") + len(text.encode())), tools=tools_for(served))
            events = await answer(session, "Go")
    assert (text_of(events), session.messages[-1].content) == (text, text)
    assert (kinds(events)[0], reason_of(events)) == ("TextDelta", FinishReason.LENGTH)


class Stopper(Oracle):
    """A tool that sees the text before it is shown, and stops the turn in the middle of a citation."""

    stop: Callable[[], None]

    def text_filter(self) -> "Stopper":
        self.seen = ""
        return self

    def feed(self, delta: str) -> str:
        self.seen += delta
        if self.seen.endswith("【0     "):
            self.stop()
        return delta

    def finish(self) -> str:
        return ""


@pytest.mark.parametrize("limit", ["", "The time is over."])
async def test_what_is_held_back_when_a_turn_is_ended_is_shown(script: Script, limit: str) -> None:
    """Blanks may stand in a citation, so that all of them are held back."""
    stopper = Stopper({})
    async with site({}) as served:
        tools = ToolBox([stopper, *browser_tools(settings_for(served))])
        folder = script(Rule(said("Go"), final("See it【0" + " " * 40)), **LONG_CONTEXT)
        async with chat_model(folder) as model:
            session = Session(model, greedy(), tools=tools)

            def stop() -> None:
                running = session._running
                assert running is not None
                running.end_at(limit) if limit else session.cancel()

            stopper.stop = stop
            events = await answer(session, "Go")
    shown = text_of(events)
    assert shown == session.messages[-1].content
    assert shown.rstrip() == "See it【0"
    assert 5 <= len(shown) - len("See it【0") < 40
    assert reason_of(events) is (FinishReason.LIMIT if limit else FinishReason.CANCELLED)
