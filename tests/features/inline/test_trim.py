"""Each final rule at its edge: what is cut, replaced, refused. The fixtures show them at work together."""

import pytest

from harmony_ls.features.document import DocumentSnapshot
from harmony_ls.features.inline.context import CursorContext
from harmony_ls.features.inline.refusal import Refusal
from harmony_ls.features.inline.request import Reason
from harmony_ls.features.inline.stop_rules import StopDecision, StopRule
from harmony_ls.features.inline.trim import trim


def trimmed(
    marked: str,
    text: str,
    *,
    language_id: str = "python",
    is_whole: bool = True,
    invoked: bool = False,
    max_lines: int = 12,
    stopped: StopDecision | None = None,
) -> str | Reason:
    """The document after accepting what is offered, or the reason."""
    offset = marked.index("<|>")
    document = DocumentSnapshot("file:///a", "/a", language_id, 1, marked.replace("<|>", ""))
    context = CursorContext.at(document, offset)
    result = trim(text, document, context, is_whole=is_whole, max_lines=max_lines, invoked=invoked, stopped=stopped)
    if isinstance(result, Refusal):
        return result.reason
    return document.text[:offset] + result.text + document.text[offset + result.n_replaced :]


def test_blanks_at_the_end_go() -> None:
    assert trimmed("x = <|>\n", "value \n  \n") == "x = value\n"
    assert trimmed("x = <|>\n", "  \n ") is Reason.EMPTY_ANSWER


def test_a_blank_before_the_cursor_is_not_doubled() -> None:
    assert trimmed("x = <|>\n", "  value") == "x = value\n"
    assert trimmed("x =<|>\n", " value") == "x = value\n"
    assert trimmed("a   = 1\nbb = <|>\n", "  value") == "a   = 1\nbb =   value\n", "columns"
    assert trimmed("define(NAME,    <|>\n", "  value)") == "define(NAME,      value)\n", "columns"
    assert trimmed("    <|>\n", "    value = 1") == "        value = 1\n", "a deeper indentation is meant"


@pytest.mark.parametrize(
    ("marked", "text", "expected"),
    [
        ("f(<|>)", "value)", "f(value)"),
        ("f(<|>)", "g(value)", "f(g(value))"),
        ("f(<|>)", "g(value))", "f(g(value))"),
        ("f(g(<|>)", "value))", "f(g(value))"),
        ("f(<|>);", "value)", "f(value);"),
        ("f(<|>)", "value);", "f(value);"),
        ("f(<|>) {", "value) {", "f(value) {"),
        ("if f(<|>):", "value) and g():", "if f(value) and g():"),
        ("if f(<|>):", "value) and g(other):", "if f(value) and g(other):"),
        ("f([<|>])", "value]) + 1", "f([value]) + 1"),
        ('f("<|>")', 'value")', 'f("value")'),
        ('f("<|>")', 'value", other)', 'f("value", other)'),
        ("f('<|>')", "it\\'s')", "f('it\\'s')"),
        ("f([(<|>)])", ").a])", "f([().a])"),
        ("f(g(<|>)", "a).b)", "f(g(a).b)"),
        ("x = <|>;", "value;", "x = value;"),
        ("x = [<|>,", "value,", "x = [value,"),
        ("f(<|>  )", "value)", "f(value  )"),
    ],
)
def test_what_the_editor_closed_is_closed_once(marked: str, text: str, expected: str) -> None:
    assert trimmed(marked, text, language_id="javascript") == expected


@pytest.mark.parametrize(
    ("marked", "text", "expected"),
    [
        ("x = <|> + offset", "start + offset", "x = start + offset"),
        ("x = <|>+ offset", "start + offset", "x = start + offset"),
        ("return <|>a + b", "max(a + b, 0)", "return max(a + b, 0)"),
        ("call(<|>, other)", "value, other)", "call(value, other)"),
        ("import <|> as name", "module as name\nother", "import module as name"),
        ("x = foo<|>bar", "_b", "x = foo_bbar"),
    ],
)
def test_the_rest_of_the_line_is_kept(marked: str, text: str, expected: str) -> None:
    assert trimmed(marked, text, invoked=True) == expected


def test_only_what_follows_already() -> None:
    assert trimmed("f(<|>)", ")") is Reason.REPEATS_DOCUMENT
    assert trimmed("x = <|> + offset", " + offset", invoked=True) is Reason.REPEATS_DOCUMENT


def test_several_lines_in_front_of_code_are_cut_to_one() -> None:
    assert trimmed("x = <|> + y", "(a\n + b)", invoked=True) is Reason.MID_LINE
    assert trimmed("x = <|> + y", "value\n+ z", invoked=True) == "x = value + y"


def test_a_restarted_line_is_not_typed_again() -> None:
    assert trimmed("    return self.na<|>\n", "return self.name()") == "    return self.name()\n"
    assert trimmed("value = self.<|>\n", "self.name.upper()") == "value = self.name.upper()\n"
    assert trimmed("x = 1 # ---<|>\n", "------") == "x = 1 # ---------\n"
    assert trimmed("f(this, void 0, <|>\n", "void 0, g)") == "f(this, void 0, void 0, g)\n"
    assert trimmed("x = data<|>\n", "database.url") == "x = datadatabase.url\n", "a half word is no restart"


