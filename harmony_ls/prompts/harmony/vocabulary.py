"""Harmony's vocabulary without a download: where a copy of it lies, and how a GPT-OSS model's own files make one.

openai_harmony needs the ranks that OpenAI publishes as ``o200k_base.tiktoken``. Left alone it would download them, and
hold up the whole process for as long as the network takes. Here it is given a verified file, whatever happens: nothing
in this module uses the network. Finding and loading take up to a few seconds and block; call them in a thread.
"""

import base64
import functools
import hashlib
import json
import os
import re
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from harmony_ls.errors import ModelError

if TYPE_CHECKING:
    from openai_harmony import HarmonyEncoding  # type: ignore[import-untyped]

__all__ = ["FILE_NAME", "N_RANKS", "SHA256", "derive_vocabulary", "find_vocabulary", "load_encoding"]

FILE_NAME = "o200k_base.tiktoken"
SHA256 = "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d"
N_RANKS = 199_998
"""How many tokens the file has; the special tokens of Harmony come after them."""

_N_BYTES = 3_613_922
_URL = f"https://openaipublic.blob.core.windows.net/encodings/{FILE_NAME}"
# tiktoken's caches name a file by the hash of its address.
_CACHED_NAME = "fb374d419588a4632f3f557e76b4b70aebbca790"
_MAX_TOKENIZER_BYTES = 256 * 2**20
# In JSON no quotation mark stands inside a string without a backslash, so this is never the inside of a token.
_VOCABULARY_KEY = re.compile(r'"vocab"\s*:\s*(?=\{)')
# Only one thread may set the variable that openai_harmony reads, and two need not load the same thing.
_LOADING = threading.Lock()


def find_vocabulary(
    environment: Mapping[str, str],
    *,
    setting: Path | None = None,
    model_folder: Path | None = None,
    cache_folder: Path | None = None,
) -> Path:
    """A verified ``o200k_base.tiktoken``: the one that a person named, our copy, another program's, or a derived one.

    ``setting`` is a file or its folder. ``environment`` is where the variables of tiktoken are looked up.
    ``model_folder`` is that of a GPT-OSS model. What is derived, or lies under another name, is put into
    ``cache_folder`` (by default the user's). Raises ModelError, with what to do, where nothing can be found.
    """
    folder = cache_folder or platformdirs.user_cache_path("harmony-ls")
    if setting is not None:
        named = setting / FILE_NAME if setting.is_dir() else setting
        if fault := _fault(named):
            raise ModelError(f"{named} is not Harmony's vocabulary: {fault}. It is published as {_URL}.")
        return _under_its_name(named, folder)
    own = folder / FILE_NAME
    if not _fault(own):
        return own
    for copy in _copies_of_others(environment):
        if not _fault(copy):
            return _under_its_name(copy, folder)
    try:
        if model_folder is None:
            raise ModelError("there is no GPT-OSS model to derive it from")
        content = derive_vocabulary(model_folder / "tokenizer.json")
    except ModelError as error:
        raise ModelError(
            f"Harmony's vocabulary is not on this machine, and {error}. Put the file {FILE_NAME}, published as {_URL}, "
            f"into {folder}."
        ) from error
    return _installed(content, folder)


def derive_vocabulary(tokenizer_json: Path) -> bytes:
    """The content of ``o200k_base.tiktoken`` as the ``tokenizer.json`` of a GPT-OSS model spells it, verified.

    Raises ModelError where the file cannot be read or has another vocabulary; the message is a clause of a sentence.
    """
    try:
        if tokenizer_json.stat().st_size > _MAX_TOKENIZER_BYTES:
            raise ModelError(f"{tokenizer_json} is too large to derive it from")
        text = tokenizer_json.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"{tokenizer_json} cannot be read to derive it ({error})") from error
    ranked = _ranked_tokens(text)
    content = b"".join(b"%b %d\n" % (base64.b64encode(token), rank) for rank, token in enumerate(ranked))
    if _hash(content) != SHA256:
        raise ModelError(f"{tokenizer_json} has another vocabulary, so that it cannot be derived")
    return content


def load_encoding(path: Path) -> "HarmonyEncoding":
    """openai_harmony's encoding over the vocabulary at ``path``, a file called ``o200k_base.tiktoken``.

    It is loaded once per process and shared; any thread may use it. Raises ModelError for any other file.
    """
    with _LOADING:
        return _load(path.absolute())


