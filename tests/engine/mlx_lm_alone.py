"""What mlx-lm generates by itself with an engine's network, on its thread: what generations are held against."""

from dataclasses import dataclass
from typing import Any

from harmony_ls.engine.engine import Engine
from harmony_ls.engine.generation.request import GenerationRequest
from harmony_ls.engine.models.model import Model
from tests.engine.engines import on_worker

__all__ = ["Reference", "mlx_lm_alone"]


@dataclass(frozen=True)
class Reference:
    """The tokens of ``mlx_lm.generate.generate_step``, and the log-probabilities of the whole vocabulary for each."""

    ids: list[int]
    logprobs: list[list[float]]

    @property
    def chosen(self) -> list[float]:
        return [logprobs[token] for token, logprobs in zip(self.ids, self.logprobs, strict=True)]


async def mlx_lm_alone(engine: Engine, model: Model, request: GenerationRequest, **options: Any) -> Reference:
    """Generate greedily what ``request`` asks, with mlx-lm's own logits processors; ``options`` are generate_step's."""

    def run() -> Reference:
        import mlx.core as mx
        from mlx_lm.generate import generate_step
        from mlx_lm.sample_utils import make_logits_processors

        sampling = request.sampling
        assert sampling.temperature == 0
        processors = make_logits_processors(
            dict(sampling.logit_bias),
            sampling.repetition_penalty,
            sampling.repetition_context_size,
            sampling.presence_penalty,
            sampling.presence_context_size,
            sampling.frequency_penalty,
            sampling.frequency_context_size,
        )
        context = engine._contexts[id(model)]
        steps = generate_step(
            mx.array(list(request.prompt)),
            context.network,
            max_tokens=request.max_tokens,
            logits_processors=processors,
            prefill_step_size=context.prefill_step_tokens,
            **options,
        )
        tokens, logprobs = zip(*((int(token), values.tolist()) for token, values in steps), strict=True)
        return Reference(list(tokens), list(logprobs))

    reference: Reference = await on_worker(engine, run)
    return reference
