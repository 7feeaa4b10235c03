"""A resident model as inline completion uses it: what it is capable of, and how a window becomes its prompt."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from harmony_ls.engine.models.model import Model
from harmony_ls.errors import ModelError
from harmony_ls.features.inline.window import Window, WindowLimits
from harmony_ls.prompts.continuation import Continuation, continuation_of
from harmony_ls.prompts.fim import FimFormat, Layout, detect_format, format_of_markers
from harmony_ls.settings.models import InlineCompletionSettings

__all__ = [
    "Capability",
    "CompletionModel",
    "PromptPlan",
    "completion_model",
    "deciding",
    "describe",
    "layouts_to_probe",
]

# Code has about three characters to a token in vocabularies of 8,000 to 200,000 tokens.
_CHARACTERS_PER_TOKEN = 3
# Text is given back for token healing at most this far; longer units (a line of dashes) are healed by their last token.
_LONGEST_HEALED_BYTES = 64
_EMBEDDED_LIMITS = (600, 150)
_DEFAULT_LIMITS = (1536, 512)


@dataclass(frozen=True, slots=True)
class Capability:
    """What a model is known to do for inline completion, and how that is known. ``summary`` is for people."""

    fills_in_the_middle: bool
    single_line: bool
    summary: str


@dataclass(frozen=True, slots=True)
class PromptPlan:
    """A prompt and what it takes to run it. ``owed`` is typed text that the answer must spell first."""

    tokens: tuple[int, ...]
    stable_tokens: int
    owed: str
    stop_tokens: frozenset[int]


@dataclass(slots=True, eq=False)
class CompletionModel:
    """A resident model with its prompt format. Exactly one of ``fim`` and ``continuation`` is set."""

    model: Model
    capability: Capability
    limits: WindowLimits
    fim: FimFormat | None = None
    continuation: Continuation | None = None
    _encoded: dict[str, list[int]] = field(default_factory=dict)
    _planning: threading.Lock = field(default_factory=threading.Lock)

    def plan(self, window: Window, language: str) -> PromptPlan:
        """The prompt for a window. It ends before the last unit that may be unfinished; that text is owed.

        Tokenises: call it off the event loop, from any thread.
        """
        with self._planning:
            plan = self._plan(*self._split(window), window.after, language)
            if plan.tokens:
                return plan
            # A model goes on from something: with nothing before it, the text itself must be the prompt.
            return self._plan(window.before, window.line, "", window.after, language)

    def _plan(self, before: str, line: str, owed: str, after: str, language: str) -> PromptPlan:
        before_tokens = self._encode_stable(before)
        line_tokens = self.model.tokenizer.encode(line)
        if self.fim is not None:
            prompt = self.fim.render(before_tokens, line_tokens, self._encode_stable(after))
            return PromptPlan(prompt.tokens, prompt.stable_tokens, owed, self.fim.stop_tokens)
        if self.continuation is None:
            raise ModelError(f"{self.model.name} has no prompt format.")
        tokens, stable = self.continuation.render(language, before_tokens, line_tokens, after)
        return PromptPlan(tokens, stable, owed, self.continuation.stop_tokens)

    def _split(self, window: Window) -> tuple[str, str, str]:
        """The text before the line, the finished part of the line, and the owed text.

        Each is cut where the tokenizer never merges, so that the parts encode alone as they do together.
        """
        tokenizer = self.model.tokenizer
        typed = window.before[-_LONGEST_HEALED_BYTES:] + window.line
        n_hidden = len(window.before) - (len(typed) - len(window.line))
        healed = tokenizer.last_piece_start(typed)
        if len(typed[healed:].encode("utf-8", "replace")) > _LONGEST_HEALED_BYTES:
            healed = tokenizer.last_token_start(typed)
        if len(typed[healed:].encode("utf-8", "replace")) > _LONGEST_HEALED_BYTES:
            healed = len(typed)
        owed = typed[healed:]
        prompt_end = n_hidden + healed
        whole = window.before + window.line
        line_start = len(window.before)
        # Line breaks often belong to the unit of the next line's indentation; then that unit opens the line.
        tail = whole[max(0, line_start - _LONGEST_HEALED_BYTES) : prompt_end]
        position = line_start - max(0, line_start - _LONGEST_HEALED_BYTES)
        while position > 0 and not tokenizer.is_boundary(tail, min(position, len(tail))):
            position -= 1
        line_start = min(max(0, line_start - _LONGEST_HEALED_BYTES) + position, prompt_end)
        return whole[:line_start], whole[line_start:prompt_end], owed

    def _encode_stable(self, text: str) -> list[int]:
        """The tokens of a text that is the same from key to key; the last few are remembered."""
        tokens = self._encoded.get(text)
        if tokens is None:
            tokens = self.model.tokenizer.encode(text)
            while len(self._encoded) >= 8:
                del self._encoded[next(iter(self._encoded))]
            self._encoded[text] = tokens
        return tokens


def completion_model(
    model: Model, settings: InlineCompletionSettings, *, trained: bool | None, probed: FimFormat | None = None
) -> CompletionModel:
    """The way in which ``model`` completes under these settings.

    ``trained`` is the probe's verdict on the markers that the vocabulary has: False turns them down, None means that
    nobody asked. ``probed`` is the format that did best in the probe, its layout included. Raises ModelError when the
    settings name markers that the vocabulary does not have.
    """
    fim = _chosen_format(model, settings, trained=trained, probed=probed)
    limits = _limits(model, settings)
    if fim is not None:
        fim = fim if fim is probed else replace(fim, layout=_chosen_layout(fim, settings))
        model.tokenizer.reserve(fim.stop_tokens)
        summary = f"fill in the middle ({fim.family.name}, {_layout_name(fim.layout)})"
        if model.is_embedded:
            summary += ", one line at a time"
        return CompletionModel(model, Capability(True, model.is_embedded, summary), limits, fim=fim)
    reason = "its markers are untrained" if trained is False else "no fill-in-the-middle markers"
    continuation = continuation_of(model.tokenizer, model.model_type)
    model.tokenizer.reserve(continuation.stop_tokens)
    if continuation.fault:
        reason += f"; {continuation.fault}"
    manner = "continues the assistant's turn" if continuation.uses_template else "continues the text"
    capability = Capability(False, False, f"{manner} ({reason})")
    return CompletionModel(model, capability, limits, continuation=continuation)


def deciding(settings: InlineCompletionSettings) -> tuple[object, ...]:
    """What of the settings decides how a model completes: where it is equal, `completion_model` gives the same."""
    return (settings.fim, settings.layout, settings.prefix_tokens, settings.suffix_tokens, settings.max_tokens)


def _chosen_format(
    model: Model, settings: InlineCompletionSettings, *, trained: bool | None, probed: FimFormat | None
) -> FimFormat | None:
    if (markers := settings.fim) is not None and not model.is_embedded:
        layout = Layout.SPM if markers.order == "spm" else Layout.PSM
        chosen = format_of_markers(model.tokenizer, markers.prefix, markers.suffix, markers.middle, layout)
        if chosen is None:
            missing = [
                literal
                for literal in (markers.prefix, markers.suffix, markers.middle)
                if model.tokenizer.token_id(literal) is None
            ]
            raise ModelError(
                f"inlineCompletion.fim names markers that are not tokens of {model.name}: {', '.join(missing)}. "
                "Correct them, or remove the setting to have the markers detected."
            )
        return chosen
    if trained is False:
        return None
    return probed or detect_format(model.tokenizer, model.model_type, embedded=model.is_embedded)


def layouts_to_probe(fim: FimFormat, settings: InlineCompletionSettings) -> tuple[Layout, ...]:
    """The layouts that come into question for a model, the fastest first.

    A model that was trained prefix first can have the line being typed after the middle marker: in training, middles
    begin anywhere, at line starts too. On a model trained on plain PSM alone it cost nothing (see the embedded model's
    card); each model is probed for it all the same.
    """
    if settings.layout == "auto" and fim.layout is Layout.PSM:
        suffix_first = tuple(layout for layout in fim.family.layouts if layout is not Layout.PSM)
        return (*suffix_first, Layout.LINE_AFTER_MIDDLE, Layout.PSM)
    return (_chosen_layout(fim, settings),)


def _chosen_layout(fim: FimFormat, settings: InlineCompletionSettings) -> Layout:
    """The layout of the settings where the markers allow it; suffix-first means the order the family was trained on."""
    if settings.layout == "auto" or fim.middle is None:
        return fim.layout
    if settings.layout == "spm":
        return next((layout for layout in fim.family.layouts if layout is not Layout.PSM), Layout.SPM)
    return Layout.PSM if settings.layout == "psm" else Layout.LINE_AFTER_MIDDLE


def _limits(model: Model, settings: InlineCompletionSettings) -> WindowLimits:
    before, after = _EMBEDDED_LIMITS if model.is_embedded else _DEFAULT_LIMITS
    before = settings.prefix_tokens if settings.prefix_tokens is not None else before
    after = settings.suffix_tokens if settings.suffix_tokens is not None else after
    room = max(32, model.context_length - settings.max_tokens - 64)
    share = min(1.0, room / (before + after)) if before + after else 1.0
    return WindowLimits(int(before * share) * _CHARACTERS_PER_TOKEN, int(after * share) * _CHARACTERS_PER_TOKEN)


def _layout_name(layout: Layout) -> str:
    names: dict[Layout, str] = {
        Layout.PSM: "prefix first",
        Layout.SPM: "suffix first",
        Layout.SPM_JOINED: "suffix first, joined",
        Layout.LINE_AFTER_MIDDLE: "line after the middle marker",
    }
    return names[layout]


def describe(tokens: Sequence[int], model: Model) -> str:
    """A prompt as text for a person, markers shown by their names."""
    literal = {token: model.tokenizer.marker_text(token) for token in set(tokens) if model.tokenizer.is_marker(token)}
    parts: list[str] = []
    run: list[int] = []
    for token in tokens:
        if token in literal:
            parts += [model.tokenizer.decode(run), literal[token]]
            run = []
        else:
            run.append(token)
    return "".join([*parts, model.tokenizer.decode(run)])
