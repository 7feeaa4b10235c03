"""The declaration of every setting: name, type, range, default, meaning, and who may set it.

The docstring under a field is what a person reads in the README, in ``harmony-ls doctor`` and in the editor, so it says
what the setting means, its unit, and why the default is what it is. Nothing here reads a file or merges sources; that
is `harmony_ls.settings.sources`.

A field declared with ``USER_SCOPE`` belongs to the person, not to the project: a repository that is merely opened must
not choose the model that runs, or how much memory and time it takes. What an editor sends counts as the person's word,
although a repository can speak through it: VS Code merges a folder's ``.vscode/settings.json`` into the settings that
it tells. Clients should therefore declare ``model`` at machine scope (``"scope": "machine"`` in a VS Code extension),
so that no folder sets it. Whether code from a model's folder is executed is too much to leave to clients:
``OWN_SCOPE`` takes it from the person's own file and the command line alone.
"""

from typing import Annotated, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue
from pydantic.alias_generators import to_camel

__all__ = [
    "OWN_SCOPE",
    "USER_SCOPE",
    "WORKSPACE_ADDS",
    "BrowserSettings",
    "ChatSettings",
    "CompletionFallback",
    "ContextOverflow",
    "Eagerness",
    "EngineSettings",
    "FimMarkersSettings",
    "FimOrder",
    "InlineCompletionSettings",
    "LogLevel",
    "PromptLayout",
    "ReasoningEffort",
    "SearchBackend",
    "Settings",
    "ToolPermission",
    "ToolSettings",
    "Trigger",
]

_SchemaExtra = dict[str, JsonValue]

USER_SCOPE: Final[_SchemaExtra] = {"scope": "user"}
"""Marks a field that a workspace's ``pyproject.toml`` may not set."""

OWN_SCOPE: Final[_SchemaExtra] = {"scope": "own"}
"""Marks a field that neither a workspace nor an editor may set, only the user's own file and the command line."""

WORKSPACE_ADDS: Final[_SchemaExtra] = {"scope": "add"}
"""Marks a list that a workspace's ``pyproject.toml`` may only lengthen, so that it can make things stricter alone."""

LogLevel = Literal["debug", "info", "warning", "error"]
Trigger = Literal["automatic", "invoked"]
Eagerness = Literal["quiet", "normal", "eager"]
PromptLayout = Literal["auto", "spm", "psm", "lineAfterMiddle"]
CompletionFallback = Literal["auto", "always", "never"]
FimOrder = Literal["psm", "spm"]
ReasoningEffort = Literal["low", "medium", "high"]
ContextOverflow = Literal["drop", "summarise"]
ToolPermission = Literal["ask", "allow", "off"]
SearchBackend = Literal["none", "searxng", "exa", "you"]

DEFAULT_EXCLUDE: Final = (
    ".env",
    ".env.*",
    ".envrc",
    "*.pem",
    "*.key",
    "*.p12",
    "*.pfx",
    "*.keystore",
    "*.kdbx",
    "*.asc",
    "*.gpg",
    "id_rsa*",
    "id_dsa*",
    "id_ecdsa*",
    "id_ed25519*",
    ".netrc",
    "_netrc",
    ".npmrc",
    ".pypirc",
    ".pgpass",
    ".htpasswd",
    "*.tfvars",
    "*.tfstate",
    "secrets.json",
    "secrets.toml",
    "secrets.yaml",
    "secrets.yml",
    "credentials",
    "credentials.json",
    ".ssh/**",
    ".gnupg/**",
    ".aws/**",
    ".kube/**",
)


def _blank_is_none(value: object) -> object:
    return None if isinstance(value, str) and not value.strip() else value


def _list_is_tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


class _Section(BaseModel):
    """What all sections share: immutable, camelCase outside, nothing unknown accepted, no guessing between types."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        frozen=True,
        strict=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        protected_namespaces=(),
    )


class FimMarkersSettings(_Section):
    """The fill-in-the-middle markers of a model whose family harmony-ls does not recognise."""

    prefix: str = Field(min_length=1, json_schema_extra=USER_SCOPE)
    """The marker before the text that precedes the cursor, for example `<|fim_prefix|>`. It must be one token of the
    model's vocabulary."""

    suffix: str = Field(min_length=1, json_schema_extra=USER_SCOPE)
    """The marker before the text that follows the cursor, for example `<|fim_suffix|>`."""

    middle: str = Field(min_length=1, json_schema_extra=USER_SCOPE)
    """The marker after which the model writes, for example `<|fim_middle|>`."""

    order: FimOrder = Field(default="psm", json_schema_extra=USER_SCOPE)
    """The order that the model was trained on: `psm` (prefix, suffix, middle; most models) or `spm` (suffix, prefix,
    middle)."""


