"""Train the model with MLX on shards of packed windows.

Muon (orthogonalised momentum) moves the matrices of the layers, Adam the embedding and the norms. Weights are float32,
the arithmetic of a step is bfloat16. A checkpoint holds parameters, optimizer state and the step, so that training
goes on where it stopped, in as many runs as needed. It reads shards in order and waits for those not yet written.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.utils import tree_flatten, tree_unflatten
from mlx_lm.models import llama

END, FIM_PREFIX, FIM_SUFFIX, FIM_MIDDLE, FIM_PAD = range(5)
MIDDLE_WEIGHT = 3.0
Parameters = dict[str, mx.array]

FULL_SIZE = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 384,
    "num_hidden_layers": 10,
    "intermediate_size": 1088,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "rms_norm_eps": 1e-5,
    "vocab_size": 8192,
    "max_position_embeddings": 2048,
    "rope_theta": 10000.0,
    "tie_word_embeddings": True,
    "attention_bias": False,
    "mlp_bias": False,
    "hidden_act": "silu",
    "bos_token_id": None,
    "eos_token_id": END,
    "pad_token_id": FIM_PAD,
}
TOY_SIZE = FULL_SIZE | {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "intermediate_size": 128,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 32,
}


def build(configuration: dict[str, Any], seed: int) -> llama.Model:
    """The model with small random weights; what writes into the residual stream starts smaller still."""
    mx.random.seed(seed)
    model = llama.Model(llama.ModelArgs.from_dict(configuration))
    depth = configuration["num_hidden_layers"]
    weights = []
    for name, value in tree_flatten(model.parameters()):
        if value.ndim == 2:
            scale = 0.02 if "embed" in name else value.shape[1] ** -0.5
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                scale /= (2 * depth) ** 0.5
            value = mx.random.normal(value.shape) * scale
        weights.append((name, value.astype(mx.float32)))
    model.load_weights(weights)
    return model


def is_matrix(name: str, value: mx.array) -> bool:
    return value.ndim == 2 and "embed" not in name


def orthogonalise(momentum: mx.array) -> mx.array:
    """The nearest orthogonal matrices to a stack of matrices, by five Newton-Schulz steps in bfloat16."""
    tall = momentum.shape[-2] > momentum.shape[-1]
    x = momentum.swapaxes(-1, -2) if tall else momentum
    x = (x / (mx.sqrt((x * x).sum(axis=(-2, -1), keepdims=True)) + 1e-7)).astype(mx.bfloat16)
    for _ in range(5):
        square = x @ x.swapaxes(-1, -2)
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return (x.swapaxes(-1, -2) if tall else x).astype(mx.float32)


class Optimizer:
    """Muon for the matrices, Adam for the rest; the state is one flat dictionary of arrays."""

    def __init__(self, parameters: Parameters, weight_decay: float) -> None:
        self.weight_decay = weight_decay
        self.groups: dict[tuple[int, ...], list[str]] = {}
        self.others: list[str] = []
        self.state: Parameters = {}
        for name, value in parameters.items():
            self.state[f"momentum.{name}"] = mx.zeros_like(value)
            if is_matrix(name, value):
                self.groups.setdefault(value.shape, []).append(name)
            else:
                self.others.append(name)
                self.state[f"square.{name}"] = mx.zeros_like(value)

    def update(
        self, parameters: Parameters, gradients: Parameters, state: Parameters, rate: mx.array, step: mx.array
    ) -> tuple[Parameters, Parameters]:
        """New parameters and state. Muon's steps are scaled to the size of Adam's, so both share the rate."""
        parameters, state = dict(parameters), dict(state)
        for shape, names in self.groups.items():
            stacked = mx.stack([gradients[name] for name in names])
            momentum = 0.95 * mx.stack([state[f"momentum.{name}"] for name in names]) + 0.05 * stacked
            direction = orthogonalise(0.05 * stacked + 0.95 * momentum) * (0.2 * max(shape) ** 0.5)
            for index, name in enumerate(names):
                state[f"momentum.{name}"] = momentum[index]
                parameters[name] = parameters[name] * (1 - rate * self.weight_decay) - rate * direction[index]
        for name in self.others:
            gradient = gradients[name]
            momentum = 0.9 * state[f"momentum.{name}"] + 0.1 * gradient
            square = 0.95 * state[f"square.{name}"] + 0.05 * gradient * gradient
            state[f"momentum.{name}"], state[f"square.{name}"] = momentum, square
            corrected = (momentum / (1 - 0.9**step)) / (mx.sqrt(square / (1 - 0.95**step)) + 1e-8)
            parameters[name] = parameters[name] - rate * corrected
        return parameters, state


def target_weights(windows: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The weight of each target: more for middles and their end, none for markers that nothing foretells."""
    positions = np.arange(windows.shape[1])[None] * 2 + 2
    marks = np.where(windows == FIM_MIDDLE, positions + 1, np.where(windows == END, positions, 0))
    inside = np.maximum.accumulate(marks, axis=1)[:, :-1] % 2
    targets = windows[:, 1:]
    unforeseen = (targets == FIM_PREFIX) | (targets == FIM_SUFFIX) | (targets == FIM_MIDDLE)
    return np.where(unforeseen, 0.0, np.where(inside == 1, MIDDLE_WEIGHT, 1.0)).astype(np.float32)


