"""The models that ``harmony-ls bench lsp`` talks to, made by itself: what they say, and where they lie.

All but the one that completes in the soak say a text by heart (`harmony_ls.cli.bench.recitation`): so each token can be
counted by the client, and a turn really calls a tool.
"""

import json
from pathlib import Path
from typing import Final

from harmony_ls.cli.bench.recitation import Recitation
from harmony_ls.cli.bench.shapes import SHAPES, write_shape
from harmony_ls.engine.engine import Engine

__all__ = ["NOTES", "write_models"]

NOTES: Final = "NOTES = [\n]\n"
"""The file that the models change: ``notes.py``, of which every call makes one line more."""

_PATCH = """\
*** Begin Patch
*** Update File: notes.py
@@
 NOTES = [
+    "one more",
*** End Patch
"""
_PROSE = """\
A language server has one job above all others: it must never stand between a person and the next key. Whatever else
goes on, be it a long answer that is written token by token or a file that is read from a slow disk, a change of the
document is taken in at once, and what was asked before it is answered as of the text that it was asked about.
"""
_HARMONY_CALL = f"<|channel|>commentary to=functions.apply_patch<|message|>{_PATCH}<|call|>"
_CALL = f"""\
Like this:

```python
value = 1
```

<tool_call>{json.dumps({"name": "apply_patch", "arguments": {"input": _PATCH}})}</tool_call><|im_end|>"""

_MODELS: Final = {
    "chat": ("llama", Recitation(_PROSE, is_endless=True)),
    "deep-chat": ("llama-deep", Recitation(_PROSE, is_endless=True)),
    "calls": ("gpt-oss", Recitation(_HARMONY_CALL)),
    "soak-chat": ("tiny", Recitation(_CALL)),
    "soak-completion": ("tiny", None),
}
"""By name: the shape, and what it says. ``chat`` and ``deep-chat`` write prose without end, ``calls`` is a GPT-OSS that
calls ``apply_patch`` again and again, ``soak-chat`` writes prose, a piece of code and a call."""


async def write_models(engine: Engine, names: set[str], folder: Path) -> None:
    """Write the models of these names, each into the folder of its name."""
    for name in sorted(names):
        shape, recitation = _MODELS[name]
        await write_shape(engine, SHAPES[shape], folder / name, recitation)