@functools.cache
def _load(path: Path) -> "HarmonyEncoding":
    if path.name != FILE_NAME:
        raise ModelError(f"{path} must be called {FILE_NAME}, since openai_harmony looks for that name.")
    if fault := _fault(path):
        raise ModelError(f"{path} is not Harmony's vocabulary: {fault}.")
    from openai_harmony import HarmonyEncodingName, HarmonyError, load_harmony_encoding

    # The one way to tell openai_harmony where the file is. While it is set, a download is never tried.
    variable = "TIKTOKEN_ENCODINGS_BASE"
    before = os.environ.get(variable)
    os.environ[variable] = str(path.parent)
    try:
        return load_harmony_encoding(HarmonyEncodingName.HARMONY_GPT_OSS)
    except HarmonyError as error:
        raise ModelError(f"{path} cannot be loaded: {error}") from error
    finally:
        if before is None:
            del os.environ[variable]
        else:
            os.environ[variable] = before


def _copies_of_others(environment: Mapping[str, str]) -> Iterator[Path]:
    """Where tiktoken, in Rust and in Python, keeps the file or is told to look for it. Nothing is changed there."""
    if base := environment.get("TIKTOKEN_ENCODINGS_BASE"):
        yield Path(base) / FILE_NAME
    for variable in ("TIKTOKEN_RS_CACHE_DIR", "TIKTOKEN_CACHE_DIR", "DATA_GYM_CACHE_DIR"):
        if folder := environment.get(variable):
            yield Path(folder) / _CACHED_NAME
    temporary = Path(environment.get("TMPDIR") or "/tmp")
    for default in ("tiktoken-rs-cache", "data-gym-cache"):
        yield temporary / default / _CACHED_NAME


def _fault(path: Path) -> str:
    """What is wrong with a file that should be the vocabulary; empty if nothing is."""
    try:
        if not path.is_file():
            return "there is no such file"
        # The size is looked at first, so that only a file of the right size is ever read.
        if (n_bytes := path.stat().st_size) != _N_BYTES:
            return f"it has {n_bytes:,} bytes instead of {_N_BYTES:,}"
        digest = _hash(path.read_bytes())
    except OSError as error:
        return f"it cannot be read ({error.strerror or error})"
    return "" if digest == SHA256 else f"its sha256 is {digest} instead of {SHA256}"


def _under_its_name(path: Path, folder: Path) -> Path:
    """``path`` itself where openai_harmony would find it, else a copy in ``folder``."""
    if path.name == FILE_NAME:
        return path
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror or error}).") from error
    return _installed(content, folder)


def _installed(content: bytes, folder: Path) -> Path:
    """Write the file so that it is there whole or not at all, even if the machine stops in the middle."""
    target = folder / FILE_NAME
    if _hash(content) != SHA256:
        raise ModelError(f"The copy of {FILE_NAME} changed while it was read. Try again.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=folder, prefix=f".{FILE_NAME}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as error:
        raise ModelError(
            f"Harmony's vocabulary cannot be kept in {folder} ({error.strerror or error}). Make the folder writable."
        ) from error
    return target


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _ranked_tokens(text: str) -> list[bytes]:
    """The bytes of the tokens of a ``tokenizer.json`` in the order of their ranks; empty where it is none of this kind.

    Only the vocabulary is parsed: the merges behind it are most of the file. Added tokens have ids above the ranks.
    """
    key = _VOCABULARY_KEY.search(text)
    if key is None:
        return []
    try:
        vocabulary, _ = json.JSONDecoder().raw_decode(text, key.end())
    except (ValueError, RecursionError):
        return []
    tokens: list[bytes] = [b""] * N_RANKS
    alphabet = _byte_alphabet()
    for literal, rank in vocabulary.items():
        if isinstance(rank, int) and 0 <= rank < N_RANKS:
            tokens[rank] = literal.translate(alphabet).encode("latin-1", "replace")
    return tokens


def _byte_alphabet() -> dict[int, int]:
    """From the characters by which byte-level BPE writes the 256 bytes (GPT-2's table) to the bytes."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    unprintable = sorted(set(range(256)) - set(printable))
    return {256 + index: byte for index, byte in enumerate(unprintable)} | {byte: byte for byte in printable}
