"""Each stop rule at its edge: where it speaks, and where it must not. The fixtures show them at work together."""

import pytest

from harmony_ls.features.document import DocumentSnapshot
from harmony_ls.features.inline.context import CursorContext
from harmony_ls.features.inline.stop_rules import StopRule, StopRules


def stopped(
    marked: str, text: str, *, language_id: str = "python", max_lines: int = 12, single_line: bool = False
) -> tuple[str, StopRule | None]:
    """What is kept of a model's text, written character by character, and the rule that spoke."""
    offset = marked.index("<|>")
    document = DocumentSnapshot("file:///a", "/a", language_id, 1, marked.replace("<|>", ""))
    rules = StopRules(CursorContext.at(document, offset), max_lines=max_lines, single_line=single_line)
    for end in range(1, len(text) + 1):
        if decision := rules.check(text[:end]):
            return text[: decision.keep], decision.rule
    decision = rules.finish(text)
    return (text, None) if decision is None else (text[: decision.keep], decision.rule)


def test_a_text_that_breaks_no_rule_is_kept() -> None:
    assert stopped("def f():\n    <|>\n", "a = 1\n    return a") == ("a = 1\n    return a", None)


def test_the_line_below() -> None:
    assert stopped("a = <|>\nreturn a\n", "1\nreturn a\n") == ("1", StopRule.LINE_BELOW)
    assert stopped("<|>\n\n\nreturn a\n", "return a\n") == ("", StopRule.LINE_BELOW)
    assert stopped("ret<|>\nreturn a\n", "urn a\n") == ("", StopRule.LINE_BELOW)


def test_the_last_line_needs_no_line_end() -> None:
    assert stopped("a = <|>\nreturn a\n", "1\nreturn a") == ("1", StopRule.LINE_BELOW)


def test_an_equal_line_of_another_block() -> None:
    marked = "try:\n    a = <|>\nreturn None\n"
    assert stopped(marked, "1\n    return None")[1] is None
    assert stopped("@property\ndef a(): ...\n@prop<|>\n\n@property\n", "erty\ndef b(): ...")[1] is None


def test_a_line_like_the_one_below() -> None:
    below = "    parser.add_argument('--name', help='the name')\n"
    again = "    parsers.add_argument('--name', help='the name')\n"
    assert stopped(f"    a = <|>\n{below}", f"1\n{again}") == ("1", StopRule.SIMILAR_LINE_BELOW)
    assert stopped("f(<|>\nx = 'ab' \n", '1)\nx = "ab"\n')[1] is StopRule.SIMILAR_LINE_BELOW
    assert stopped("f(<|>\nbc = (maxc-b) / rangec\n", "1)\ngc = (maxc-g) / rangec\n")[1] is None
    assert stopped("f(<|>\n    'variance',\n", "1)\n    'pvariance',\n")[1] is None
    assert stopped("f(<|>\nab = c\n", "1)\nab = d\n")[1] is None, "short lines differ in one character"
    assert stopped("f(<|>\nvalue_of_table[10] = 1\n", "1)\nvalue_of_table[11] = 1\n")[1] is None


def test_the_text_after_the_cursor() -> None:
    marked = "x = <|>\nthe_quick_brown_fox = jumps\n"
    assert stopped(marked, "1\n  the_quick_brown_fox = jumps") == ("1", StopRule.SUFFIX_AGAIN)
    assert stopped(marked, "1 + the_quick_brown_fox = jumps")[1] is None
    assert stopped(marked, "1\nthe_quick_brown_fox = leaps\n")[1] is None
    marked = "x = f(<|>the_quick_brown_fox, jumps)\n"
    assert stopped(marked, "1, the_quick_brown_fox, ju") == ("1, ", StopRule.SUFFIX_AGAIN)
    assert stopped("x = <|>\n" + "-" * 40, "1 " + "-" * 30)[1] is None, "a ruler says too little"


def test_the_same_line_three_times() -> None:
    assert stopped("<|>", "a()\na()\na()\n") == ("a()", StopRule.SAME_LINE)
    assert stopped("<|>", "a()\na()\nb()\n")[1] is None
    assert stopped("{{{\n<|>", "f({[\n    ]\n  }\n)\n    }\n  }\n}\n", language_id="markdown")[1] is None


@pytest.mark.parametrize("piece", ["ab ", "the same again, ", "foo(bar, ", "x = y + z; "])
def test_a_loop(piece: str) -> None:
    kept, rule = stopped("<|>", "first\n" + piece * 40)
    assert (kept, rule) == ("first", StopRule.LOOP)


@pytest.mark.parametrize(
    "text", ["# " + "-" * 76, "=" * 79, " " * 200 + "x", "[0, 0, 0, 0, 0, 0, 0, 0]", "ha ha ha ha"]
)
def test_rulers_and_short_tables_are_no_loops(text: str) -> None:
    assert stopped("<|>", text)[1] is None


