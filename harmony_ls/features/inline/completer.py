"""The path of an inline completion, from what the editor asks to the one answer it gets.

Gates, then answers that need no model, then a running generation that still fits, then a new generation; what comes out
is trimmed, and every way to an empty answer has a reason. A newer request for the same document supersedes an older
one, which is answered at once. The rules themselves live in the modules beside this one.
"""

import asyncio
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from harmony_ls.engine.engine import Engine
from harmony_ls.errors import HarmonyLsError, ModelError
from harmony_ls.features.completion_model import CompletionModel, PromptPlan, describe
from harmony_ls.features.inline import gates, trim
from harmony_ls.features.inline.answers import Answers
from harmony_ls.features.inline.context import CursorContext
from harmony_ls.features.inline.journal import Journal
from harmony_ls.features.inline.refusal import Refusal
from harmony_ls.features.inline.request import (
    InlineCompletion,
    InlineCompletionRequest,
    Offer,
    OfferStats,
    Reason,
    Source,
)
from harmony_ls.features.inline.running import Running
from harmony_ls.features.inline.stop_rules import StopRules
from harmony_ls.features.inline.waiting import Clock, Live, Outcome, first_of
from harmony_ls.features.inline.window import PromptWindow, Window, WindowLimits
from harmony_ls.features.resident_model import ResidentModel
from harmony_ls.settings.models import Eagerness, Settings

__all__ = ["CONFIDENCE_THRESHOLDS", "InlineCompleter"]

log = logging.getLogger(__name__)

# The least probability of the first tokens (see running.py) at which something is shown. They were read off the
# calibration of the embedded model. As probabilities of one and the same event, that the text begins rightly, they need
# no scale of a model's own; what differs is how far its probabilities can be believed, which the bench shows.
CONFIDENCE_THRESHOLDS: dict[Eagerness, float] = {"quiet": 0.5, "normal": 0.25, "eager": 0.1}
# A person who asks by a command waits for the answer, but not for ever.
_INVOKED_DEADLINE_MS = 10_000


@dataclass(slots=True)
class _DocumentState:
    """What is kept of a document between its requests."""

    history: gates.TypingHistory = field(default_factory=gates.TypingHistory)
    window: PromptWindow = field(default_factory=PromptWindow)
    running: Running | None = None
    live: Live | None = None