def batches(folder: Path, batch: int, first_step: int) -> Iterator[np.ndarray[Any, Any]]:
    """Windows in the order of the shards, from a step on; waits for a shard that is not there yet."""
    number, skip = 0, first_step * batch
    while True:
        path = folder / f"{number:05d}.npy"
        while not path.exists():
            time.sleep(0.2)
        shard = np.load(path, mmap_mode="r")
        number += 1
        if skip >= len(shard):
            skip -= len(shard)
            continue
        for start in range(skip, len(shard) - batch + 1, batch):
            yield np.asarray(shard[start : start + batch]).astype(np.int32)
        skip = 0


def learning_rate(step: int, progress: float, peak: float, warm_up: int) -> float:
    """Up in a straight line during the warm-up, then down to nothing at the end."""
    return peak * min((step + 1) / warm_up, max(0.0, 1 - progress))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=Path, required=True, help="folder of one layout's shards")
    parser.add_argument("--checkpoint", type=Path, required=True, help="folder to go on from and to save to")
    parser.add_argument("--steps", type=int, required=True, help="steps of the whole training (the schedule's end)")
    parser.add_argument("--minutes", type=float, default=1e9, help="stop this run after so long, with a checkpoint")
    parser.add_argument("--finish-in", type=float, default=1e9, help="minutes in which this run ends the schedule")
    parser.add_argument("--save-every", type=int, default=2000, help="steps between checkpoints")
    parser.add_argument("--batch", type=int, default=64, help="windows a step; shards must hold a multiple of it")
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--warm-up", type=int, default=200)
    parser.add_argument("--weight-decay", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--report-every", type=int, default=200)
    parser.add_argument("--toy", action="store_true", help="a tiny model, for a rehearsal on a CPU")
    arguments = parser.parse_args()
    started = time.monotonic()

    configuration = TOY_SIZE if arguments.toy else FULL_SIZE
    model = build(configuration, arguments.seed)
    parameters: Parameters = dict(tree_flatten(model.parameters()))
    print(f"{sum(value.size for value in parameters.values()):,} parameters on {mx.default_device()}", flush=True)
    optimizer = Optimizer(parameters, arguments.weight_decay)
    state, step = optimizer.state, 0
    arguments.checkpoint.mkdir(parents=True, exist_ok=True)
    saved = arguments.checkpoint / "training.safetensors"
    if saved.exists():
        loaded = mx.load(str(saved), return_metadata=True)
        arrays, notes = cast(tuple[Parameters, dict[str, str]], loaded)
        parameters = {name: arrays[f"parameters.{name}"] for name in parameters}
        state = {name: arrays[f"state.{name}"] for name in state}
        step = int(notes["step"])
        print(f"going on from step {step}", flush=True)

    # On a CPU bfloat16 products are many times slower than float32.
    kind = mx.float32 if mx.default_device() == mx.cpu else mx.bfloat16

    def loss_of(
        parameters: Parameters, inputs: mx.array, targets: mx.array, weights: mx.array
    ) -> tuple[mx.array, mx.array]:
        model.update(tree_unflatten([(name, value.astype(kind)) for name, value in parameters.items()]))
        losses = nn.losses.cross_entropy(model(inputs).astype(mx.float32), targets)
        middle = weights > 1
        return (losses * weights).sum() / weights.sum(), (losses * middle).sum() / mx.maximum(middle.sum(), 1)

    @mx.compile
    def train_step(
        parameters: Parameters,
        state: Parameters,
        windows: mx.array,
        weights: mx.array,
        rate: mx.array,
        number: mx.array,
    ) -> tuple[Parameters, Parameters, mx.array, mx.array]:
        (loss, middle), gradients = mx.value_and_grad(loss_of)(parameters, windows[:, :-1], windows[:, 1:], weights)
        parameters, state = optimizer.update(parameters, gradients, state, rate, number)
        return parameters, state, loss, middle

    def save() -> None:
        arrays = {f"parameters.{name}": value for name, value in parameters.items()}
        arrays |= {f"state.{name}": value for name, value in state.items()}
        mx.save_safetensors(str(saved), arrays, metadata={"step": str(step)})
        (arguments.checkpoint / "config.json").write_text(json.dumps(configuration, indent=2) + "\n")

    recent: list[tuple[mx.array, mx.array]] = []
    mark, mark_step = time.monotonic(), step
    for windows in batches(arguments.shards, arguments.batch, step):
        minutes = (time.monotonic() - started) / 60
        progress = max(step / arguments.steps, minutes / arguments.finish_in)
        if progress >= 1 or minutes > arguments.minutes:
            break
        rate = learning_rate(step, progress, arguments.rate, arguments.warm_up)
        parameters, state, loss, middle = train_step(
            parameters,
            state,
            mx.array(windows),
            mx.array(target_weights(windows)),
            mx.array(rate),
            mx.array(step + 1.0),
        )
        mx.async_eval(parameters, state, loss, middle)  # type: ignore[no-untyped-call]
        recent.append((loss, middle))
        step += 1
        if len(recent) > 1:
            mx.eval(recent[-2])  # at most two steps under way
        if step % arguments.report_every == 0:
            values = np.array([[loss.item(), middle.item()] for loss, middle in recent]).mean(axis=0)
            speed = (step - mark_step) * arguments.batch * (windows.shape[1] - 1) / (time.monotonic() - mark)
            print(
                f"step {step} loss {values[0]:.4f} middle {values[1]:.4f} rate {rate:.2e} "
                f"{speed / 1e3:.0f}k tokens/s {mx.get_peak_memory() / 2**30:.1f} GiB",
                flush=True,
            )
            recent, mark, mark_step = [], time.monotonic(), step
            if not np.isfinite(values[0]):
                raise SystemExit("the loss is not finite")
        if step % arguments.save_every == 0:
            save()
    mx.eval(parameters, state)
    save()
    print(f"saved step {step}", flush=True)


if __name__ == "__main__":
    main()
