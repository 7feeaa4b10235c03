"""The numbers of ``harmony-ls bench lsp``, in the order in which they are shown."""

from harmony_ls.cli.bench.targets import Target

__all__ = ["TARGETS"]

TARGETS: tuple[Target, ...] = (
    Target("did_change_ms_p50", "A change while a chat is written, to the answer behind it, median", "ms", "<=", 1.0),
    Target("did_change_ms_p99", "The same, 99th percentile", "ms", "<=", 50.0),
    Target("idle_change_ms_p50", "The same while nothing else is done, median", "ms"),
    Target("barrier_ms_p50", "The smallest request alone, which is part of the others, median", "ms"),
    Target("step_ms_p50", "One token of that chat, median", "ms"),
    Target("code_action_ms_p95", "The list of code actions, 95th percentile", "ms", "<=", 10.0),
    Target("chat_decode_ratio", "A chat's tokens at the client / mlx-lm alone", "x", ">=", 0.95),
    Target("preempt_ratio", "A completion while a chat is written / while idle, of medians", "x", "<=", 1.3),
    Target("rss_growth", "Growth of memory over the soak, after its warm-up", "%", "<=", 0.05),
    Target("n_unanswered", "Requests of the soak that were never answered", "", "<=", 0),
    Target("n_surplus", "Answers of the soak that came to no request, or again", "", "<=", 0),
    Target("n_requests", "Requests of the soak"),
)
