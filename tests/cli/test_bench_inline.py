"""``harmony-ls bench inline`` as a person runs it: the real server, the real mlx_lm.server, a small random model."""

import json
import os
import signal
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from harmony_ls.cli.bench.inline.rival import MlxLmServer, RivalError
from harmony_ls.cli.bench.inline.targets import TARGETS
from tests.models import build_model

SOURCES = Path(__file__).parent.parent.parent / "harmony_ls" / "lsp"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with so little context that its prompts are short."""
    folder = tmp_path_factory.mktemp("bench") / "model"
    return build_model(folder, "qwen2", config={"max_position_embeddings": 256})


def command(model: Path, *arguments: str) -> list[str]:
    start = [sys.executable, "-m", "harmony_ls", "bench", "inline", "--model", str(model), "--sources", str(SOURCES)]
    return [*start, *arguments]


@pytest.mark.slow
def test_the_whole_bench(model: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    arguments = ("--lines", "2", "--compare-lines", "1", "--cases", "4", "--json", "--report", str(report))
    result = subprocess.run(command(model, *arguments), capture_output=True, text=True, timeout=180)
    assert result.returncode == 0, result.stderr
    document = json.loads(result.stdout)
    assert document["faults"] == []
    assert document["partial"] is False
    missing = {target.key for target in TARGETS if document[target.key] is None}
    # A random model is never sure, so nothing is shown.
    assert missing <= {"shown_exact_rate", "shown_first_identifier_rate", "latency_ratio_shown_with_model"}
    assert document["n_cases"] == 4
    assert document["n_lines"] == 2
    assert document["n_compared_keys"] > 0
    assert document["mlx_lm_server_prompt_tokens_p50"] > 0
    assert set(document["seconds"]) == {"quality", "engine", "replay"}
    assert document["verdicts"]["quiet_rate"] == "not promised"
    assert document["samples"]["ttft_ratio_vs_mlx_lm_server"] == document["n_compared_keys"]
    assert document["n_preempt_pairs"] >= 40
    assert any("never accepts" in note for note in document["notes"])
    assert " s  Typing (" in result.stderr, "a log shows how far it is"
    check_page(report.read_text(encoding="utf-8"))


class Page(HTMLParser):
    """What a page refers to, and whether its elements are closed in order."""

    VOID = frozenset({"meta", "link", "img", "br", "hr", "input"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.references: list[str] = []
        self.pictures = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.references += [value or "" for name, value in attrs if name in ("src", "href", "data", "srcset")]
        self.pictures += tag == "svg"
        assert tag not in ("script", "link", "iframe", "object", "embed")
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def check_page(text: str) -> None:
    page = Page()
    page.feed(text)
    page.close()
    assert page.open == []
    assert page.references == []
    assert "url(" not in text
    assert "@import" not in text
    assert page.pictures >= 5
    for target in TARGETS:
        assert target.key in text


def test_a_model_that_is_missing_is_said_in_words(tmp_path: Path) -> None:
    result = subprocess.run(
        command(tmp_path / "nowhere", "--json", "--only", "engine"), capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 1
    assert "There is no model folder" in result.stderr
    assert "Traceback" not in result.stderr
    document = json.loads(result.stdout)
    assert document["model"] is None
    assert len(document["faults"]) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(("--only", "nothing"), "there is no part"), (("--report", "/nowhere/report.html"), "there is no folder")],
)
def test_what_cannot_work_is_refused_at_once(model: Path, arguments: tuple[str, str], message: str) -> None:
    result = subprocess.run(command(model, *arguments), capture_output=True, text=True, timeout=60)
    assert result.returncode != 0
    assert message in result.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
def test_an_interrupted_bench_tells_what_it_has(model: Path) -> None:
    environment = {**os.environ, "COLUMNS": "200", "TTY_COMPATIBLE": "1", "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        command(model, "--json", "--only", "quality"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        start_new_session=True,
    )
    assert process.stderr is not None
    shown = b""
    while b"Completing held-out code" not in shown:
        chunk = os.read(process.stderr.fileno(), 4096)
        assert chunk, shown
        shown += chunk
    os.killpg(process.pid, signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert json.loads(output)["partial"] is True
    assert b"Traceback" not in errors


async def test_a_rival_that_cannot_start_says_why(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(RivalError, match=r"mlx_lm\.server could not load the model.*No safetensors found"):
        async with MlxLmServer(tmp_path) as rival:
            await rival.complete("def ", max_tokens=2)