class InlineCompletionSettings(_Section):
    """The grey text that appears at the cursor while typing."""

    enabled: bool = True
    """Offer inline completions at all."""

    trigger: Trigger = "automatic"
    """`automatic` offers while you type and when you ask; `invoked` offers only when you ask, by your editor's key
    or command for it."""

    eagerness: Eagerness = "normal"
    """How sure the model must be before something is shown: the probability that it gives the beginning of its text
    (its first six tokens together) is at least 0.5 with `quiet`, 0.25 with `normal`, 0.1 with `eager`. These limits
    were read off the embedded model's calibration. They mean the same for any model whose probabilities can be
    believed; one that was tuned for chat is often surer than it is right and shows more wrong text.
    `harmony-ls bench inline --model … --report` draws how far a model can be believed."""

    max_lines: int = Field(default=12, ge=1, le=100)
    """The longest offer, in lines. Longer ones are cut at the end of a statement where there is one. Beyond a dozen
    lines reading costs more than typing saves."""

    max_tokens: int = Field(default=64, ge=1, le=512, json_schema_extra=USER_SCOPE)
    """The longest offer, in tokens of the model (a token is about four characters of code). 64 is what a laptop
    writes within the deadline."""

    deadline_ms: int = Field(default=600, ge=50, le=10_000)
    """Milliseconds after which the server answers with what it has. VS Code drops answers that take longer than
    750 ms, hence 600. Completions that you ask for by a command wait longer."""

    prefix_tokens: int | None = Field(default=None, ge=16, le=32_768, json_schema_extra=USER_SCOPE)
    """How much text before the cursor the model reads, in tokens. Unset: what suits the model and the machine.
    The text is kept in the model's cache, so a larger value costs memory and the first request, not each key."""

    suffix_tokens: int | None = Field(default=None, ge=0, le=32_768, json_schema_extra=USER_SCOPE)
    """How much text after the cursor the model reads, in tokens. Unset: what suits the model and the machine.
    0 shows the model nothing of what follows."""

    layout: PromptLayout = "auto"
    """The order of the parts of the prompt, which decides how much of it must be computed again for each key:
    `spm` (suffix first), `psm` (prefix first), `lineAfterMiddle` (prefix first, with the line being typed after the
    middle marker). `auto` takes the fastest that the model fills test holes with as well as with any other."""

    fim: FimMarkersSettings | None = Field(default=None, json_schema_extra=USER_SCOPE)
    """Fill-in-the-middle markers for a model that is not recognised. Unset: they are detected from the vocabulary."""

    completion_fallback: CompletionFallback = "auto"
    """Offer the same text in the ordinary completion list (`textDocument/completion`): `auto` does so where the
    editor has no inline completions, `always` in addition to them, `never` not at all."""

    exclude: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=300)], ...], BeforeValidator(_list_is_tuple)
    ] = Field(default=DEFAULT_EXCLUDE, max_length=1000, json_schema_extra=WORKSPACE_ADDS)
    """Files in which nothing is offered and which the model never reads: globs that name a file or a folder at any
    depth, compared without regard to case; `*` stays within one name, `**` stands for any folders. The default names
    the usual secrets. A list in your own settings replaces the default; one in a workspace's `pyproject.toml` is added
    to it."""

    max_document_kb: int = Field(default=2048, ge=1, le=65_536, json_schema_extra=USER_SCOPE)
    """Nothing is offered in documents larger than this many kilobytes: they are generated files, hardly ever typed
    into."""


