"""How the figures came about, in words, and under which conditions: without it they mean nothing."""

from html import escape
from typing import Any

from harmony_ls.cli.bench.table import format_value

__all__ = ["conditions", "method"]


def method(document: dict[str, Any]) -> str:
    """What was done for each part that was measured."""
    points = []
    if "n_keys" in document:
        points.append(
            "Replay: at about 55 % of each file a block of 25 lines was taken out and typed again key by key into the "
            "real server (harmony-ls lsp over stdio). Every key is an incremental change and a request; the next key "
            "comes when the answer is there. Enter brings the indentation with it. No suggestion is ever accepted: "
            "everything is typed through, and the keys that agree with what is shown are answered without the model. "
            "Latency is what the client sees, from before the change is sent; tokens are what the server says of each "
            "answer."
        )
        points.append(
            "An answer is what the server answers: a suggestion, or nothing with a reason. Of all keys, "
            f"{_counted(document['outcomes'])}."
        )
        points.append(
            "Recomputed prompt tokens count the keys that started a generation. The 95th percentile is within a line: "
            "the first key of a line has the line before it in its prompt for the first time."
        )
    if "n_compared_keys" in document:
        weights = (
            "with the same weights in float32 (what harmony-ls runs on a CPU; quantised kernels would be slower), "
            if document["model"] and document["model"]["precision"] == "float32"
            else "with the same model folder, "
        )
        blas = "OpenBLAS loaded in both processes, " if document["settings"]["blas"] else ""
        points.append(
            f"mlx_lm.server: {document['n_compared_keys']} of these keys were asked of it too, in turns which comes "
            f"first, each waiting until the other's process was idle; {weights}{blas}greedy, streamed, at most "
            f"{document['settings']['maxTokens']} tokens, the usual prompt (prefix, suffix, middle) of the very window "
            "that harmony-ls shows its model. A suggestion of one line is whole at its line end. Every stream was read "
            "to its end, and the key before each line was asked without being timed, so that its prompt cache was "
            "warm. Its median answer wrote "
            f"{document['mlx_lm_server_generated_p50']:g} tokens, ours {document['compared_ours_generated_p50'] or 0:g}"
            " (harmony-ls stops early where it is not sure)."
        )
        points.append(
            "Like for like: the first ratios are of the compared keys that asked the model in harmony-ls "
            f"({document['n_compared_keys_with_model']} of {document['n_compared_keys']}, in "
            f"{document['n_compared_lines']} lines); mlx_lm.server has no other kind. Of these, "
            f"{document['n_compared_keys_shown_with_model']} showed a suggestion, "
            f"{document['n_compared_refused']} were refused (not sure, empty, too short, a repetition) and "
            f"{document['n_compared_timed_out']} came to nothing within {document['settings']['deadlineMs']} ms; the "
            "three kinds count alike as answers, and the ratio of those shown stands beside. For equal lengths, "
            "mlx_lm.server's answer is cut to as many tokens as ours has, at its own pace. The ratios over all "
            "compared keys count also "
            f"{format_value(document['compared_answered_without_model_rate'], '%')} answered without the model"
            + (f" and {n} from a generation that was running" if (n := document["n_compared_adopted"]) else "")
            + ". Each ratio is a ratio of medians; its 95 % interval is bootstrapped over the keys. Keys of one line "
            "are alike, so the true uncertainty is larger."
        )
        points.append(
            "The first token is the first that adds to what was typed, or ends the answer; tokens that only spell what "
            "was typed already (token healing) do not count. LSP sends one answer, so no client sees it: it is the "
            "server's own time, and the time that the key spent outside the server. A key without a token counts with "
            "its whole time. For mlx_lm.server it is the first piece of text of the stream."
        )
    if "decode_ratio_vs_mlx_lm" in document and document["decode_ratio_vs_mlx_lm"] is not None:
        points.append(
            "Decode speed: the same prompt and network through the engine and through mlx_lm's generate_step alone, "
            "on the same thread, in turns; the median of the ratios."
        )
    if document.get("cancel_to_idle_ms_p95") is not None:
        points.append(
            "Cancel to idle: jobs with a cold prompt, cancelled at a random moment, until the engine could begin "
            "something else. The step beside it is the 95th percentile of the step that runs at a random moment of "
            "the same jobs."
        )
    if document.get("preempt_ratio") is not None:
        points.append(
            "Time to the first token while a chat is written: the same keys in two documents through the completer, "
            "one while the engine is idle, one while a generation of chat priority writes, begun at a random moment "
            "of its steps; they take turns which is first. A pair counts if both came to a token and the chat wrote on "
            f"afterwards: {document['n_preempt_pairs']} did, {document['n_preempt_not_counted']} did not. The ratio of "
            "the medians."
        )
    if document["n_cases"]:
        points.append(
            "Answers: code lines cut at a random character, at least four characters before their end; docstrings, "
            "comments, tables and generated files are passed over. The rest of the line is the truth, the lines below "
            "are shown to the model. Nothing held back means asked for by a command. Intervals are Wilson's at 95 %. "
            "For quiet, the cursor stands at the end of a finished statement."
        )
    if document["n_cases"] and document["model"] and document["model"]["embedded"]:
        points.append(
            "The confidence thresholds of the embedded model were read off cases of these same packages, so what is "
            "said of the shown and of quiet is somewhat too good. The model itself never saw the packages."
        )
    items = "".join(f"<li>{escape(point)}</li>" for point in points)
    return f"<h2>How it was measured</h2>\n<ul>{items}</ul>"


def _counted(outcomes: dict[str, int]) -> str:
    """How often each outcome came, the most frequent first."""
    return ", ".join(f"{count:,} {outcome}" for outcome, count in outcomes.items())


def conditions(document: dict[str, Any]) -> str:
    """Machine, versions, model, packages."""
    machine, model = document["machine"], document["model"]
    rows = [
        ("machine", f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gb']:g} GB"),
        ("system", f"{machine['system']}, load {machine['load_1_minute']} at the end"),
        ("versions", ", ".join(f"{name} {version}" for name, version in document["versions"].items())),
        ("packages", ", ".join(f"{name} {version}" for name, version in document["packages"].items())),
        ("settings", ", ".join(f"{name} {value}" for name, value in document["settings"].items())),
        ("seed", str(document["seed"])),
        ("date", document["date"]),
    ]
    if model is not None:
        told = (
            f"{model['name']} ({model['type']}, {model['parameters'] / 1e6:.1f} M parameters, {model['precision']}); "
        )
        rows.insert(0, ("model", told + model["capability"]))
    listed = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in rows)
    return f"<h2>Conditions</h2>\n<dl>{listed}</dl>"