class InlineCompleter:
    """Answers inline completion requests for any number of documents. All methods belong to one event loop.

    Prompts are noted in ``journal``. How a request ended is recorded there by whoever asked, who alone knows what
    became of the offer.
    """

    def __init__(self, engine: Engine, resident_model: ResidentModel, settings: Settings, journal: Journal) -> None:
        self._engine = engine
        self._resident_model = resident_model
        self._settings = settings
        self._documents: dict[str, _DocumentState] = {}
        self._answers = Answers()
        self._answered_by: CompletionModel | None = None
        self._tokenizing = ThreadPoolExecutor(1, thread_name_prefix="tokenizer")
        self._journal = journal

    def use(self, settings: Settings) -> None:
        """Go on with other settings; what the old ones produced, or are producing, is forgotten."""
        if settings.inline_completion != self._settings.inline_completion or settings.model != self._settings.model:
            self._answers.clear()
            for state in self._documents.values():
                _end_running(state)
        self._settings = settings

    def forget(self, uri: str) -> None:
        """Drop what is kept of a document that was closed; its live request is answered."""
        self._answers.forget(uri)
        state = self._documents.pop(uri, None)
        if state is not None:
            _supersede(state)
            _end_running(state)

    def close(self) -> None:
        """End all generations. Call it before the engine is closed."""
        for uri in list(self._documents):
            self.forget(uri)
        self._tokenizing.shutdown(wait=False, cancel_futures=True)

    async def offer(self, request: InlineCompletionRequest) -> Offer:
        """The answer to one request. It raises nothing but CancelledError, which ends this request alone."""
        invoked_deadline = max(_INVOKED_DEADLINE_MS, self._settings.inline_completion.deadline_ms)
        deadline = invoked_deadline if request.invoked else self._settings.inline_completion.deadline_ms
        clock = Clock(time.perf_counter(), deadline)
        state = self._documents.setdefault(request.document.uri, _DocumentState())
        live = _join(state, request)
        try:
            offer = await self._answer(request, state, live, clock)
        except ModelError as error:
            offer = Offer(reason=Reason.MODEL_FAILED, detail=str(error))
        except HarmonyLsError as error:
            offer = Offer(reason=Reason.INTERNAL_ERROR, detail=str(error))
        except Exception as error:
            log.exception("An inline completion failed")
            offer = Offer(reason=Reason.INTERNAL_ERROR, detail=f"{type(error).__name__}: {error}")
        finally:
            if state.live is live:
                state.live = None
        return replace(offer, stats=replace(offer.stats, total_ms=clock.elapsed_ms))

    async def _answer(self, request: InlineCompletionRequest, state: _DocumentState, live: Live, clock: Clock) -> Offer:
        settings = self._settings.inline_completion
        state.history = gates.observe(state.history, request.document, request.offset)
        if (refusal := gates.check(request, state.history, settings)) is not None:
            _end_running(state)
            return _refused(refusal)
        accepted = gates.apply_selection(request)
        self._forget_other_models(state)
        if (known := self._answers.lookup(accepted.document, accepted.offset)) is not None:
            source = Source.TYPED_THROUGH if known.is_shown else Source.CACHE
            return self._shown(request, accepted, known.text, known.n_replaced, source, OfferStats())
        running, typed = _adoptable(state, accepted, self._threshold(accepted))
        source = Source.ADOPTED
        if running is None:
            _end_running(state)
            started = await self._start(accepted, state, live, clock)
            if isinstance(started, Offer):
                return started
            running, source = started, Source.MODEL
        outcome, _ = await first_of(running.wait(typed), live, clock.remaining)
        if outcome is Outcome.FINISHED and not running.failed and not running.agrees_with(typed):
            # What was typed has left what the model wrote: it needs a generation of its own.
            if state.running is running:
                _end_running(state)
            started = await self._start(accepted, state, live, clock)
            if isinstance(started, Offer):
                return started
            running, typed, source = started, "", Source.MODEL
            outcome, _ = await first_of(running.wait(typed), live, clock.remaining)
        if outcome is Outcome.SUPERSEDED:
            return _SUPERSEDED
        if (objection := self._objection(request, state, running)) is not None:
            return objection
        if outcome is Outcome.TIMED_OUT:
            running.keep_going()
        return self._finish(request, accepted, running, typed, source, clock)

    def _objection(self, request: InlineCompletionRequest, state: _DocumentState, running: Running) -> Offer | None:
        """Why what was written may not be shown: the settings or the model went away meanwhile, or it was cut short."""
        if (refusal := gates.check(request, state.history, self._settings.inline_completion)) is not None:
            _end_running(state)
            return _refused(refusal)
        loaded = self._resident_model.loaded
        if loaded is None or loaded.model is not running.model.model:
            return Offer(reason=Reason.MODEL_LOADING, detail="The model went away while the suggestion was written.")
        if loaded is not running.model:
            return Offer(reason=Reason.SUPERSEDED, detail="The settings changed while the suggestion was written.")
        if running.failed or state.running is not running:
            return Offer(reason=Reason.SUPERSEDED, detail="The suggestion was given up while it was written.")
        return None

    async def _start(
        self, request: InlineCompletionRequest, state: _DocumentState, live: Live, clock: Clock
    ) -> Running | Offer:
        """A new generation, or the offer that says why there is none."""
        model = self._resident_model.loaded
        if model is None:
            outcome, _ = await first_of(self._resident_model.ready(), live, clock.remaining)
            if outcome is Outcome.SUPERSEDED:
                return _SUPERSEDED
            model = self._resident_model.loaded
            if model is None:
                return Offer(reason=Reason.MODEL_LOADING, detail=self._resident_model.status.message)
        context = CursorContext.at(request.document, request.offset)
        outcome, plan = await first_of(self._plan(model, request, state.window, context), live, clock.remaining)
        if outcome is Outcome.SUPERSEDED:
            return _SUPERSEDED
        if plan is None:
            return Offer(reason=Reason.TIMED_OUT, detail="The deadline passed before the prompt was made.")
        if self._resident_model.loaded is not model:
            return Offer(reason=Reason.MODEL_LOADING, detail=self._resident_model.status.message)
        begun, typed = _adoptable(state, request, self._threshold(request))
        if begun is not None and begun.model is model and not typed:
            return begun  # for the same place: a second question about it came while the prompt was made
        if log.isEnabledFor(logging.DEBUG):
            log.debug("prompt: %s", describe(plan.tokens, model.model))
        self._journal.note_prompt(lambda: describe(plan.tokens, model.model))
        settings = self._settings.inline_completion
        single_line = model.capability.single_line or context.wants_single_line
        rules = StopRules(context, max_lines=1 if single_line else settings.max_lines, single_line=single_line)
        state.running = Running(
            self._engine,
            model,
            plan,
            request,
            rules,
            max_tokens=settings.max_tokens,
            threshold=self._threshold(request),
        )
        return state.running

    def _threshold(self, request: InlineCompletionRequest) -> float:
        """How probable an answer must be; who asks for one by a command gets any."""
        return 0.0 if request.invoked else CONFIDENCE_THRESHOLDS[self._settings.inline_completion.eagerness]

    def _forget_other_models(self, state: _DocumentState) -> None:
        """Drop the answers of a model that has been replaced, whoever replaced it."""
        model = self._resident_model.loaded
        if model is not None and model is not self._answered_by:
            self._answers.clear()
            self._answered_by = model
        if state.running is not None and state.running.model is not model:
            _end_running(state)

    async def _plan(
        self, model: CompletionModel, request: InlineCompletionRequest, window: PromptWindow, context: CursorContext
    ) -> PromptPlan:
        """The prompt, with a smaller window if the tokens turn out to be more than the model's context takes."""
        limits = model.limits
        room = model.model.context_length - self._settings.inline_completion.max_tokens
        loop = asyncio.get_running_loop()
        language = request.document.language_id
        while True:
            placed = window.place(request.document.text, request.offset, limits, rest_of_line=context.wants_single_line)
            plan = await loop.run_in_executor(self._tokenizing, _planned, model, placed, language)
            if len(plan.tokens) <= room or limits.before < 64:
                return plan
            limits = WindowLimits(limits.before // 2, limits.after // 2)

    def _finish(
        self,
        request: InlineCompletionRequest,
        accepted: InlineCompletionRequest,
        running: Running,
        typed: str,
        source: Source,
        clock: Clock,
    ) -> Offer:
        """The offer that a generation amounts to, whether it is done or out of time."""
        state = running.state
        stats = OfferStats(
            prompt_tokens=state.stats.prompt_tokens,
            computed_prompt_tokens=state.stats.computed_tokens,
            generated_tokens=state.stats.generated_tokens,
            healed_tokens=state.n_healed,
            first_token_ms=None if state.first_token_at is None else (state.first_token_at - clock.started) * 1000,
            tokens_per_second=state.tokens_per_second,
            confidence=state.confidence,
        )
        if running.is_accounted:
            # Its cost was told with an earlier offer.
            stats = OfferStats(confidence=state.confidence)
        running.is_accounted = True
        if state.low_confidence:
            detail = f"The first words have a probability of {state.confidence or 0:.2f}, below {running.threshold:g}."
            return Offer(reason=Reason.LOW_CONFIDENCE, detail=detail, stats=stats)
        if not running.done and not state.text[len(typed) :].strip():
            return Offer(reason=Reason.TIMED_OUT, detail="The deadline passed before the first word.", stats=stats)
        trimmed = trim.trim(
            state.text[len(typed) :],
            accepted.document,
            CursorContext.at(accepted.document, accepted.offset),
            is_whole=state.is_whole,
            max_lines=self._settings.inline_completion.max_lines,
            invoked=request.invoked,
            stopped=state.stopped,
        )
        if isinstance(trimmed, Refusal):
            return replace(_refused(trimmed), stats=stats)
        return self._shown(request, accepted, trimmed.text, trimmed.n_replaced, source, stats, is_final=running.done)

    def _shown(
        self,
        request: InlineCompletionRequest,
        accepted: InlineCompletionRequest,
        text: str,
        n_replaced: int,
        source: Source,
        stats: OfferStats,
        *,
        is_final: bool = True,
    ) -> Offer:
        """The offer of a text. One that is still being written is not remembered: the next key gets more of it."""
        completion = InlineCompletion(text, accepted.offset, accepted.offset + n_replaced, source)
        restored = gates.restore_selection(request, completion)
        if restored is None:
            detail = "The suggestion does not go on from the selected item of the completion list."
            return Offer(reason=Reason.COMPLETION_LIST, detail=detail, stats=stats)
        if is_final and source is not Source.TYPED_THROUGH:
            self._answers.show(accepted.document, accepted.offset, text, n_replaced)
        return Offer(items=(restored,), stats=stats)


_SUPERSEDED = Offer(reason=Reason.SUPERSEDED, detail="A newer request for the same document came in.")


def _join(state: _DocumentState, request: InlineCompletionRequest) -> Live:
    """The live place of a document: the same one for a second question about it, else a new one in place of the old.

    An editor may ask for ghost text and for its completion list at one key; these do not supersede each other.
    """
    if state.live is not None and state.live.request == request:
        return state.live
    _supersede(state)
    state.live = Live(request)
    return state.live


def _supersede(state: _DocumentState) -> None:
    if state.live is not None:
        state.live.superseded.set()
        state.live = None


def _planned(model: CompletionModel, window: Window, language: str) -> PromptPlan:
    """``model.plan``, with the panics of a tokenizer as errors that every caller can catch."""
    try:
        return model.plan(window, language)
    except Exception:
        raise
    except BaseException as panic:
        raise RuntimeError(f"The tokenizer failed: {panic}") from panic


def _end_running(state: _DocumentState) -> None:
    if state.running is not None:
        state.running.cancel()
        state.running = None


def _adoptable(state: _DocumentState, request: InlineCompletionRequest, threshold: float) -> tuple[Running | None, str]:
    """The document's generation if it is, or can become, the answer, and what was typed since it began.

    One that was begun with another threshold has stopped, or will stop, where this request would not.
    """
    running = state.running
    if running is not None and running.threshold != threshold:
        return None, ""
    typed = None if running is None else running.typed_since(request)
    if running is None or typed is None or not running.agrees_with(typed):
        return None, ""
    if running.failed:
        return None, ""
    if running.done and (running.state.low_confidence or not running.state.text[len(typed) :]):
        return None, ""
    return running, typed


def _refused(refusal: Refusal) -> Offer:
    return Offer(reason=refusal.reason, detail=refusal.detail)
