"""Where a suggestion of too many lines is cut: at the end of a statement, so that what is accepted can stand alone.

No language's grammar is known here. A line ends a statement if it looks whole: no round or square bracket of the
suggestion is open after it, its last sign asks for nothing, and the next line does not go on with it. Prose has no
statements.
"""

import re

from harmony_ls.features.inline.context import CursorContext
from harmony_ls.features.inline.measures import n_indentation_columns, open_quote, scan_brackets

__all__ = ["PROSE_LANGUAGES", "cut_to_lines"]

PROSE_LANGUAGES = frozenset({"markdown", "plaintext", "latex", "tex", "restructuredtext", "asciidoc", "git-commit"})

_ASKS_FOR_MORE = re.compile(
    r"""
      (?: [(\[{,:=\\&|<.] | (?<!\+)\+ | (?<!-)- | (?<!\*)/ | \* | % | [=-]> )\Z    # an operator, an opener, a separator
    | \b(?: and | or | not | in | is | as | if | else | elif | then | do | begin | try | finally | new | await )\Z
    """,
    re.VERBOSE,
)
# What announces a statement that follows, or is none itself: a decorator, a comment, a condition without braces.
_ANNOUNCES = re.compile(r"@\w|\#|//|/\*|--|\*\s|(?:\}\s*)?(?:else\s+)?(?:if|for|while)\b.*\)\Z")
_GOES_ON = re.compile(r"[.?:)\]+*/%&|=]|(?:and|or)\b")
_LONG_QUOTES = ('"""', "'''")


def cut_to_lines(text: str, max_lines: int, context: CursorContext) -> str:
    """The text; of more than ``max_lines`` lines the first ones, up to the end of a statement where there is one.

    The text's line ends are ``\\n``; it begins at the cursor.
    """
    lines = text.rstrip().split("\n")
    if len(lines) <= max_lines:
        return text
    return "\n".join(lines[: _last_statement_end(lines, max_lines, context)])


def _last_statement_end(lines: list[str], max_lines: int, context: CursorContext) -> int:
    """How many lines to keep: those up to the last statement's end, or all that are allowed."""
    if context.language_id in PROSE_LANGUAGES:
        return max_lines
    found = max_lines
    openers: tuple[str, ...] = ()
    quote = open_quote(context.line_prefix, context.quotes)
    in_long_string = False
    for index, line in enumerate(lines[:max_lines]):
        openers = scan_brackets(line, quote, openers, context.quotes).openers
        quote = None
        in_long_string ^= sum(line.count(mark) for mark in _LONG_QUOTES) % 2 == 1
        whole_line = (context.line_prefix + line if index == 0 else line).strip()
        is_whole = (
            whole_line
            and not in_long_string
            and openers[-1:] not in (("(",), ("[",))
            and not _ASKS_FOR_MORE.search(whole_line)
            and not _ANNOUNCES.match(whole_line)
        )
        if is_whole and not _continues(lines, index, context):
            found = index + 1
    return found


def _continues(lines: list[str], index: int, context: CursorContext) -> bool:
    """Whether the next line, as far as it is written, belongs to the statement of this one."""
    following = next((line for line in lines[index + 1 :] if line.strip()), None)
    if following is None:
        return False
    line = context.line_prefix + lines[index] if index == 0 else lines[index]
    return bool(_GOES_ON.match(following.lstrip())) or n_indentation_columns(following) > n_indentation_columns(line)