def test_a_loop_is_found_long_before_the_tokens_run_out() -> None:
    text = "x, " * 200
    rules = StopRules(CursorContext.at(DocumentSnapshot("", None, "python", 1, ""), 0), max_lines=12, single_line=False)
    first = next(end for end in range(1, len(text)) if rules.check(text[:end]))
    assert first < 60


def test_the_block_ends() -> None:
    assert stopped("    a = <|>", "1\nb = 2") == ("1", StopRule.BLOCK_END)
    assert stopped("    a = <|>", "1\n    b = 2")[1] is None
    assert stopped("\ta = <|>", "1\n    b = 2", language_id="go")[1] is None, "a tab is as wide as four blanks"
    assert stopped("    <|>", "a\nb", language_id="markdown")[1] is None


def test_a_line_that_closes_the_block_belongs_to_it_once() -> None:
    text = "return 1;\n}\nfunction g() {"
    assert stopped("function f() {\n  <|>", text, language_id="javascript") == ("return 1;\n}", StopRule.BLOCK_END)
    assert stopped("function f() {\n  <|>\n}\n", text, language_id="javascript") == ("return 1;", StopRule.LINE_BELOW)
    nested = "if (a) {\n  function f() {\n    <|>\n  }\n}\n"
    assert stopped(nested, "return 1;\n  }\n}", language_id="javascript")[0] == "return 1;"


def test_the_answers_own_block_is_closed() -> None:
    text = "if (a) {\n  b();\n}"
    assert stopped("{\n<|>\n}\n", text, language_id="javascript") == (text, None)
    assert stopped("<ul>\n<|>\n</ul>\n", "<ul>\n<li>\n</ul>", language_id="html")[1] is None


def test_a_blank_line() -> None:
    assert stopped("<|>", "a = 1\n\nb = 2") == ("a = 1", StopRule.BLANK_LINE)
    assert stopped("<|>", "a = 1\n   \nb = 2") == ("a = 1", StopRule.BLANK_LINE)
    assert stopped("<|>", "\na = 1\nb = 2") == ("\na = 1\nb = 2", None)
    assert stopped("<|>", "\n\n\n\na") == ("", StopRule.ONLY_LINE_ENDS)


def test_the_number_of_lines() -> None:
    assert stopped("<|>", "a\nb\nc\nd\n", max_lines=3) == ("a\nb\nc", StopRule.MAX_LINES)
    assert stopped("<|>", "a\nb", max_lines=1) == ("a", StopRule.MAX_LINES)
    assert stopped("<|>", "a\nb\nc", max_lines=3)[1] is None
    assert stopped("<|>", "a\nb\nc = d or\n", max_lines=3)[1] is None, "no line is one too many"
    assert stopped("<|>", "a\nb\nc = f(\n  d)", max_lines=3) == ("a\nb", StopRule.MAX_LINES)
    assert stopped("    <|>", "a\n    b\nc", max_lines=2) == ("a\n    b", StopRule.BLOCK_END)


def test_a_single_line() -> None:
    assert stopped("<|>", "a\nb", single_line=True) == ("a", StopRule.SINGLE_LINE)
    assert stopped("<|>", "\na\nb", single_line=True) == ("\na", StopRule.SINGLE_LINE)


def test_a_bracket_that_nothing_opened() -> None:
    assert stopped("f(<|>\n", "a)\nb)\n") == ("a)", StopRule.CLOSING_BRACKET)
    assert stopped("f(<|>\n", "a,\n  b\n)\nc = 1\n")[1] is None
    assert stopped("f('(<|>\n", ")', a)\nc = 1\n")[1] is None
    assert stopped('def f():\n    """See (a<|>\n', "nd b)\n    c)\n")[1] is None, "a string of several lines"
    assert stopped("# :(\nf({<|>\n", "a})\nb = 1\n")[1] is None, "a bracket in a comment"
    far_above = "f(\n" + "# filler\n" * 1_000
    assert stopped(f"{far_above}<|>\n", "a\n)\nb = 1\n")[1] is None, "what was opened far above is not known"


@pytest.mark.parametrize(
    "text", ["\ndiff --git a/x b/x\n", "a = 1\ndiff --git a/x b/x\n", "a = 1\n```\nThis sets a.\n"]
)
def test_what_belongs_to_no_file(text: str) -> None:
    kept, rule = stopped("<|>", text)
    assert rule is StopRule.FENCE
    assert kept.strip() in ("", "a = 1")


def test_carriage_returns_do_not_matter() -> None:
    assert stopped("a = <|>\r\nreturn a\r\n", "1\r\nreturn a\r\n")[1] is StopRule.LINE_BELOW
