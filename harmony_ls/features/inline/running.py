"""One generation for a cursor: it collects the text, stops where a rule says so, and can serve later requests too.

A person types on while the model writes. As long as what they type agrees with what the model has written, the running
generation is the answer to their next request as well, and starting another would throw work away.
"""

import asyncio
import logging
import math
import time
from dataclasses import dataclass

from harmony_ls.engine.engine import Engine
from harmony_ls.engine.generation.request import FinishReason, GenerationRequest, GenerationStats
from harmony_ls.engine.worker.worker import Priority
from harmony_ls.features.completion_model import CompletionModel, PromptPlan
from harmony_ls.features.document import DocumentSnapshot
from harmony_ls.features.inline.context import is_inert
from harmony_ls.features.inline.request import InlineCompletionRequest
from harmony_ls.features.inline.stop_rules import StopDecision, StopRules
from harmony_ls.features.line_ends import with_plain_line_ends

__all__ = ["Running", "RunningState"]

log = logging.getLogger(__name__)

# The confidence in a suggestion is the probability of its first tokens taken together: those decide what a person reads
# first, and later ones are conditioned on them.
_CONFIDENCE_TOKENS = 6
# A cancelled request is often followed at once by the next one, which may adopt the generation.
_GRACE_SECONDS = 0.01


@dataclass(frozen=True, slots=True)
class RunningState:
    """What a generation has come to. ``is_whole``: it ended by itself or by a rule, not by running out of tokens.

    ``tokens_per_second`` is the pace from the first token to the last, healed ones included.
    ``first_token_at`` is a reading of ``time.perf_counter``; ``n_healed`` tokens only spelled what was typed already.
    """

    text: str
    confidence: float | None
    low_confidence: bool
    is_whole: bool
    stopped: StopDecision | None
    first_token_at: float | None
    tokens_per_second: float | None
    n_healed: int
    stats: GenerationStats


