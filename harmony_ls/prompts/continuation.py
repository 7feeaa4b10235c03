"""Completion with models that have no fill-in-the-middle markers: the assistant's turn is opened with the code itself.

The instruction and the text after the cursor form the user's message; the assistant's message starts with the code
before the cursor, so the model goes on writing it. Everything that changes while typing stands at the end. GPT-OSS is
put into its ``final`` channel, so it does not reason first. Models without a chat template just continue the text.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import resources

from harmony_ls.errors import ModelError
from harmony_ls.prompts.tokenizer import Tokenizer

__all__ = ["Continuation", "continuation_of"]

_FENCE = "```"
_HARMONY_STOPS = ("<|return|>", "<|call|>", "<|end|>", "<|start|>", "<|channel|>")


@dataclass(frozen=True, slots=True)
class Continuation:
    """How one model continues code. ``opening`` are the tokens between the chat template and the code.

    ``uses_template`` is false for a model without a chat template and for one whose template fails; ``fault`` says how.
    """

    tokenizer: Tokenizer
    opening: tuple[int, ...]
    stop_tokens: frozenset[int]
    instruction: str
    uses_template: bool
    fault: str = ""
    # The file and what follows the cursor stay the same while a line is typed, so the last head mostly serves again.
    _last_head: dict[tuple[str, str], tuple[int, ...]] = field(default_factory=dict, compare=False, repr=False)

    def render(
        self, language: str, before: Sequence[int], line: Sequence[int], after: str
    ) -> tuple[tuple[int, ...], int]:
        """The prompt, and how many of its tokens stay the same while one line is being typed."""
        head = self._last_head.get((language, after))
        if head is None:
            head = self._head(language, after)
            self._last_head.clear()
            self._last_head[language, after] = head
        stable = (*head, *before)
        return (*stable, *line), len(stable)

    def _head(self, language: str, after: str) -> tuple[int, ...]:
        """What comes before the code."""
        if not self.uses_template:
            bos = self.tokenizer.bos_token_id
            return () if bos is None else (bos,)
        message = self.instruction.format(language=language)
        if after.strip():
            message += f"\nThe file goes on after the gap with:\n{_FENCE}{language}\n{after}\n{_FENCE}\n"
        head = self.tokenizer.encode_conversation([("user", message)])
        return (*head, *self.opening, *self.tokenizer.encode(f"{_FENCE}{language}\n"))


def continuation_of(tokenizer: Tokenizer, model_type: str) -> Continuation:
    """The way in which a model without FIM markers completes code."""
    instruction = (resources.files("harmony_ls.prompts") / "continuation.md").read_text(encoding="utf-8")
    opening: tuple[int, ...] = ()
    stops = set(tokenizer.eos_token_ids)
    if model_type == "gpt_oss":
        channel, message = tokenizer.token_id("<|channel|>"), tokenizer.token_id("<|message|>")
        if channel is not None and message is not None:
            opening = (channel, *tokenizer.encode("final"), message)
        stops |= {token for literal in _HARMONY_STOPS if (token := tokenizer.token_id(literal)) is not None}
    uses_template, fault = tokenizer.has_chat_template, ""
    if uses_template:
        try:
            tokenizer.encode_conversation([("user", instruction)])
        except ModelError as error:
            uses_template, fault = False, str(error)
    return Continuation(tokenizer, opening, frozenset(stops), instruction, uses_template, fault)
