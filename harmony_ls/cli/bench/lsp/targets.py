"""The numbers of ``harmony-ls bench lsp``, in the order in which they are shown.

A client sees that a change was taken in by the answer to a request behind it, and that request has a cost of its own.
So the median of a change is what it adds to the request, measured in pairs one behind the other. The 99th percentile is
read more strictly: of the whole round trip, nothing taken off. The whole round trip is told at the median too.
"""

from harmony_ls.cli.bench.targets import Target

__all__ = ["TARGETS"]

_LARGEST_STEP_RATIO = 1.5
_LEAST_STEPS_RATIO = 2.5
"""How much longer a change may take beside the model with the longer steps, which must be that many times as long, or
the comparison shows nothing. A server that took changes in between two steps would have a change wait half a step at
the median, so that the ratio would come near that of the steps. One that does not only shares the machine's memory and
processors with a model that reads five times the weights at each step: the smallest request alone pays for that too,
but not a multiple. Half as much again is room for that, and far from what waiting for steps would cost."""

TARGETS: tuple[Target, ...] = (
    Target(
        "did_change_ms_p50",
        "What a change adds to the smallest request while a chat is written: the round trip of a change with that "
        "request behind it, less that of the request alone just before or after, median of the pairs",
        "ms",
        "<=",
        1.0,
    ),
    Target(
        "did_change_round_trip_ms_p50",
        "The whole round trip of the change and the request behind it in these pairs, at the client, median",
        "ms",
    ),
    Target(
        "did_change_ms_p99",
        "The same whole round trip, with nothing taken off (the stricter reading), 99th percentile",
        "ms",
        "<=",
        50.0,
    ),
    Target("request_ms_p50", "The round trip of the smallest request alone in these pairs, median", "ms"),
    Target("step_ms", "One step of the model of that chat, mean", "ms"),
    Target("server_cores", "Processor cores that the server used meanwhile, the chat's model included, mean"),
    Target(
        "did_change_step_ratio",
        "The whole round trip beside a model with steps several times as long / beside that one, of medians",
        "x",
        "<=",
        _LARGEST_STEP_RATIO,
    ),
    Target(
        "steps_ratio",
        "The longer steps / the others: if they are alike, the line above says nothing",
        "x",
        ">=",
        _LEAST_STEPS_RATIO,
    ),
    Target("deep_did_change_ms_p50", "What a change adds beside the model with the longer steps, median", "ms"),
    Target(
        "deep_did_change_round_trip_ms_p50",
        "The whole round trip beside the model with the longer steps, median",
        "ms",
    ),
    Target("deep_did_change_ms_p99", "The same, 99th percentile", "ms", "<=", 50.0),
    Target("deep_step_ms", "One step of the model with the longer steps, mean", "ms"),
    Target("idle_did_change_ms_p50", "What a change adds while nothing else is done, median", "ms"),
    Target("idle_did_change_round_trip_ms_p50", "The whole round trip while nothing else is done, median", "ms"),
    Target(
        "did_change_cpu_ms",
        "Processor time of all threads of the server for one of many changes in a row, nothing else being done",
        "ms",
    ),
    Target("code_action_ms_p95", "The list of code actions while idle, 95th percentile", "ms", "<=", 10.0),
    Target(
        "chat_decode_ratio",
        "Tokens a second of a chat as they reach the client / of mlx-lm alone with the same model and as long a "
        "prompt, in turns, median of the pairs",
        "x",
        ">=",
        0.95,
    ),
    Target("chat_tokens_per_second", "The former alone, median"),
    Target(
        "preempt_ratio",
        "A completion while the model of a chat calls apply_patch again and again / while idle, the same keys in "
        "turns, ratio of medians",
        "x",
        "<=",
        1.3,
    ),
    Target("idle_key_ms_p50", "A completion while idle, key to answer, median", "ms"),
    Target("busy_key_ms_p50", "A completion beside the chat with tools, key to answer, median", "ms"),
    Target("n_tool_calls", "Tool calls that were answered in the chats beside these keys"),
    Target("rss_growth", "Growth of the server's memory over the soak, after its warm-up", "%", "<=", 0.05),
    Target("n_unanswered", "Requests of the soak that were never answered", "", "<=", 0),
    Target("n_surplus", "Answers of the soak that came to no request, or again", "", "<=", 0),
    Target(
        "n_requests", "Requests of the soak, its warm-up included, what follows upon one of them not", "", ">=", 20_000
    ),
    Target("n_edits", "Workspace edits that tools of the soak had the client make"),
)
