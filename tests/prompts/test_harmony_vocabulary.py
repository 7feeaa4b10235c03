"""Harmony's vocabulary is found, derived and verified without a network, and openai_harmony is given nothing else."""

import json
import os
import shutil
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from harmony_ls.errors import ModelError
from harmony_ls.prompts.harmony import vocabulary
from harmony_ls.prompts.harmony.vocabulary import FILE_NAME, SHA256, derive_vocabulary, find_vocabulary, load_encoding
from tests.harmony_vocabulary import published_ranks, unpack_vocabulary
from tests.real_gpt_oss import write_real_tokenizer

CACHED_NAME = "fb374d419588a4632f3f557e76b4b70aebbca790"
VARIABLE = "TIKTOKEN_ENCODINGS_BASE"


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tokenizer of a GPT-OSS model, and nothing else."""
    return write_real_tokenizer(tmp_path_factory.mktemp("gpt-oss"), published_ranks()).parent


@pytest.fixture
def nowhere(tmp_path: Path) -> dict[str, str]:
    """An environment in which no other program has left the vocabulary."""
    return {"TMPDIR": str(tmp_path / "tmp")}


def content_is_right(path: Path) -> bool:
    return vocabulary._hash(path.read_bytes()) == SHA256


def test_it_is_derived_from_the_model_and_kept(tmp_path: Path, nowhere: dict[str, str], model_folder: Path) -> None:
    cache = tmp_path / "cache" / "harmony-ls"
    path = find_vocabulary(nowhere, model_folder=model_folder, cache_folder=cache)
    assert path == cache / FILE_NAME
    assert content_is_right(path)
    assert [file.name for file in cache.iterdir()] == [FILE_NAME]
    # The second time no model is needed.
    assert find_vocabulary(nowhere, cache_folder=cache) == path


def test_a_damaged_copy_of_ours_is_replaced(tmp_path: Path, nowhere: dict[str, str], model_folder: Path) -> None:
    path = unpack_vocabulary(tmp_path)
    damaged = bytearray(path.read_bytes())
    damaged[1000] ^= 1
    path.write_bytes(damaged)
    assert find_vocabulary(nowhere, model_folder=model_folder, cache_folder=tmp_path) == path
    assert content_is_right(path)


def in_base(folder: Path) -> dict[str, str]:
    unpack_vocabulary(folder / "base")
    return {VARIABLE: str(folder / "base")}


def in_cache_of_rust(folder: Path) -> dict[str, str]:
    unpack_vocabulary(folder / "rust", CACHED_NAME)
    return {"TIKTOKEN_RS_CACHE_DIR": str(folder / "rust")}


def in_cache_of_python(folder: Path) -> dict[str, str]:
    unpack_vocabulary(folder / "python", CACHED_NAME)
    return {"TIKTOKEN_CACHE_DIR": str(folder / "python")}


def in_temporary_folder(folder: Path) -> dict[str, str]:
    unpack_vocabulary(folder / "other" / "tiktoken-rs-cache", CACHED_NAME)
    return {"TMPDIR": str(folder / "other")}


@pytest.mark.parametrize("place", [in_base, in_cache_of_rust, in_cache_of_python, in_temporary_folder])
def test_copies_of_other_programs_are_used(
    tmp_path: Path, nowhere: dict[str, str], place: Callable[[Path], dict[str, str]]
) -> None:
    path = find_vocabulary(nowhere | place(tmp_path), cache_folder=tmp_path / "cache")
    assert path.name == FILE_NAME
    assert content_is_right(path)
    assert (path.parent == tmp_path / "cache") == (place is not in_base)


def test_wrong_copies_of_other_programs_are_left_alone(tmp_path: Path, model_folder: Path) -> None:
    wrong = [
        tmp_path / "rust" / CACHED_NAME,
        tmp_path / "base" / FILE_NAME,
        tmp_path / "tiktoken-rs-cache" / CACHED_NAME,
    ]
    for file in wrong:
        file.parent.mkdir()
        file.write_bytes(b"IQ== 0\n" * 500_000)
    environment = {
        "TIKTOKEN_RS_CACHE_DIR": str(tmp_path / "rust"),
        VARIABLE: str(tmp_path / "base"),
        "TMPDIR": str(tmp_path),
    }
    path = find_vocabulary(environment, model_folder=model_folder, cache_folder=tmp_path / "cache")
    assert path == tmp_path / "cache" / FILE_NAME
    assert all(file.stat().st_size == 3_500_000 for file in wrong)


def test_what_a_person_named_comes_first(tmp_path: Path, nowhere: dict[str, str]) -> None:
    unpack_vocabulary(tmp_path / "cache")
    named = unpack_vocabulary(tmp_path / "named")
    find = {"environment": nowhere, "cache_folder": tmp_path / "cache"}
    assert find_vocabulary(setting=named, **find) == named  # type: ignore[arg-type]
    assert find_vocabulary(setting=named.parent, **find) == named  # type: ignore[arg-type]
    renamed = named.rename(tmp_path / "ranks.txt")
    assert find_vocabulary(setting=renamed, **find) == tmp_path / "cache" / FILE_NAME  # type: ignore[arg-type]
    renamed.write_bytes(b"short")
    for wrong, why in [(renamed, "5 bytes instead of"), (tmp_path / "missing", "no such file")]:
        with pytest.raises(ModelError, match=why):
            find_vocabulary(setting=wrong, **find)  # type: ignore[arg-type]


def write(folder: Path, content: bytes) -> Path:
    (folder / "tokenizer.json").write_bytes(content)
    return folder


UNFIT = {
    "missing": (None, "cannot be read"),
    "empty": (b"", "another vocabulary"),
    "no JSON": (b'{"model": {"vocab": {"a": 0, ', "another vocabulary"),
    "no vocabulary": (b'{"model": {"type": "Unigram", "vocab": [["a", -1.5]]}}', "another vocabulary"),
    "another": (b'{"model": {"vocab": {"a": 0, "b": "x", "c": -1, "d": 1e9}}}', "another vocabulary"),
    "too deep": (b'{"model": {"vocab": {"a": ' + b"[" * 100_000, "another vocabulary"),
    "no text": (b"\xff\xfe\x00", "cannot be read"),
}


@pytest.mark.parametrize("kind", UNFIT)
def test_a_model_that_does_not_have_it_is_named_with_the_reason(
    tmp_path: Path, nowhere: dict[str, str], kind: str
) -> None:
    content, why = UNFIT[kind]
    folder = tmp_path if content is None else write(tmp_path, content)
    with pytest.raises(ModelError, match=why) as caught:
        find_vocabulary(nowhere, model_folder=folder, cache_folder=tmp_path / "cache")
    assert f"Put the file {FILE_NAME}" in str(caught.value)
    assert str(tmp_path / "cache") in str(caught.value)
    assert not (tmp_path / "cache").exists()


def test_without_a_model_the_reason_says_what_to_do(tmp_path: Path, nowhere: dict[str, str]) -> None:
    with pytest.raises(ModelError, match="no GPT-OSS model to derive it from"):
        find_vocabulary(nowhere, cache_folder=tmp_path / "cache")


def test_added_tokens_and_a_token_called_vocab_do_not_matter(tmp_path: Path, model_folder: Path) -> None:
    content = json.loads((model_folder / "tokenizer.json").read_text(encoding="utf-8"))
    content = {"note": 'not a "vocab": {', "vocab": 3, **content}
    content["model"]["vocab"] |= {"<|start|>": 200_006, "<|extra|>": 300_000}
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(content, ensure_ascii=True, indent=2), encoding="utf-8")
    assert vocabulary._hash(derive_vocabulary(path)) == SHA256


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path, nowhere: dict[str, str], model_folder: Path) -> None:
    (tmp_path / "file").write_text("no folder", encoding="utf-8")
    with pytest.raises(ModelError, match="cannot be kept in"):
        find_vocabulary(nowhere, model_folder=model_folder, cache_folder=tmp_path / "file" / "cache")


def test_a_folder_or_a_pipe_is_no_vocabulary(tmp_path: Path, nowhere: dict[str, str]) -> None:
    os.mkfifo(tmp_path / FILE_NAME)
    assert stat.S_ISFIFO((tmp_path / FILE_NAME).stat().st_mode)
    with pytest.raises(ModelError):
        find_vocabulary(nowhere, cache_folder=tmp_path)


def test_nothing_of_half_a_write_is_left(tmp_path: Path, nowhere: dict[str, str], model_folder: Path) -> None:
    (tmp_path / FILE_NAME / "in the way").mkdir(parents=True)
    with pytest.raises(ModelError, match="cannot be kept in"):
        find_vocabulary(nowhere, model_folder=model_folder, cache_folder=tmp_path)
    assert [file.name for file in tmp_path.iterdir() if file.name.startswith(".")] == []


@pytest.mark.parametrize("before", [None, "", "/somewhere/else"])
def test_loading_leaves_the_environment_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str | None
) -> None:
    if before is None:
        monkeypatch.delenv(VARIABLE, raising=False)
    else:
        monkeypatch.setenv(VARIABLE, before)
    path = unpack_vocabulary(tmp_path)
    encoding = load_encoding(path)
    assert encoding.encode("<|start|>", allowed_special="all") == [200006]
    assert os.environ.get(VARIABLE) == before
    # It is loaded once: the file is not needed again.
    shutil.rmtree(tmp_path)
    assert load_encoding(path) is encoding


def test_threads_share_one_encoding(tmp_path: Path) -> None:
    path = unpack_vocabulary(tmp_path)
    loaded: list[object] = []
    threads = [threading.Thread(target=lambda: loaded.append(load_encoding(path))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(loaded) == 4
    assert len(set(map(id, loaded))) == 1


def test_a_wrong_file_is_never_given_to_openai_harmony(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    path = unpack_vocabulary(tmp_path)
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelError, match="its sha256 is"):
        load_encoding(path)
    with pytest.raises(ModelError, match="no such file"):
        load_encoding(tmp_path / "missing" / FILE_NAME)
    with pytest.raises(ModelError, match="must be called"):
        load_encoding(unpack_vocabulary(tmp_path, CACHED_NAME))
    assert VARIABLE not in os.environ