class Running:
    """A generation that was started for one request. Make it on the event loop; it starts at once."""

    def __init__(
        self,
        engine: Engine,
        model: CompletionModel,
        plan: PromptPlan,
        request: InlineCompletionRequest,
        rules: StopRules,
        *,
        max_tokens: int,
        threshold: float,
    ) -> None:
        self.document: DocumentSnapshot = request.document
        self.offset = request.offset
        self.model = model
        self.threshold = threshold
        self.is_accounted = False
        """Whether what this generation cost was told with an offer already."""
        self._rules = rules
        self._plan = plan
        self._decoder = model.model.tokenizer.decoder()
        self._written = ""
        self._text = ""
        self._log_probability = 0.0
        self._n_judged = 0
        self._low_confidence = False
        self._is_whole = False
        self._stopped: StopDecision | None = None
        self._first_token_at: float | None = None
        self._arrivals: tuple[float, float] | None = None
        """When the first token and the newest one came, as readings of ``time.perf_counter``."""
        self._n_tokens = 0
        self._waiters = 0
        self._is_kept = False
        self._was_cut = False
        self._is_cancelled = False
        self._n_healed = 0
        self._grace: asyncio.TimerHandle | None = None
        self._progressed = asyncio.Event()
        owed = plan.owed.encode("utf-8", "replace")
        self._generation = engine.generate(
            model.model,
            GenerationRequest(
                prompt=plan.tokens,
                max_tokens=max_tokens,
                stop_tokens=plan.stop_tokens,
                priority=Priority.INLINE,
                cache_owner=request.document.uri,
                checkpoints=(plan.stable_tokens,),
                owed=owed,
            ),
        )
        self._task = asyncio.create_task(self._collect(), name="inline completion")
        self._task.add_done_callback(self._on_done)

    @property
    def done(self) -> bool:
        """Whether no more text will come."""
        return self._task.done()

    @property
    def failed(self) -> bool:
        """Whether it ended with an exception, or is cancelled, by its own request or with its model."""
        if self._is_cancelled or not self.done:
            return self._is_cancelled
        return self._task.cancelled() or self._task.exception() is not None or self._was_cut

    @property
    def state(self) -> RunningState:
        """What there is by now."""
        confidence = math.exp(self._log_probability) if self._n_judged else None
        return RunningState(
            self._text,
            confidence,
            self._low_confidence,
            self._is_whole,
            self._stopped,
            self._first_token_at,
            self._tokens_per_second,
            self._n_healed,
            self._generation.stats,
        )

    @property
    def _tokens_per_second(self) -> float | None:
        if self._arrivals is None or self._n_tokens < 2:
            return None
        first, newest = self._arrivals
        return (self._n_tokens - 1) / max(newest - first, 1e-6)

    def typed_since(self, request: InlineCompletionRequest) -> str | None:
        """What was typed since this generation began, or None if the document changed in another way.

        Its line ends are those of models.
        """
        old, new = self.document.text, request.document.text
        if request.offset < self.offset or not new.startswith(old[: self.offset]):
            return None
        old_line_end, new_line_end = _line_end(old, self.offset), _line_end(new, request.offset)
        if old[old_line_end:] != new[new_line_end:]:
            return None
        typed = with_plain_line_ends(new[self.offset : request.offset])
        old_rest, new_rest = old[self.offset : old_line_end], new[request.offset : new_line_end]
        return typed if _has_stayed(old_rest, new_rest, typed) else None

    def agrees_with(self, typed: str) -> bool:
        """Whether this generation can still become what a person has ``typed`` the beginning of."""
        if self._text.startswith(typed):
            return True
        return not self.done and typed.startswith(self._text)

    async def wait(self, typed: str) -> None:
        """Wait until the generation is done or disagrees with ``typed``; raises what it failed with.

        The generation is cancelled shortly after its last waiter is cancelled.
        """
        self._waiters += 1
        self._is_kept = False
        if self._grace is not None:
            self._grace.cancel()
            self._grace = None
        try:
            while not self.done and self.agrees_with(typed):
                self._progressed.clear()
                await self._progressed.wait()
        except asyncio.CancelledError:
            if self._waiters == 1 and not self.done and not self._is_kept:
                self._grace = asyncio.get_running_loop().call_later(_GRACE_SECONDS, self.cancel)
            raise
        finally:
            self._waiters -= 1
        if self.done and not self._task.cancelled() and (error := self._task.exception()) is not None:
            raise error

    def keep_going(self) -> None:
        """Let the generation finish without a waiter: its answer serves the next key."""
        self._is_kept = True
        if self._grace is not None:
            self._grace.cancel()
            self._grace = None

    def cancel(self) -> None:
        """End the generation at its next step. One that is done stays what it is."""
        self._is_cancelled = self._is_cancelled or not self.done
        self._generation.cancel()
        self._task.cancel()

    def _on_done(self, task: asyncio.Task[None]) -> None:
        self._progressed.set()
        if not task.cancelled():
            # Whoever waits raises it; a failure without a waiter has been logged by nobody yet.
            error = task.exception()
            if error is not None and not self._waiters:
                log.error("A generation failed: %s", error, exc_info=error)

    async def _collect(self) -> None:
        n_owed = len(self._plan.owed)
        try:
            async for token in self._generation:
                now = time.perf_counter()
                self._arrivals = (self._arrivals[0] if self._arrivals else now, now)
                self._n_tokens += 1
                ended = token.id in self._plan.stop_tokens
                self._written += "" if ended else self._decoder.feed(token.id)
                if ended or len(self._written) > n_owed:
                    # A token that only spells what was typed already is no part of the answer.
                    self._first_token_at = self._first_token_at or now
                    self._judge(token.logprob)
                else:
                    self._n_healed += 1
                self._text = self._written[n_owed:]
                if self._low_confidence:
                    return
                decision = self._rules.finish(self._text) if ended else self._rules.check(self._text)
                if decision is not None:
                    self._text = self._text[: decision.keep]
                    self._stopped = decision
                self._is_whole = ended or decision is not None
                self._progressed.set()
                if self._is_whole:
                    return
            self._was_cut = self._generation.stats.finish_reason is FinishReason.CANCELLED
        finally:
            self._generation.cancel()

    def _judge(self, logprob: float) -> None:
        if self._n_judged == _CONFIDENCE_TOKENS:
            return
        self._n_judged += 1
        self._log_probability += logprob
        self._low_confidence = math.exp(self._log_probability) < self.threshold


def _line_end(text: str, offset: int) -> int:
    newline = text.find("\n", offset)
    return len(text) if newline < 0 else newline


def _has_stayed(old: str, new: str, typed: str) -> bool:
    """Whether the rest of the line is the one that a text was written for, but for signs that the editor has put after
    the cursor by itself, and those that were typed over."""
    if old == new or (is_inert(old) and is_inert(new)):
        return True
    if new.endswith(old):
        return is_inert(new[: len(new) - len(old)])
    return old.endswith(new) and typed.endswith(old[: len(old) - len(new)])