def test_lines_that_stand_below() -> None:
    marked = "def f():\n    <|>\n    b = 2\n    return a + b\n"
    assert trimmed(marked, "b = 2\n    return a + b") is Reason.REPEATS_DOCUMENT
    assert trimmed(marked, "a = 10\n    b = 2\n    return a + b") == marked.replace("<|>", "a = 10")
    assert trimmed("a<|>\nab = compute_everything(x)\n", "b = compute_everything(x)") is Reason.REPEATS_DOCUMENT


def test_a_closing_line_that_stands_below() -> None:
    marked = "if (a) {<|>\n}\n"
    assert trimmed(marked, "\n  call();\n}", language_id="javascript") == "if (a) {\n  call();\n}\n"
    own = "{\n<|>\n}\n"
    assert trimmed(own, "if (a) {\n  b();\n}", language_id="javascript") == "{\nif (a) {\n  b();\n}\n}\n"
    deeper = "if (a) {\n  if (b) {<|>\n}\n"
    text = "\n    call();\n  }"
    assert trimmed(deeper, text, language_id="javascript") == deeper.replace("<|>", text)


def test_the_line_above() -> None:
    assert trimmed("call(value)\n<|>\n", "call(value)") is Reason.REPEATS_DOCUMENT
    assert trimmed("call(value, 1)\n<|>\n", "call(value, 2)") == "call(value, 1)\ncall(value, 2)\n"
    assert trimmed("}\n<|>\n", "}", invoked=True) == "}\n}\n"


def test_repetition() -> None:
    assert trimmed("# <|>\n", "and the and the and the and the and the and the ") is Reason.REPEATS_ITSELF
    assert trimmed("# <|>\n", "and the next") == "# and the next\n"
    assert trimmed("# <|>\n", "-" * 70) == f"# {'-' * 70}\n", "a ruler"


def test_a_new_line_needs_an_open_one() -> None:
    assert trimmed("x = 1<|>\ny = 2\n", "\nz = 3") is Reason.EMPTY_ANSWER
    assert trimmed("def f():<|>\ny = 2\n", "\n    return 1") == "def f():\n    return 1\ny = 2\n"
    assert trimmed("f(<|>)\ny = 2\n", "\n    value,\n)") == "f(\n    value,\n)\ny = 2\n"
    assert trimmed("x = 1<|>\n", "\n\nz = 30") == "x = 1\nz = 30\n"
    assert trimmed("x = <|> + 1\n", "\nz = 3", invoked=True) is Reason.MID_LINE


def test_blank_lines_in_front_go_on_a_blank_line() -> None:
    assert trimmed("def f():\n    <|>\n", "\n    return 1") == "def f():\n    return 1\n"
    assert trimmed("def f():\n    <|>\n", "\nreturn 1") is Reason.EMPTY_ANSWER


def test_what_tokens_cut_off_goes() -> None:
    assert trimmed("x = <|>\n", "first()\ny = sec", is_whole=False) == "x = first()\n"
    assert trimmed("x = <|>\n", "first.second.thi", is_whole=False) == "x = first.second.\n"
    assert trimmed("x = <|>\n", "firstsecond", is_whole=False) == "x = firstsecond\n"


@pytest.mark.parametrize("text", [")", ":", "a", "12", "x)", "()"])
def test_too_short(text: str) -> None:
    assert trimmed("if f(a<|>\n", text) is Reason.TOO_SHORT
    assert trimmed("if f(a<|>\n", text, invoked=True) == f"if f(a{text}\n"


@pytest.mark.parametrize("text", ["):", ");", ")])", "])"])
def test_a_short_closing_is_worth_showing(text: str) -> None:
    assert trimmed("if f([a<|>\n", text) == f"if f([a{text}\n"


def test_at_most_so_many_lines() -> None:
    assert trimmed("<|>\n", "a = 1\nb = 2\nc = 3", max_lines=2) == "a = 1\nb = 2\n"


def test_line_ends_are_the_documents() -> None:
    assert trimmed("def f():\r\n    <|>\r\n", "a = 1\n    return a") == "def f():\r\n    a = 1\r\n    return a\r\n"
    assert trimmed("def f():\r    <|>\r", "a = 1\n    return a") == "def f():\r    a = 1\r    return a\r"
    assert trimmed("<|>", "a = 1\nb = 2") == "a = 1\nb = 2"


def test_the_stop_rules_know_why_nothing_is_left() -> None:
    assert trimmed("<|>", "", stopped=StopDecision(0, StopRule.SAME_LINE)) is Reason.REPEATS_ITSELF
    assert trimmed("<|>", "") is Reason.EMPTY_ANSWER


def test_a_chat_models_fences() -> None:
    text = "```python\nif a:\n    return 1\n```\nThat is it."
    assert trimmed("def f():\n    <|>\n", text) == "def f():\n    if a:\n        return 1\n"
    assert trimmed("<|>\n", text, language_id="markdown").startswith("```python")


@pytest.mark.parametrize("text", ["a" * 100_000, "((((" * 20_000, "\n" * 50_000, "'" * 50_000, "``` \n" * 20_000])
def test_long_texts_take_no_long_time(text: str) -> None:
    trimmed("f(<|>)\n" + "x" * 1_000, text)
