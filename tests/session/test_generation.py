"""One pass of the model: the order of what comes, and stop strings across everything that a model may write."""

from collections.abc import Sequence
from dataclasses import replace

from harmony_ls.engine.generation.request import Sampling, Token
from harmony_ls.events import Event, TextDelta, ToolCallFinished, ToolCallStarted
from harmony_ls.messages import Conversation, FinishReason, Message, Role
from harmony_ls.session.chat_model import ChatModel
from harmony_ls.session.generation import Asked, Pass, written
from tests.models import Rule
from tests.session.support import Oracle, Script, calls, chat_model, final, said, text_of

PREAMBLE = "<|channel|>commentary<|message|>Let me see x<|end|><|start|>assistant"


async def everything(
    model: ChatModel, question: str, *, stops: Sequence[str] = (), n_top: int = 0
) -> tuple[list[Token | Event], Pass]:
    """All that a pass yields, and what it left behind."""
    conversation = Conversation((Message(Role.USER, question),), tools=(Oracle({}).spec,))
    prompt = model.format.render(conversation)
    asked = Asked(prompt, model.format.parser(prompt, conversation), model.format.stop_tokens, stops, n_top)
    current = Pass(prompt)
    items = [
        item
        async for item in written(
            model.engine, model.model, asked, current, max_tokens=400, sampling=replace(Sampling(), temperature=0)
        )
    ]
    return items, current


async def test_text_that_was_held_back_comes_before_the_call_that_follows_it(script: Script) -> None:
    rule = Rule(said("Ask"), PREAMBLE + calls('{"question": "xyz!"}'))
    async with chat_model(script(rule)) as model:
        items, current = await everything(model, "Ask", stops=["xyz!"])
    events = [item for item in items if not isinstance(item, Token)]
    assert text_of(events) == "Let me see x"
    begun = next(index for index, event in enumerate(events) if isinstance(event, ToolCallStarted))
    assert not any(isinstance(event, TextDelta) for event in events[begun:])
    assert isinstance(events[-1], ToolCallFinished), "arguments are no text that could be stopped"
    assert current.reason is FinishReason.STOP


async def test_a_stop_string_ends_the_pass_and_is_not_shown(script: Script) -> None:
    async with chat_model(script(Rule(said("Count"), final("one two three four")))) as model:
        items, current = await everything(model, "Count", stops=["three"], n_top=2)
    assert text_of([item for item in items if not isinstance(item, Token)]) == "one two "
    tokens = [item for item in items if isinstance(item, Token)]
    assert current.reason is FinishReason.STOP
    assert current.usage.generated_tokens == len(tokens) == len(current.generated)
    assert all(len(token.top) == 2 for token in tokens)
    assert isinstance(items[0], Token), "each token comes before what it completes"
