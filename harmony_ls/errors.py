"""The exceptions of harmony-ls.

    HarmonyLsError
    ├── UserError             a person can mend it; the message says what is wrong and what to do
    │   ├── SettingsError     settings that cannot be used
    │   ├── ModelError        a model that cannot be found, read or run
    │   │   └── ModelTooLargeError
    │   ├── MissingPackageError   a package that only an extra installs
    │   ├── PromptTooLongError
    │   └── WorkspaceError    a file that may not or cannot be read or changed
    │       └── PartlyAppliedError
    ├── PatchError            a patch that cannot be applied; the message is for the model that wrote it
    └── EngineClosedError     work was handed to an engine that is closing

Anything else that escapes is a bug: it is logged with its traceback, the request is answered with an internal error,
and the process lives on.
"""


class HarmonyLsError(Exception):
    """The root of all exceptions that harmony-ls raises on purpose."""


class UserError(HarmonyLsError):
    """Something a person can mend. The message is shown as it is: it names the fault and the remedy."""


class SettingsError(UserError):
    """Settings that cannot be used. The message lists every bad key."""


class ModelError(UserError):
    """A model that is missing, incomplete, not a model, or of an architecture that mlx-lm does not know."""


class ModelTooLargeError(ModelError):
    """A model whose weights do not fit the memory budget."""


class MissingPackageError(UserError):
    """A package that is not part of harmony-ls is needed; the message says how to install it."""


class PromptTooLongError(UserError):
    """A prompt that leaves no room for an answer within the model's context length."""


class WorkspaceError(UserError):
    """A file that may not or cannot be read or changed. The message names it, and says that nothing was changed where
    a change had begun."""


class PartlyAppliedError(WorkspaceError):
    """Changes of which some were made, or may have been. The message says what is known of each file."""


class PatchError(HarmonyLsError):
    """A patch that cannot be read or does not fit the files. Nothing was changed.

    The message is for the model that wrote it: what was received, what is expected, and the real lines.
    """


class EngineClosedError(HarmonyLsError):
    """Work was handed to an engine that is closing or closed."""
