"""Measure a model on packages it never saw: exact rest of the line, first identifier, confidence gate, silence.

Greedy, with token healing: the prompt ends before the last unit of the tokenizer's split and the first tokens must
spell what was given back. A line ends at the first newline or at the end-of-middle token. Takes an exported folder or
a checkpoint; weights are dequantised to float32. The cases are drawn as `harmony-ls bench inline` draws its own, which
measures the same through the product. The tabs of the files are kept.
"""

from __future__ import annotations

import argparse
import json
import math
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import mlx.core as mx
import numpy as np
from mlx_lm.models import llama
from mlx_lm.models.cache import make_prompt_cache
from tokenizers import Tokenizer

from harmony_ls.cli.bench.inline.cases import Case, draw_code_cases, draw_finished_cases
from harmony_ls.cli.bench.inline.corpus import read_sources

END, FIM_PREFIX, FIM_SUFFIX, FIM_MIDDLE, FIM_PAD = range(5)
GATE_TOKENS = 6
LONGEST_ANSWER = 48
WORD = re.compile(r"[^\W\d]\w*")


def load(folder: Path) -> llama.Model:
    """The model of a checkpoint or of an exported folder, in float32."""
    configuration = json.loads((folder / "config.json").read_text())
    quantisation = configuration.pop("quantization", None)
    if (folder / "model.safetensors").exists():
        arrays = cast(dict[str, mx.array], mx.load(str(folder / "model.safetensors")))
    else:
        saved = cast(dict[str, mx.array], mx.load(str(folder / "training.safetensors")))
        prefix = "parameters."
        arrays = {name.removeprefix(prefix): value for name, value in saved.items() if name.startswith(prefix)}
    weights = []
    for name, value in arrays.items():
        if name.endswith((".scales", ".biases")):
            continue
        stem = name.removesuffix(".weight")
        if f"{stem}.scales" in arrays:
            value = mx.dequantize(
                value,
                arrays[f"{stem}.scales"].astype(mx.float32),
                arrays[f"{stem}.biases"].astype(mx.float32),
                quantisation["group_size"],
                quantisation["bits"],
            )
        weights.append((name, value.astype(mx.float32)))
    model = llama.Model(llama.ModelArgs.from_dict(configuration))
    model.load_weights(weights)
    mx.eval(model.parameters())
    return model


@dataclass(frozen=True)
class Answer:
    """What the model wrote behind the cursor, and how sure it was."""

    text: str
    ended: str
    confidence: float
    prompt_tokens: int


