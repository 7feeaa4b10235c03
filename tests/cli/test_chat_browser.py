"""A whole conversation through a pipe that reads the web: the real program, the real browser, a page of our own."""

import asyncio
import json
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.cli.conftest import GptOss
from tests.models import Rule
from tests.session.support import calls, final, said
from tests.tools.browser.servers import site

PAGE = "<title>Tides</title><p>The moon pulls the sea."
READ = "L2: The moon pulls the sea.<|end|><|start|>assistant"


async def test_a_page_is_read_and_what_is_cited_of_it_is_a_link(
    gpt_oss: GptOss, own_environment: Mapping[str, str], tmp_path: Path
) -> None:
    async with site({"/": PAGE}) as served:
        model = gpt_oss(
            Rule(said("Why tides?"), calls(json.dumps({"id": served.url()}), "browser.open")),
            Rule(READ, final("The moon pulls【0†L2】, and 【0†L is no citation.")),
        )
        config = Path(own_environment["XDG_CONFIG_HOME"]) / "harmony-ls" / "config.toml"
        config.parent.mkdir(parents=True)
        config.write_text(f'[tools]\nbrowser = "allow"\n[browser]\nallowedHosts = ["{served.host}"]\n')
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "harmony_ls", "chat", "--model", str(model), "--trust-remote-code"),
            *("--temperature", "0"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=tmp_path,
        )
        out, told = await process.communicate(b"Why tides?")
    assert process.returncode == 0, told.decode()
    link = f"([{served.host}]({served.url()}))"
    assert out.decode().rstrip().endswith(f"The moon pulls {link}, and 【0†L is no citation.")
    assert [request.path for request in served.requests] == ["/"]
