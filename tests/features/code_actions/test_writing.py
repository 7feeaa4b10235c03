"""From an action to changes, with a model in memory: what is rewritten, and what ends the work."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from harmony_ls.edits.changes import apply_text_changes
from harmony_ls.engine.generation.request import GenerationRequest
from harmony_ls.errors import UserError
from harmony_ls.features.code_actions.actions import Action, action_named
from harmony_ls.features.code_actions.question import Question, prompt_text, rendered
from harmony_ls.features.code_actions.region import region_of, regions_to_mend
from harmony_ls.features.code_actions.writing import Job, added_tests, changes_for
from harmony_ls.features.diagnostics import DiagnosticNote
from harmony_ls.features.document import DocumentSnapshot
from harmony_ls.messages import ReasoningEffort
from harmony_ls.session.chat_model import ChatModel
from tests.lsp.acting import asked
from tests.models import Rule
from tests.session.support import chat_model, final, greedy, scripted_gpt_oss

CLASS = '''\
class Shape:
    """A shape."""

    def area(self):
        if self.width:
            return self.width * self.heigth
        return 0


shape = Shape()
'''
METHOD = """\
def area(self):
    if self.width:
        return self.width * self.height
    return 0
"""
RULES = [
    asked("fix", f"```python\n{METHOD}```"),
    asked("simplify", "```python\nreturn 0 if not self.width else 1\n```"),
    asked("improve", "```\n\n```"),
    asked("document", "```python\n" + "".join(f"# word {n}\n" for n in range(60)) + "```"),
    asked("document", "It is right as it is.\n" * 60, before="```python\n    return 1\n```\n\n"),
    asked("improve", "```python\ndef g(x):\n    return x\n```", before="```python\ndef f(x):\n    return x\n```\n\n"),
    asked("write_tests", "```\ndef test_it():\n    assert True\n```"),
]

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def model(tmp_path_factory: pytest.TempPathFactory, harmony_vocabulary_folder: Path) -> AsyncIterator[ChatModel]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIKTOKEN_ENCODINGS_BASE", str(harmony_vocabulary_folder))
        folder = scripted_gpt_oss(tmp_path_factory.mktemp("writing"), RULES, max_position_embeddings=32_768)
        async with chat_model(folder) as model:
            yield model


def job(action: str, text: str = CLASS, selected: str = "", **options: object) -> Job:
    start = text.index(selected) if selected else 0
    document = DocumentSnapshot("file:///code/shape.py", "/code/shape.py", "python", 1, text)
    return Job(action_of(action), document, "shape.py", start, start + len(selected), **options)  # type: ignore[arg-type]


def action_of(name: str) -> Action:
    action = action_named(name)
    assert action is not None
    return action


async def test_a_diagnostic_is_mended_in_the_definition_around_it(model: ChatModel) -> None:
    """The answer began at the margin; it goes where the method was, and only the letters that differ are changed."""
    notes = (DiagnosticNote(6, "no attribute"),)
    [change] = await changes_for(job("fix", notes=notes, note_lines=((5, 6),)), model, greedy())
    assert change.text == "ht"
    assert apply_text_changes(CLASS, [change]) == CLASS.replace("heigth", "height")


async def test_what_has_to_be_imported_goes_to_the_imports(tmp_path: Path, harmony_vocabulary: None) -> None:
    text = "import os\n\n\nclass Thing:\n    def root(self):\n        return Path(os.sep)\n"
    code = "```python\nimport os\nfrom pathlib import Path\n\ndef root(self):\n    return Path(os.sep)\n```"
    rules = [asked("fix", code)]
    async with chat_model(scripted_gpt_oss(tmp_path / "model", rules, max_position_embeddings=32_768)) as model:
        notes = (DiagnosticNote(6, "Path is not defined"),)
        [change] = await changes_for(job("fix", text, notes=notes, note_lines=((5, 6),)), model, greedy())
    assert apply_text_changes(text, [change]) == text.replace("import os\n", "import os\nfrom pathlib import Path\n")


async def test_part_of_a_statement_stands_for_all_of_it(model: ChatModel) -> None:
    changes = await changes_for(job("simplify", selected="self.width:\n            return"), model, greedy())
    assert "        return 0 if not self.width else 1\n        return 0\n" in apply_text_changes(CLASS, changes)


async def test_code_is_not_rewritten_into_nothing(model: ChatModel) -> None:
    with pytest.raises(UserError, match="no code at all"):
        await changes_for(job("improve", selected="return 0"), model, greedy())


async def test_an_answer_of_the_greatest_length_is_no_edit(model: ChatModel) -> None:
    with pytest.raises(UserError, match="cut off"):
        await changes_for(job("document", selected="return 0"), model, greedy(max_tokens=300))


async def test_what_other_code_uses_is_not_taken_away(model: ChatModel) -> None:
    text = "def f(x):\n    return x\n\n\nprint(f(1))\n"
    with pytest.raises(UserError, match="would remove `f`, which other code may use"):
        await changes_for(job("improve", text), model, greedy())


async def test_a_model_that_goes_round_in_circles_is_stopped(model: ChatModel) -> None:
    with pytest.raises(UserError, match="repeats itself"):
        await changes_for(job("document", "def f():\n    return 1\n", selected="return 1"), model, greedy())


@pytest.mark.parametrize(
    "rest", ["It is right as it is.\n" * 60, "".join(f"It is {n} times right.\n" for n in range(99))]
)
async def test_code_that_is_only_quoted_is_no_edit_whatever_is_said_of_it(
    tmp_path: Path, harmony_vocabulary: None, rest: str
) -> None:
    """A person is not told to select less where all of an answer would help as little."""
    rules = [asked("improve", f"```python\ndef f(x):\n    return x\n```\n\n{rest}")]
    async with chat_model(scripted_gpt_oss(tmp_path / "model", rules, max_position_embeddings=32_768)) as model:
        with pytest.raises(UserError, match="would leave the code as it is"):
            await changes_for(job("improve", "def f(x):\n    return x\n"), model, greedy(max_tokens=700))


async def test_a_document_that_never_parsed_is_rewritten_by_its_lines(model: ChatModel) -> None:
    text = "def f(:\n    return 1\n"
    [change] = await changes_for(job("simplify", text, "return 1"), model, greedy())
    assert apply_text_changes(text, [change]) == "def f(:\n    return 0 if not self.width else 1\n"


async def test_cancelled_work_frees_the_model(model: ChatModel) -> None:
    is_writing = asyncio.Event()

    def tell(message: str) -> None:
        if message == "Writing":
            is_writing.set()

    work = asyncio.create_task(changes_for(job("document", selected="return 0", tell=tell), model, greedy()))
    await is_writing.wait()
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert await changes_for(job("simplify", selected="return 0"), model, greedy())


@pytest.mark.parametrize(
    ("tests", "expected"),
    [
        ("", "{new}"),
        ("\n\n", "{new}"),
        ("import shape", "import shape\n\n\n{new}"),
        ("import shape\n", "import shape\n\n\n{new}"),
        ("import shape\n\n\n\n", "import shape\n\n\n\n{new}"),
        ("import shape\r\n", "import shape\r\n\r\n\r\n{new}"),
    ],
)
async def test_tests_are_put_at_the_end(model: ChatModel, tests: str, expected: str) -> None:
    changes = await added_tests(job("write_tests"), "tests/test_shape.py", tests, model, greedy())
    new = "def test_it():\n    assert True\n".replace("\n", "\r\n" if "\r\n" in tests else "\n")
    assert apply_text_changes(tests, changes) == expected.format(new=new)


@pytest.mark.parametrize(
    ("language", "tests", "answer", "says"),
    [
        ("python", "", "def check():\n    assert True", "holds no test that would be run"),
        ("python", "", "def test_shape():\n    assert Shape()", "uses `Shape`, which is defined nowhere"),
        ("python", "", f"{CLASS}\n\ndef test_shape():\n    assert Shape()", "a copy of `Shape`"),
        ("python", "def test_it():\n    assert 1\n", "def test_it(x):\n    assert x", "define `test_it` once more"),
        ("python", "", "def test_it(:", "would break the document"),
        ("python", "", "\n", "wrote no tests"),
        ("go", "", "func Area() int { return 0 }", "holds no test. Nothing was changed"),
    ],
)
async def test_what_would_not_be_run_or_harms_other_tests_is_refused(
    tmp_path: Path, harmony_vocabulary: None, language: str, tests: str, answer: str, says: str
) -> None:
    rules = [asked("write_tests", f"```\n{answer}\n```")]
    async with chat_model(scripted_gpt_oss(tmp_path / "model", rules, max_position_embeddings=32_768)) as model:
        chosen = job("write_tests")
        chosen = replace(chosen, document=replace(chosen.document, language_id=language))
        with pytest.raises(UserError) as refused:
            await added_tests(chosen, "tests/test_shape", tests, model, greedy())
    assert says in str(refused.value)


async def test_an_empty_document_has_nothing_to_work_on(model: ChatModel) -> None:
    for text in ("", "\n\n  \n"):
        with pytest.raises(UserError):
            await changes_for(job("improve", text), model, greedy())


FAR_APART = (
    "import os\n\n\ndef first():\n    return on\n\n\n" + "value = 1\n" * 20_000 + "\n\n\ndef last():\n    return of\n"
)


BREAKS = (
    "Line 20009 (blank) and 1 more: The model's answer would break the document (line 20012: '(' was never closed)."
)
REFUSES = "Line 5 (wrong): The model made no edit. It said: I cannot."
LEAVES = "Line 5 (wrong): The model would leave the code as it is."


@pytest.mark.parametrize(
    ("first", "last", "expected", "left"),
    [
        ("return 1", "return 2", FAR_APART.replace("return on\n", "return 1\n").replace("of\n", "2\n"), ()),
        ("return 1", "return (", FAR_APART.replace("return on\n", "return 1\n"), (BREAKS,)),
        (None, "return 2", FAR_APART.replace("of\n", "2\n"), (REFUSES,)),
        ("return on", "return 2", FAR_APART.replace("of\n", "2\n"), (LEAVES,)),
        (None, "return (", None, (REFUSES, BREAKS)),
    ],
    ids=["all", "one is broken", "one cannot be mended", "one is left as it is", "none can be mended"],
)
async def test_all_is_mended_place_by_place(
    tmp_path: Path,
    harmony_vocabulary: None,
    first: str | None,
    last: str | None,
    expected: str | None,
    left: tuple[str, ...],
) -> None:
    """What is wrong far apart is asked one by one, and what can be mended is. What is not, is told with its reason: a
    line without code has nothing wrong."""

    def rule(place: int, name: str, line: str | None) -> Rule:
        answer = "I cannot." if line is None else f"```python\ndef {name}():\n    {line}\n```"
        return asked(
            "fix_all", answer, before=f"line {place}, `return o{'n' if name == 'first' else 'f'}`: wrong\n```\n\n"
        )

    rules = [rule(5, "first", first), rule(20_012, "last", last)]
    told: list[str] = []
    warned: list[str] = []
    notes = (DiagnosticNote(20_012, "wrong"), DiagnosticNote(20_009, "blank"), DiagnosticNote(5, "wrong"))
    lines = ((20_011, 20_012), (20_008, 20_009), (4, 5))
    async with chat_model(scripted_gpt_oss(tmp_path / "model", rules, max_position_embeddings=32_768)) as model:
        large = job("fix_all", FAR_APART, notes=notes, note_lines=lines, tell=told.append, warn=warned.append)
        if expected is None:
            with pytest.raises(UserError) as refused:
                await changes_for(large, model, greedy())
            warned.append(str(refused.value))
        else:
            assert apply_text_changes(FAR_APART, await changes_for(large, model, greedy())) == expected
    assert "Reading (1 of 2)" in told
    assert "Writing (2 of 2)" in told
    n_left = len(left) + (BREAKS in left)
    assert warned == (["\n".join((f"{n_left} of 3 problems could not be fixed.", *left))] if left else [])


async def test_other_languages_are_mended_place_by_place_too(model: ChatModel) -> None:
    text = "fn f() {\n    a()\n}\n" + "let x = 1;\n" * 100 + "fn g() {\n    b()\n}\n"
    rust = job(
        "fix_all", text, notes=(DiagnosticNote(105, "b"), DiagnosticNote(2, "a")), note_lines=((104, 105), (1, 2))
    )
    rust = replace(rust, document=replace(rust.document, language_id="rust"))
    assert [(region.start, region.end, notes[0].message) for region, notes in await regions_to_mend(rust)] == [
        (0, 3, "a"),
        (103, 106, "b"),
    ]


async def test_hidden_reasoning_is_no_part_of_the_code(tmp_path: Path, harmony_vocabulary: None) -> None:
    after = asked("fix", "").after
    answer = final("```python\nx = 2\n```", reasoning="```python\nx = 9\n```")
    async with chat_model(scripted_gpt_oss(tmp_path / "model", [Rule(after, answer)])) as model:
        small = replace(job("fix", "x = 1\n"), note_lines=((0, 1),), notes=(DiagnosticNote(1, "wrong"),))
        [change] = await changes_for(small, model, greedy())
        assert change.text == "2"


async def test_a_byte_order_mark_in_the_text_stays_where_it_is(model: ChatModel) -> None:
    """Some editors keep it there. The model is not shown it, and what is imported stands behind it."""
    text = f"\ufeff{CLASS}"
    notes = (DiagnosticNote(6, "no attribute"),)
    changes = await changes_for(job("fix", text, notes=notes, note_lines=((5, 6),)), model, greedy())
    assert apply_text_changes(text, changes) == text.replace("heigth", "height")


async def test_time_is_not_without_end(model: ChatModel) -> None:
    with pytest.raises(UserError, match=r"within 0\.01 seconds \(chat\.maxTurnSeconds\)"):
        await changes_for(job("document", selected="return 0"), model, greedy(max_turn_seconds=0.01))
    assert await changes_for(job("simplify", selected="return 0"), model, greedy())


async def test_the_next_action_on_a_document_finds_it_read(model: ChatModel) -> None:
    """Also another action on another region."""
    text = CLASS + "".join(f"value_{number} = {number}\n" for number in range(100))
    await changes_for(job("simplify", text, "return 0"), model, greedy())
    asked_next = job("improve", text, "value_88 = 88\n")
    question = Question("shape.py", "python", await region_of(asked_next), prompt_text("improve"))
    _, prompt = await rendered(question, model, greedy(), ReasoningEffort.MEDIUM)
    generation = model.engine.generate(model.model, GenerationRequest(prompt.tokens, max_tokens=1))
    async for _ in generation:
        pass
    assert generation.stats.reused_tokens > len(text)
    assert generation.stats.computed_tokens < len(prompt_text("improve")) + 200
