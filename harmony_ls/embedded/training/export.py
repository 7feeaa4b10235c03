"""Write a checkpoint as the model that ships: 8-bit weights, configuration and tokenizer, as mlx-lm loads them."""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import cast

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten
from mlx_lm.models import llama

GROUP_SIZE = 64
BITS = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, required=True, help="folder of train.py")
    parser.add_argument("--tokenizer", type=Path, required=True, help="folder of tokenizer.py")
    parser.add_argument("--unquantised", action="store_true", help="float32 weights, for comparisons")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()

    configuration = json.loads((arguments.checkpoint / "config.json").read_text())
    arrays = cast(dict[str, mx.array], mx.load(str(arguments.checkpoint / "training.safetensors")))
    prefix = "parameters."
    weights = {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}
    model = llama.Model(llama.ModelArgs.from_dict(configuration))
    # The scales take the type of the weights: float16 has three more bits for them than bfloat16.
    kind = mx.float32 if arguments.unquantised else mx.float16
    model.load_weights([(name, value.astype(kind)) for name, value in weights.items()])
    configuration["torch_dtype"] = "float32" if arguments.unquantised else "float16"
    if not arguments.unquantised:
        nn.quantize(model, group_size=GROUP_SIZE, bits=BITS)
        configuration["quantization"] = {"group_size": GROUP_SIZE, "bits": BITS}
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / "model.safetensors"
    mx.save_safetensors(str(path), dict(tree_flatten(model.parameters())), metadata={"format": "mlx"})
    (arguments.out / "config.json").write_text(json.dumps(configuration, indent=2) + "\n")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        if (arguments.tokenizer / name).resolve() != (arguments.out / name).resolve():
            shutil.copyfile(arguments.tokenizer / name, arguments.out / name)
    print(f"{sum(value.size for value in weights.values()):,} parameters, {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