class ChatSettings(_Section):
    """Conversations with a model, in a terminal or an editor."""

    model: Annotated[str | None, BeforeValidator(_blank_is_none)] = Field(default=None, json_schema_extra=USER_SCOPE)
    """The model that you chat with: a folder, or the name of an MLX model on the Hugging Face Hub, such as
    `mlx-community/gpt-oss-20b-MXFP4-Q8`. Unset: the one that `model` names. The small model inside the package only
    completes code."""

    effort: ReasoningEffort = "medium"
    """How much a reasoning model thinks before it answers. GPT-OSS knows all three; other models are told to think or
    not to think where their chat template can say so, and `low` means that they are not."""

    instructions: str = Field(default="", max_length=100_000)
    """What the model is told before every conversation, in addition to what harmony-ls tells it."""

    temperature: float | None = Field(default=None, ge=0, le=5, json_schema_extra=USER_SCOPE)
    """How freely the next token is chosen; 0 always takes the likeliest. Unset: what the model's makers recommend in
    its `generation_config.json`, else 1 for GPT-OSS and 0.7 for others."""

    top_p: float | None = Field(default=None, gt=0, le=1, json_schema_extra=USER_SCOPE)
    """Choose among the likeliest tokens that together have this probability. Unset: as for `temperature`, else 1."""

    top_k: int | None = Field(default=None, ge=0, le=1_000_000, json_schema_extra=USER_SCOPE)
    """Choose among so many likeliest tokens. 0 means all. Unset: as for `temperature`, else 0."""

    min_p: float | None = Field(default=None, ge=0, le=1, json_schema_extra=USER_SCOPE)
    """Leave out tokens that are less likely than this share of the likeliest one. Unset: as for `temperature`, else
    0."""

    max_tokens: int = Field(default=8192, ge=1, le=1_000_000, json_schema_extra=USER_SCOPE)
    """The longest that a model may write in one go, reasoning included, in tokens."""

    max_tool_calls: int = Field(default=32, ge=0, le=10_000, json_schema_extra=USER_SCOPE)
    """How many tool calls one turn may make before it is ended."""

    max_turn_tokens: int = Field(default=65_536, ge=1, le=10_000_000, json_schema_extra=USER_SCOPE)
    """The most that a model may write in one turn, all its goes together, in tokens."""

    max_turn_seconds: float = Field(default=1800, gt=0, le=86_400, json_schema_extra=USER_SCOPE)
    """How long one turn may take, in seconds. The time in which a question waits for your answer is not counted."""

    context_overflow: ContextOverflow = "drop"
    """What happens to the oldest turns when a conversation outgrows the model's context: `drop` leaves them out,
    `summarise` has the model sum them up first. You are told either way."""


class ToolSettings(_Section):
    """What the model may do. `ask` shows you what would happen and waits, `allow` does not ask, `off` hides the tool
    from the model."""

    apply_patch: ToolPermission = Field(default="ask", json_schema_extra=USER_SCOPE)
    """Change, create, move and delete files of the workspace."""

    browser: ToolPermission = Field(default="off", json_schema_extra=OWN_SCOPE)
    """Search the web and read pages. What the model asks for leaves your machine, hence `off`. `ask` shows you the
    whole address, and your answer can hold for its domain; addresses that could carry your text away are always asked
    for: long ones, and those that the model makes up after it has read a page. Taken only from your `config.toml`
    and the command line."""

    python: ToolPermission = Field(default="ask", json_schema_extra=OWN_SCOPE)
    """Run Python code in a Docker container that has no network and sees none of your files. Without Docker there is
    no such tool: code never runs outside a container. Taken only from your `config.toml` and the command line."""

    python_image: str = Field(default="python:3.12-slim", min_length=1, max_length=500, json_schema_extra=OWN_SCOPE)
    """The Docker image that Python runs in. It needs nothing but `python3`, 3.9 or newer; what else it holds can be
    imported. It is never fetched unasked. Taken only from your `config.toml` and the command line."""

    python_memory_mb: int = Field(default=1024, ge=64, le=1_048_576, json_schema_extra=USER_SCOPE)
    """How much memory Python may use, in megabytes; files that it keeps count too, and get a quarter of it at most."""

    python_seconds: float = Field(default=120, gt=0, le=86_400, json_schema_extra=USER_SCOPE)
    """How long one piece of Python code may run, in seconds. GPT-OSS was trained with 120."""

    docker_host: Annotated[
        Annotated[str, Field(pattern=r"^(unix|tcp)://.+")] | None, BeforeValidator(_blank_is_none)
    ] = Field(default=None, json_schema_extra=OWN_SCOPE)
    """The Docker engine that runs Python: `unix://` and the path of a socket, or `tcp://` and an address. Unset: the
    socket that the environment's `DOCKER_HOST` names, or one of the usual ones; never another machine. Taken only from
    your `config.toml` and the command line."""


