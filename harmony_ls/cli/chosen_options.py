"""From options of the command line to what settings, engine and chat template take. Refuses what cannot be, by name.

Nothing is loaded here; what only the model can refuse, it does when it is loaded (`model_choice`).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from harmony_ls.cli.options import EffortName, ModelArguments, SamplingArguments
    from harmony_ls.engine.models.cache_options import CacheOptions
    from harmony_ls.engine.models.model import Shard

__all__ = ["ModelOptions", "given_settings", "model_options"]

# These are settings too, and say nothing where the command line says nothing.
_SETTINGS = {
    "temperature": "chat.temperature",
    "top_p": "chat.topP",
    "top_k": "chat.topK",
    "min_p": "chat.minP",
    "max_tokens": "chat.maxTokens",
}
# Options without effect unless the other one is there, too.
_NEEDED = {
    "kv_group_size": "kv_bits",
    "quantized_kv_start": "kv_bits",
    "xtc_threshold": "xtc_probability",
    "repetition_context_size": "repetition_penalty",
    "presence_context_size": "presence_penalty",
    "frequency_context_size": "frequency_penalty",
}
# What a chat template is given by us.
_OWN_ARGUMENTS = frozenset({"messages", "conversation", "tools", "documents", "add_generation_prompt", "tokenize"})


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """What the command line says of the model beyond its name.

    ``sampling`` holds the fields of a `Sampling` that no setting chooses, and ``template_arguments`` go to the model's
    chat template. ``cache`` None leaves caches as they are by default.
    """

    adapter: Path | None = None
    draft: str | None = None
    use_harmony: bool | None = None
    shard: "Shard" = "none"
    cache: "CacheOptions | None" = None
    sampling: Mapping[str, Any] = field(default_factory=dict)
    template_arguments: Mapping[str, Any] = field(default_factory=dict)

    def for_another_model(self) -> "ModelOptions":
        """What holds for whichever model: how tokens are chosen, but for those that are named by their numbers."""
        return ModelOptions(sampling={name: value for name, value in self.sampling.items() if name != "logit_bias"})


def given_settings(
    sampling: "SamplingArguments", *, model: str | None, effort: "EffortName | None", trust_remote_code: bool
) -> dict[str, Any]:
    """What these options say, as settings by their flat keys; None where one says nothing."""
    return {
        "chat.model": model,
        "chat.effort": None if effort is None else str(effort),
        **{key: getattr(sampling, name) for name, key in _SETTINGS.items()},
        "trustRemoteCode": True if trust_remote_code else None,
    }


def model_options(arguments: "ModelArguments", sampling: "SamplingArguments") -> ModelOptions:
    """What these options say of the model. Raises BadParameter for a value that cannot be."""
    from harmony_ls.engine.generation.request import Sampling
    from harmony_ls.engine.models.cache_options import CacheOptions

    cache = _given(arguments, [each.name for each in fields(CacheOptions)])
    chosen = _given(sampling, [each.name for each in fields(sampling) if each.name not in _SETTINGS])
    for name in (*cache, *chosen):
        if (needed := _NEEDED.get(name)) is not None and needed not in cache | chosen:
            raise typer.BadParameter(f"it counts only together with {_flag(needed)}", param_hint=_flag(name))
    if "logit_bias" in chosen:
        chosen["logit_bias"] = _biases(chosen["logit_bias"])
    for kind, values in ((CacheOptions, cache), (Sampling, chosen)):
        for name, value in values.items():
            try:
                kind(**{name: value})
            except ValueError as error:
                raise typer.BadParameter(str(error), param_hint=_flag(name)) from None
    return ModelOptions(
        adapter=arguments.adapter,
        draft=arguments.draft,
        use_harmony=arguments.use_harmony,
        shard=arguments.shard or "none",
        cache=CacheOptions(**cache) if cache else None,
        sampling=chosen,
        template_arguments=_template_arguments(arguments.chat_template_args),
    )


def _given(arguments: "ModelArguments | SamplingArguments", names: Sequence[str]) -> dict[str, Any]:
    """Those of the options that say something."""
    values = {name: getattr(arguments, name) for name in names}
    return {name: value for name, value in values.items() if value is not None and value != []}


def _biases(texts: Sequence[str]) -> tuple[tuple[int, float], ...]:
    """Tokens and what is added to their logits, of texts such as ``42=-100`` or ``{"42": -100}``."""
    pairs: list[tuple[Any, Any]] = []
    for text in texts:
        try:
            if text.lstrip().startswith("{"):
                pairs += json.loads(text, object_pairs_hook=list)
            else:
                token, bias = text.split("=")
                pairs.append((token, bias))
            biases = tuple((int(token), float(bias)) for token, bias in pairs)
        except (TypeError, ValueError, OverflowError, RecursionError):
            raise typer.BadParameter(
                f"{text!r} is neither a token and a number, such as 42=-100, nor a JSON object of them, such as "
                '{"42": -100}',
                param_hint=_flag("logit_bias"),
            ) from None
    return biases


def _template_arguments(text: str | None) -> dict[str, Any]:
    if text is None:
        return {}
    hint = _flag("chat_template_args")
    try:
        arguments = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise typer.BadParameter(f"this is no JSON: {error}", param_hint=hint) from None
    if not isinstance(arguments, dict):
        raise typer.BadParameter('it takes a JSON object, such as {"enable_thinking": false}', param_hint=hint)
    if own := sorted(_OWN_ARGUMENTS & set(arguments)):
        raise typer.BadParameter(f"{own[0]} is not yours to say: harmony-ls gives it to the template", param_hint=hint)
    return arguments


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
