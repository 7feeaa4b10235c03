"""One conversation in which the model uses all three tools for real, from the first question to the last container:
the real program at a terminal, a page of our own, a real Docker engine and a file on the disk.
"""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from docker import DockerClient

from harmony_ls.settings.models import ToolSettings
from harmony_ls.tools.python.engine import connect
from tests.cli.conftest import GptOss
from tests.cli.pseudo_terminal import PseudoTerminal
from tests.models import Rule
from tests.session.support import calls, final, said, tool_result
from tests.tools.browser.servers import Site, site
from tests.tools.python.support import containers_of, settings_with_docker

READY = "Ctrl-D leaves."
TURN_OVER = "prompt tokens computed"
ANY_TIME = "Allow? [y]es, [a]lways"
EACH_TIME = "Look closely: this is asked each time, whatever was allowed before."
THIS_TIME = "Allow? [y]es, [n]o"

PAGES = {
    "/": "<title>Harbour</title><p>Today: <a href='/tides'>the tides</a>.",
    "/tides": "<title>Tides</title><p>High water 4.1 m, low water 0.6 m.",
}
CODE = "high, low = 4.1, 0.6\nprint('range', round(high - low, 1))"
PATCH = "*** Begin Patch\n*** Update File: log.md\n@@\n # Log\n-tides: ?\n+tides: 3.5 m\n*** End Patch\n"
PATCH_CALL = calls(PATCH, "functions.apply_patch")
DIFF = "--- a/log.md +++ b/log.md @@ -1,2 +1,2 @@ # Log -tides: ? +tides: 3.5 m"
BEFORE, AFTER = "# Log\ntides: ?\n", "# Log\ntides: 3.5 m\n"


def script(served: Site) -> tuple[Rule, ...]:
    """What the model does after what it has read."""
    answered = "<|end|><|start|>assistant"
    return (
        Rule(said("Log the tides."), calls(json.dumps({"id": served.url()}), "browser.open")),
        Rule(f"【0†the tides】.{answered}", calls('{"id": 0}', "browser.open")),
        Rule(f"low water 0.6 m.{answered}", f"<|channel|>analysis to=python code<|message|>{CODE}<|call|>"),
        Rule(tool_result("range 3.5"), PATCH_CALL),
        Rule(f"what to do instead.{answered}", final("It stays as it is. Today it is 3.5 m【1†L2】.")),
        Rule(said("Do log them."), PATCH_CALL),
        Rule(f"M log.md{answered}", final("Logged【1†L2】.")),
    )


@pytest.fixture(scope="module")
def settings() -> ToolSettings:
    return settings_with_docker()


@pytest.mark.parametrize("columns", [80, 40])
async def test_all_tools_in_one_conversation(
    columns: int, settings: ToolSettings, gpt_oss: GptOss, own_environment: Mapping[str, str], tmp_path: Path
) -> None:
    folder = tmp_path / "harbour"
    folder.mkdir()
    (folder / "log.md").write_text(BEFORE)
    engine = connect(settings)
    try:
        async with site(PAGES) as served:
            write_settings(Path(own_environment["XDG_CONFIG_HOME"]), settings, served)
            model = gpt_oss(*script(served))
            command = ["chat", "--model", str(model), "--trust-remote-code", "--temperature", "0"]
            with PseudoTerminal(command, folder=folder, environment=own_environment, columns=columns) as terminal:
                await asyncio.to_thread(converse, terminal, served, folder / "log.md", engine)
                assert containers_of(engine, terminal.pid) == []
        assert [request.path for request in served.requests] == ["/", "/tides"]
    finally:
        engine.close()


def write_settings(config: Path, settings: ToolSettings, served: Site) -> None:
    """The person's own settings: every tool is on and asks."""
    file = config / "harmony-ls" / "config.toml"
    file.parent.mkdir(parents=True)
    tools = {"browser": "ask", "python": "ask", "applyPatch": "ask", "pythonImage": settings.python_image}
    lines = [f"{name} = {json.dumps(value)}" for name, value in tools.items()]
    file.write_text("\n".join(["[tools]", *lines, "[browser]", f'allowedHosts = ["{served.host}"]', ""]))


def converse(terminal: PseudoTerminal, served: Site, file: Path, engine: DockerClient) -> None:
    """The person's side, to the end of the program."""
    origin = f"http://{served.host}"
    terminal.expect(READY)
    terminal.say("Log the tides.")
    assert f"browser.open Open a page of {origin} {served.url()}" in terminal.expect(ANY_TIME)
    terminal.expect(f"for {origin}, [n]o")
    assert served.requests == []
    terminal.say("a")
    terminal.expect("Today: 【0†the tides】.")
    # The second page was allowed with the first.
    assert "Allow?" not in terminal.expect("High water 4.1 m, low water 0.6 m.")
    shown = terminal.expect(EACH_TIME)
    assert "python Run Python: high, low = 4.1, 0.6" in shown
    assert " ".join(CODE.split()) in shown
    terminal.expect(THIS_TIME)
    assert containers_of(engine, terminal.pid) == []
    terminal.say("y")
    terminal.expect("range 3.5")
    assert len(containers_of(engine, terminal.pid)) == 1
    assert f"apply_patch Change log.md {DIFF}" in terminal.expect(EACH_TIME)
    terminal.expect(THIS_TIME)
    terminal.say("n")
    link = f"({served.host} ({served.url('/tides')}))"
    assert f"It stays as it is. Today it is 3.5 m {link}." in terminal.expect(TURN_OVER)
    assert file.read_text() == BEFORE

    terminal.say("Do log them.")
    assert DIFF in terminal.expect(EACH_TIME)
    terminal.expect(THIS_TIME)
    terminal.say("y")
    terminal.expect("M log.md")
    assert f"Logged {link}." in terminal.expect(TURN_OVER)
    assert file.read_text() == AFTER
    terminal.say("/undo")
    terminal.expect("Take that back too? [y/N]:")
    terminal.say("y")
    terminal.expect("modified log.md")
    terminal.expect("Taken back: Do log them.")
    assert file.read_text() == BEFORE
    terminal.say("/exit")
    assert terminal.exit_code() == 0
    assert "<|" not in terminal.words
    assert "Traceback" not in terminal.words