class BrowserSettings(_Section):
    """How the model searches the web and which pages it may read, once `tools.browser` is on."""

    search_backend: SearchBackend = Field(default="none", json_schema_extra=OWN_SCOPE)
    """Who answers searches: `searxng` (an instance of yours, with `json` among the formats of its settings), `exa` or
    `you` (services that need a key; they are asked as their documentation says, which was tested without the services
    themselves). `none`: the model can open pages but not search."""

    search_endpoint: Annotated[str | None, BeforeValidator(_blank_is_none)] = Field(
        default=None, pattern=r"^https?://[^\s/?#@]+(/[^\s?#]*)?$", max_length=2000, json_schema_extra=OWN_SCOPE
    )
    """The address that searches go to, such as `http://localhost:8888/search`. `searxng` needs it; unset, `exa` and
    `you` are asked at their own. It may be on your machine or in your network."""

    search_key: Annotated[str | None, BeforeValidator(_blank_is_none)] = Field(
        default=None, pattern=r"^[\x21-\x7e]+$", max_length=1000, repr=False, json_schema_extra=OWN_SCOPE
    )
    """The key of the search service. It is sent to the search service alone, and never logged."""

    allowed_hosts: Annotated[
        tuple[Annotated[str, Field(pattern=r"^(\[[0-9a-fA-F:.]+\]|[^\s/:@\[\]]+):[0-9]{1,5}$")], ...],
        BeforeValidator(_list_is_tuple),
    ] = Field(default=(), max_length=100, json_schema_extra=OWN_SCOPE | {"listOf": "hosts with ports"})
    """Hosts on your machine or in your network that the model may read pages from, each with its port, such as
    `localhost:8000`. All other addresses that are not public are refused, however they are spelled."""


class EngineSettings(_Section):
    """How the model is run. The defaults suit; these are for measuring and for unusual machines."""

    prefill_step_tokens: int = Field(default=256, ge=16, le=4096, json_schema_extra=USER_SCOPE)
    """How many prompt tokens are computed in one step. A completion can overtake other work only between two steps,
    so a larger value reads long prompts a little faster and makes keys wait longer. Takes effect when the server
    starts."""

    prompt_cache_mb: int = Field(default=1024, ge=0, le=1_048_576, json_schema_extra=USER_SCOPE)
    """Memory for the state of prompts that were already read, in megabytes. The oldest state is dropped beyond it.
    0 keeps none, and every key then reads the whole prompt again. Takes effect when the server starts."""


class Settings(_Section):
    """Everything that can be set. ``Settings()`` holds the defaults."""

    model: Annotated[str | None, BeforeValidator(_blank_is_none)] = Field(default=None, json_schema_extra=USER_SCOPE)
    """The model that completes: a folder, or the name of an MLX model on the Hugging Face Hub, such as
    `mlx-community/Qwen2.5-Coder-1.5B-4bit`. Unset: the small model that is part of harmony-ls."""

    trust_remote_code: bool = Field(default=False, json_schema_extra=OWN_SCOPE)
    """Run the Python code that some models bring with them. It runs with all your rights: read it first. Taken only
    from your `config.toml` and from `harmony-ls lsp --trust-remote-code`: what an editor sends may come from a
    repository."""

    memory_budget_gb: float | None = Field(default=None, gt=0, le=4096, json_schema_extra=USER_SCOPE)
    """The most memory that resident models may take, in gigabytes. A model that needs more is refused with a message.
    Unset: most of what the machine has."""

    idle_unload_minutes: float = Field(default=0, ge=0, le=10_080, json_schema_extra=USER_SCOPE)
    """Unload the model after so many minutes without work; the next request loads it again. 0 keeps it."""

    log_level: LogLevel = Field(default="info", json_schema_extra=USER_SCOPE)
    """How much is logged. Only `debug` writes code and prompts into the log."""

    inline_completion: InlineCompletionSettings = InlineCompletionSettings()
    """The grey text that appears at the cursor while typing."""

    chat: ChatSettings = ChatSettings()
    """Conversations with a model, in a terminal or an editor."""

    tools: ToolSettings = ToolSettings()
    """What the model may do."""

    browser: BrowserSettings = BrowserSettings()
    """How the model searches the web and which pages it may read, once `tools.browser` is on."""

    engine: EngineSettings = EngineSettings()
    """How the model is run."""