class Completer:
    """Greedy completion with token healing."""

    def __init__(
        self,
        model: llama.Model,
        tokenizer: Tokenizer,
        layout: str,
        prefix_tokens: int,
        suffix_tokens: int,
        healing: bool,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.layout = layout
        self.prefix_tokens = prefix_tokens
        self.suffix_tokens = suffix_tokens
        self.healing = healing
        characters = byte_characters()
        self.bytes_of = [b""] * tokenizer.get_vocab_size()
        for token, number in tokenizer.get_vocab().items():
            if number > FIM_PAD:
                self.bytes_of[number] = bytes(characters[character] for character in token)

    def encode(self, text: str) -> list[int]:
        # Code that spells a marker must not become one.
        return list(self.tokenizer.encode(text.replace("<|", "< |"), add_special_tokens=False).ids)

    def prompt(self, before: str, after: str) -> tuple[list[int], bytes]:
        """The prompt's tokens and the text its continuation owes."""
        owed = ""
        if self.healing and before:
            pieces = self.tokenizer.pre_tokenizer.pre_tokenize_str(before[-200:])
            start = pieces[-1][1][0] - len(before[-200:])
            before, owed = before[:start], before[start:]
        lines = before[-8000:].splitlines(keepends=True)
        if len(before) > 8000:
            lines = lines[1:]
        prefix: list[int] = self.encode("".join(lines))
        while len(prefix) > self.prefix_tokens and len(lines) > 1:
            lines = lines[max(1, len(lines) * (len(prefix) - self.prefix_tokens) // len(prefix) // 2) :]
            prefix = self.encode("".join(lines))
        prefix = prefix[-self.prefix_tokens :]
        suffix = self.encode(after[:3000])[: self.suffix_tokens]
        suffix_part = [FIM_SUFFIX, *suffix] if suffix else []
        if self.layout == "spm":
            return [*suffix_part, FIM_PREFIX, *prefix, FIM_MIDDLE], owed.encode()
        if self.layout == "psm":
            return [FIM_PREFIX, *prefix, *suffix_part, FIM_MIDDLE], owed.encode()
        # The line being typed stands behind the middle token.
        typed = lines[-1] if lines and not lines[-1].endswith("\n") else ""
        earlier = self.encode("".join(lines[:-1] if typed else lines))[-self.prefix_tokens :]
        return [FIM_PREFIX, *earlier, *suffix_part, FIM_MIDDLE, *self.encode(typed)], owed.encode()

    def allowed(self, owed: bytes) -> mx.array:
        """Zero for the tokens that agree with the owed text, minus infinity for the others."""
        fits = [bool(spelled) and (spelled.startswith(owed) or owed.startswith(spelled)) for spelled in self.bytes_of]
        return mx.array(np.where(fits, 0.0, -np.inf).astype(np.float32))

    def complete(self, before: str, after: str) -> Answer:
        tokens, owed = self.prompt(before, after)
        cache = make_prompt_cache(self.model)
        logits = self.model(mx.array([tokens]), cache=cache)[0, -1]
        written, confidence, ended = b"", 1.0, "length"
        for count in range(LONGEST_ANSWER):
            if owed:
                logits = logits + self.allowed(owed)
            best = cast(int, mx.argmax(logits).item())
            if best <= FIM_PAD:
                ended = "end"
                if count == 0 or not written:
                    confidence *= math.exp((logits[best] - mx.logsumexp(logits)).item())
                break
            if count < GATE_TOKENS:
                confidence *= math.exp((logits[best] - mx.logsumexp(logits)).item())
            spelled = self.bytes_of[best]
            written += spelled[len(owed) :]
            owed = owed[len(spelled) :]
            if b"\n" in written:
                ended = "newline"
                break
            logits = self.model(mx.array([[best]]), cache=cache)[0, -1]
        text = written.decode("utf-8", "ignore").split("\n")[0].rstrip()
        return Answer(text, ended, confidence, len(tokens))


def byte_characters() -> dict[str, int]:
    """The printable characters by which byte-level BPE writes bytes."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(256 + index): byte for index, byte in enumerate(others)}


def around(case: Case) -> tuple[str, str]:
    """The text before the cursor and the lines after the cursor's, as training saw them."""
    return case.text[: case.offset], case.text[case.offset :].removeprefix("\n")


def first_word(text: str) -> str:
    match = WORD.search(text)
    return match.group(0) if match else text.strip()


def interval(share: float, count: int) -> float:
    """Half the width of the 95 % interval of a share."""
    return 1.96 * math.sqrt(share * (1 - share) / max(1, count))


def summarise(cases: list[Case], answers: list[Answer]) -> dict[str, Any]:
    exact = np.array([answer.text == case.expected.rstrip() for case, answer in zip(cases, answers, strict=True)])
    first = np.array(
        [first_word(answer.text) == first_word(case.expected) for case, answer in zip(cases, answers, strict=True)]
    )
    lengths = np.array([len(case.expected) for case in cases])
    sure = np.array([answer.confidence for answer in answers])
    shown = np.array([bool(answer.text) for answer in answers])
    result: dict[str, Any] = {
        "cases": len(cases),
        "exact": exact.mean(),
        "exact_interval": interval(exact.mean(), len(cases)),
        "first_identifier": first.mean(),
        "mean_target": lengths.mean(),
        "ended": {how: sum(answer.ended == how for answer in answers) for how in ("end", "newline", "length")},
        "by_length": {},
        "by_package": {},
        "gates": {},
    }
    for low, high in ((4, 10), (11, 20), (21, 40), (41, 400)):
        chosen = (lengths >= low) & (lengths <= high)
        result["by_length"][f"{low}-{high}"] = [int(chosen.sum()), exact[chosen].mean() if chosen.any() else None]
    for package in sorted({case.package for case in cases}):
        chosen = np.array([case.package == package for case in cases])
        result["by_package"][package] = [int(chosen.sum()), exact[chosen].mean(), first[chosen].mean()]
    for gate in (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7):
        chosen = shown & (sure >= gate)
        result["gates"][gate] = [
            chosen.mean(),
            exact[chosen].mean() if chosen.any() else None,
            first[chosen].mean() if chosen.any() else None,
        ]
    return result


def silence(answers: list[Answer]) -> dict[str, Any]:
    """How often nothing is offered at finished statements, by gate."""
    gates = {
        gate: float(np.mean([not answer.text or answer.confidence < gate for answer in answers]))
        for gate in (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7)
    }
    return {"cases": len(answers), "quiet": gates}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="exported folder or checkpoint")
    parser.add_argument("--tokenizer", type=Path, help="tokenizer.json (default: the model folder's)")
    parser.add_argument("--packages", type=Path, nargs="+", required=True, help="folders of held-out packages")
    parser.add_argument("--per-package", type=int, default=60)
    parser.add_argument("--finished-per-package", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--layouts", nargs="+", choices=["spm", "psm", "line-after-middle"], default=["spm"])
    parser.add_argument("--prefix-tokens", type=int, default=700)
    parser.add_argument("--suffix-tokens", type=int, default=150)
    parser.add_argument("--no-healing", action="store_true")
    parser.add_argument("--cpu", action="store_true")
    parser.add_argument("--json", type=Path, help="write the summary, and every case beside it with its answer")
    arguments = parser.parse_args()
    if arguments.cpu:
        mx.set_default_device(mx.cpu)
    model = load(arguments.model)
    tokenizer = Tokenizer.from_file(str(arguments.tokenizer or arguments.model / "tokenizer.json"))
    files = read_sources({folder.absolute().name: folder for folder in arguments.packages})
    n_packages = len({file.package for file in files})
    cases = draw_code_cases(files, arguments.per_package * n_packages, arguments.seed)
    finished = draw_finished_cases(files, arguments.finished_per_package * n_packages, arguments.seed)
    report: dict[str, Any] = {}
    for layout in arguments.layouts:
        completer = Completer(
            model, tokenizer, layout, arguments.prefix_tokens, arguments.suffix_tokens, not arguments.no_healing
        )
        answers = [completer.complete(*around(case)) for case in cases]
        summary = summarise(cases, answers)
        quiet = [completer.complete(*around(case)) for case in finished]
        summary["silence"] = silence(quiet)
        report[layout] = summary
        print(layout, json.dumps(summary, indent=1, default=float), flush=True)
        if arguments.json:
            rows = [
                {
                    "package": case.package,
                    "path": case.path,
                    "line": case.line,
                    "column": case.offset - case.text.rfind("\n", 0, case.offset) - 1,
                    "expected": case.expected,
                    **asdict(answer),
                }
                for case, answer in zip([*cases, *finished], [*answers, *quiet], strict=True)
            ]
            beside = arguments.json.with_suffix(f".{layout}.jsonl")
            beside.write_text("".join(json.dumps(row) + "\n" for row in rows))
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1, default=float) + "\n")


if __name__ == "__main__":
    main()
