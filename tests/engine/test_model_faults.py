"""Whatever is wrong with a model folder: a ModelError that names the fault and a remedy, and no traceback in it."""

import asyncio
import gc
import json
import os
import shutil
import subprocess
import sys
import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from harmony_ls.engine.engine import Engine
from harmony_ls.engine.models.model import ModelSpec
from harmony_ls.errors import ModelError, ModelTooLargeError
from tests.engine.engines import loaded
from tests.models import Rule, build_model, build_scripted_model

REMEDIES = ("Download the model again", "Name ", "name a local folder", "Choose", "choose", "convert it", "set it if")


async def refusal(reference: str, **options: object) -> ModelError:
    """The error with which a reference is refused; the engine lives on."""
    async with Engine() as engine:
        with pytest.raises(ModelError) as caught:
            await engine.load(ModelSpec(reference, **options))  # type: ignore[arg-type]
        assert engine.models == ()
    message = str(caught.value)
    assert "Traceback" not in message
    assert "\n" not in message
    assert len(message) < 700
    assert any(remedy in message for remedy in REMEDIES), message
    return caught.value


def edit_json(file: Path, **changes: object) -> None:
    content = json.loads(file.read_text())
    content.update(changes)
    file.write_text(json.dumps(content))


def drop_key(file: Path, key: str) -> None:
    content = json.loads(file.read_text())
    del content[key]
    file.write_text(json.dumps(content))


def rewrite_header(file: Path, change: Callable[[dict[str, dict[str, object]]], object]) -> None:
    """Change the header of a safetensors file and keep its data."""
    data = file.read_bytes()
    n_header = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + n_header])
    change(header)
    new = json.dumps(header).encode()
    file.write_bytes(len(new).to_bytes(8, "little") + new + data[8 + n_header :])


def swap_shape(header: dict[str, dict[str, object]]) -> None:
    tensor = header["model.layers.0.mlp.gate_proj.weight"]
    tensor["shape"] = list(reversed(tensor["shape"]))  # type: ignore[call-overload]


CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty folder": (lambda f: [file.unlink() for file in f.iterdir()], "no config.json"),
    "no config": (lambda f: (f / CONFIG).unlink(), "no config.json"),
    "config is a folder": (lambda f: ((f / CONFIG).unlink(), (f / CONFIG).mkdir()), "cannot be read"),
    "broken JSON": (lambda f: (f / CONFIG).write_text('{"model_type": '), "cannot be read"),
    "no UTF-8": (lambda f: (f / CONFIG).write_bytes(b"\xff\xfe{"), "cannot be read"),
    "deep JSON": (lambda f: (f / CONFIG).write_text("[" * 100_000), "cannot be read"),
    "a list": (lambda f: (f / CONFIG).write_text("[]"), "names no model_type"),
    "no model_type": (lambda f: drop_key(f / CONFIG, "model_type"), "names no model_type"),
    "unknown model_type": (lambda f: edit_json(f / CONFIG, model_type="nothing_known"), "does not know"),
    "model_type is a path": (lambda f: edit_json(f / CONFIG, model_type="../../evil"), "does not know"),
    "model_type is a module path": (lambda f: edit_json(f / CONFIG, model_type="llama.os"), "does not know"),
    "model_type is no model": (lambda f: edit_json(f / CONFIG, model_type="cache"), "cannot load"),
    "model_type is a list": (lambda f: edit_json(f / CONFIG, model_type=["llama"]), "does not know"),
    "model_type is null": (lambda f: edit_json(f / CONFIG, model_type=None), "does not know"),
    "a missing key": (lambda f: drop_key(f / CONFIG, "hidden_size"), "cannot load"),
    "sizes that are text": (lambda f: edit_json(f / CONFIG, hidden_size="64"), "cannot load"),
    "no heads": (lambda f: edit_json(f / CONFIG, num_attention_heads=0, head_dim=None), "cannot load"),
    "wrong quantisation": (lambda f: edit_json(f / CONFIG, quantization={"bits": 4}), "cannot load"),
    "no weights": (lambda f: (f / WEIGHTS).unlink(), "has no weights"),
    "pickled weights": (lambda f: (f / WEIGHTS).rename(f / "pytorch_model.bin"), ".bin"),
    "a missing shard": (
        lambda f: (f / INDEX).write_text(json.dumps({"weight_map": {"a": WEIGHTS, "b": "model-2.safetensors"}})),
        "model-2.safetensors",
    ),
    "broken index": (lambda f: (f / INDEX).write_text('{"weight_map": ["x"]}'), "cannot be read"),
    "index of nonsense": (lambda f: (f / INDEX).write_text('{"weight_map": {"a": [1]}}'), "missing"),
    "empty weights": (lambda f: (f / WEIGHTS).write_bytes(b""), "cut short"),
    "truncated weights": (lambda f: (f / WEIGHTS).write_bytes((f / WEIGHTS).read_bytes()[:-1000]), "cut short by 1000"),
    "truncated header": (lambda f: (f / WEIGHTS).write_bytes((f / WEIGHTS).read_bytes()[:100]), "cut short"),
    "garbage header": (lambda f: (f / WEIGHTS).write_bytes((64).to_bytes(8, "little") + b"\xff" * 5000), "damaged"),
    "garbage": (lambda f: (f / WEIGHTS).write_bytes(b"version https://git-lfs.github.com/spec/v1\n"), "cut short"),
    "offsets of nonsense": (
        lambda f: rewrite_header(f / WEIGHTS, lambda h: h["model.norm.weight"].update(data_offsets=[])),
        "damaged",
    ),
    "a missing tensor": (lambda f: rewrite_header(f / WEIGHTS, lambda h: h.pop("model.norm.weight")), "cannot load"),
    "an unknown tensor": (
        lambda f: rewrite_header(f / WEIGHTS, lambda h: h.update(surplus=h["model.norm.weight"])),
        "cannot load",
    ),
    "a wrong shape": (lambda f: rewrite_header(f / WEIGHTS, swap_shape), "cannot load"),
    "other layers": (lambda f: edit_json(f / CONFIG, num_hidden_layers=40), "cannot load"),
    "no tokenizer": (lambda f: [file.unlink() for file in f.glob("tokenizer*")], "no tokenizer"),
    "broken tokenizer": (lambda f: (f / "tokenizer.json").write_text("{"), "tokenizer"),
    "a tokenizer of nothing": (lambda f: (f / "tokenizer.json").write_text("{}"), "tokenizer"),
    "a tokenizer that brings code": (
        lambda f: (
            edit_json(f / "tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.Evil", None]}),
            edit_json(f / "tokenizer_config.json", tokenizer_class="Evil"),
            (f / "evil.py").write_text("raise SystemExit('code of the model ran')"),
        ),
        "",
    ),
    "its own program": (lambda f: edit_json(f / CONFIG, model_file="../evil.py"), "trustRemoteCode"),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_is_named_with_its_remedy(fault: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = build_model(tmp_path / "model", "llama")
    damage, words = FAULTS[fault]
    damage(folder)
    if fault == "a tokenizer that brings code":
        # Without the code there is a tokenizer.json that serves as well; either way nothing of it runs.
        async with Engine() as engine:
            with suppress(ModelError):
                model = await engine.load(ModelSpec(str(folder)))
                assert model.tokenizer.encode("def")
        return
    error = await refusal(str(folder))
    assert words in str(error)
    assert "Traceback" not in capfd.readouterr().out


async def test_code_of_a_model_does_not_run_before_it_is_trusted(tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    folder = build_scripted_model(tmp_path / "model", [Rule("x", "y")])
    program = folder / "scripted.py"
    program.write_text(f"from pathlib import Path\nPath({str(witness)!r}).touch()\n" + program.read_text())
    await refusal(str(folder))
    assert not witness.exists()
    async with loaded(folder):
        assert witness.exists()


AUTO_MAP = {"AutoTokenizer": ["evil.Evil", "evil.Evil"], "AutoConfig": "evil.Evil", "AutoModel": "evil.Evil"}
INVITATIONS: dict[str, Callable[[Path], object]] = {
    "a class of the tokenizer": lambda f: edit_json(f / TOKENIZER_CONFIG, auto_map=AUTO_MAP, tokenizer_class="Evil"),
    "a class of the model": lambda f: edit_json(f / CONFIG, auto_map=AUTO_MAP, architectures=["Evil"]),
    "a word for itself": lambda f: [
        edit_json(f / name, auto_map=AUTO_MAP, trust_remote_code=True) for name in (CONFIG, TOKENIZER_CONFIG)
    ],
    "no tokenizer.json": lambda f: (
        edit_json(f / TOKENIZER_CONFIG, auto_map=AUTO_MAP, tokenizer_class="Evil"),
        (f / "tokenizer.json").rename(f / "vocab.json"),
    ),
    "a chat template of Python": lambda f: edit_json(f / TOKENIZER_CONFIG, chat_template_type="evil"),
    "a tool parser of Python": lambda f: edit_json(f / TOKENIZER_CONFIG, tool_parser_type="evil"),
    "an architecture of that name": lambda f: edit_json(f / CONFIG, model_type="evil"),
}


@pytest.mark.parametrize("invitation", INVITATIONS)
async def test_nothing_invites_code_of_a_folder(
    invitation: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the model loads without its code or is refused: the code does not run, and no question is asked."""
    folder, witness = build_model(tmp_path / "model", "llama"), tmp_path / "witness"
    for name in ("evil.py", "__init__.py", "modeling_evil.py", "sitecustomize.py"):
        (folder / name).write_text(f"open({str(witness)!r}, 'w').close()\nclass Evil:\n    pass\n")
    INVITATIONS[invitation](folder)
    # A process may well be started inside the folder.
    monkeypatch.chdir(folder)
    async with Engine() as engine:
        with suppress(ModelError):
            await engine.load(ModelSpec(str(folder)))
        with suppress(ModelError):
            await engine.load(ModelSpec(str(folder), draft=str(folder)))
    assert not witness.exists()


async def test_a_program_that_fails_is_a_fault_of_the_model(tmp_path: Path) -> None:
    folder = build_scripted_model(tmp_path / "model", [Rule("x", "y")])
    (folder / "scripted.py").write_text("import nothing_of_this_name")
    assert "nothing_of_this_name" in str(await refusal(str(folder), trust_remote_code=True))


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("/no/such/folder", "There is no model folder"),
        ("./no-such-folder", "There is no model folder"),
        ("~/no-such-folder-here", "There is no model folder"),
        ("~no-such-user/model", "cannot be a model folder"),
        ("no-such-name", "There is no model folder"),
        ("a/b/c", "There is no model folder"),
        ("x" * 5000, "cannot be a model folder"),
        ("nul\0byte/name", ""),
        ("bad name/with spaces", "neither a folder nor the name of a repository"),
        ("..", "not a model"),
    ],
    ids=lambda value: value[:24].replace("\0", "0"),
)
async def test_a_reference_to_nothing(
    reference: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "inside").mkdir()
    monkeypatch.chdir(tmp_path / "inside")
    assert words in str(await refusal(reference))


async def test_a_file_is_no_folder(tiny_llama: Path) -> None:
    assert "is a file" in str(await refusal(str(tiny_llama / "config.json")))


async def test_too_large_for_the_budget(tiny_llama: Path, tiny_qwen2: Path) -> None:
    error = await refusal(str(tiny_llama), memory_budget_bytes=1000)
    assert isinstance(error, ModelTooLargeError)
    assert "memoryBudgetGb" in str(error)
    size = (tiny_llama / "model.safetensors").stat().st_size
    async with Engine() as engine:
        llama = await engine.load(ModelSpec(str(tiny_llama), memory_budget_bytes=size + 1000))
        with pytest.raises(ModelTooLargeError, match="other models take"):
            await engine.load(ModelSpec(str(tiny_qwen2), memory_budget_bytes=size + 1000))
        await engine.unload(llama)
        await engine.load(ModelSpec(str(tiny_qwen2), memory_budget_bytes=size + 1000))


async def test_half_precision_that_would_not_fit_as_float32_is_kept(tmp_path: Path) -> None:
    folder = build_model(tmp_path, "llama", weight_type="bfloat16")
    size = (folder / "model.safetensors").stat().st_size
    async with Engine() as engine:
        model = await engine.load(ModelSpec(str(folder), memory_budget_bytes=size + 1000))
        assert "float32 does not fit" in model.precision
    async with Engine() as engine:
        model = await engine.load(ModelSpec(str(folder)))
        assert model.precision == "float32"
        assert model.n_bytes == 4 * model.n_parameters


async def test_a_failed_load_can_be_tried_again(tmp_path: Path) -> None:
    folder = build_model(tmp_path / "model", "llama")
    hidden = (folder / "config.json").rename(tmp_path / "config.json")
    async with Engine() as engine:
        with pytest.raises(ModelError):
            await engine.load(ModelSpec(str(folder)))
        hidden.rename(folder / "config.json")
        model = await engine.load(ModelSpec(str(folder)))
        assert model.name == "model"
        assert await engine.load(ModelSpec(str(folder))) is model


async def test_nothing_is_kept_of_a_load_that_failed(tmp_path: Path) -> None:
    spec = ModelSpec(str(build_model(tmp_path / "model", "llama")))
    (tmp_path / "model" / "config.json").unlink()
    async with Engine() as engine:
        errors = await asyncio.gather(engine.load(spec), engine.load(spec), return_exceptions=True)
        assert [type(error) for error in errors] == [ModelError, ModelError]
        gone = weakref.ref(errors[0])
        del errors
        async with asyncio.timeout(60):
            while gone() is not None:  # until the thread that looked for the model has ended
                await asyncio.to_thread(gc.collect)


# The hub. HF_HUB_OFFLINE and HF_HOME are read when huggingface_hub is imported, hence a process of its own.


PROGRAM = """
import asyncio, sys
from harmony_ls.engine.engine import Engine
from harmony_ls.engine.models.model import ModelSpec
from harmony_ls.errors import ModelError

async def main():
    async with Engine() as engine:
        try:
            model = await engine.load(ModelSpec(sys.argv[1]))
            print("loaded", model.name)
        except ModelError as error:
            print(error)

asyncio.run(main())
"""


def load_from_hub(home: Path, reference: str) -> str:
    """What a process without a network says of a repository; it must not hang."""
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(home)}
    command = [sys.executable, "-c", PROGRAM, reference]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=True)
    return result.stdout.strip()


def snapshot(home: Path, folder: Path, *, without: str = "") -> None:
    """The local cache of the hub with one repository, as a download leaves it, or leaves it half done."""
    repository = home / "hub" / "models--someone--tiny"
    commit = "0" * 40
    target = repository / "snapshots" / commit
    target.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    for file in folder.iterdir():
        if file.name != without:
            shutil.copyfile(file, target / file.name)


def test_a_repository_that_is_not_there_offline(tmp_path: Path) -> None:
    message = load_from_hub(tmp_path, "someone/tiny")
    assert message.startswith("someone/tiny could not be downloaded: ")
    assert message.endswith("Check the name and the network, or name a local folder.")


def test_a_repository_in_the_local_cache_needs_no_network(tmp_path: Path, tiny_llama: Path) -> None:
    snapshot(tmp_path, tiny_llama)
    assert load_from_hub(tmp_path, "someone/tiny") == "loaded someone/tiny"


@pytest.mark.parametrize("without", ["model.safetensors", "tokenizer.json", "config.json"])
def test_half_of_a_download_is_taken_up_again(tmp_path: Path, tiny_llama: Path, without: str) -> None:
    """Here the network is missing, so the message says so; with one the rest would be fetched."""
    snapshot(tmp_path, tiny_llama, without=without)
    assert "could not be downloaded" in load_from_hub(tmp_path, "someone/tiny")
