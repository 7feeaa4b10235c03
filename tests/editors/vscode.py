"""Drives a real VS Code from a test: keys and clicks as a person makes them, questions in JavaScript, conditions.

VS Code is code-server's, which a browser shows; ``vscode_end`` is an extension of ours, the end inside each window, and
the extension that is tested is built and installed as a person would. Nothing outside this machine is asked for, and
nothing here knows what a test is about.
"""

import asyncio
import contextlib
import importlib.util
import json
import os
import re
import shutil
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.editors.inside import LONGEST_LINE, PATIENCE, SOCKET, EndInside, listen

if TYPE_CHECKING:
    from playwright.async_api import Browser, Locator, Page

__all__ = ["CodeServer", "Window", "is_there", "serving"]

EXTENSION = Path(__file__).parents[2] / "editors" / "vscode"
THE_END_INSIDE = Path(__file__).parent / "vscode_end"
POLL_MILLISECONDS = 20

BROWSER_ARGUMENTS = [
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
]
SETTINGS: Mapping[str, Any] = {
    "telemetry.telemetryLevel": "off",
    "update.mode": "none",
    "extensions.autoUpdate": False,
    "extensions.autoCheckUpdates": False,
    "workbench.enableExperiments": False,
    "workbench.startupEditor": "none",
    "workbench.secondarySideBar.defaultVisibility": "hidden",
    "workbench.tips.enabled": False,
    "git.enabled": False,
    "chat.disableAIFeatures": True,
    # In a browser VS Code saves by itself, unlike on a desktop.
    "files.autoSave": "off",
    # What the editor itself would type beside the keys.
    "editor.autoClosingBrackets": "never",
    "editor.autoClosingQuotes": "never",
    # Words of the document would open a list in front of what a test looks for.
    "editor.wordBasedSuggestions": "off",
}


@cache
def is_there() -> bool:
    """Whether this machine has VS Code, a browser, its driver, and what the extension is built with."""
    programs = all(shutil.which(name) for name in ("code-server", "chromium", "node", "npm"))
    is_driven = importlib.util.find_spec("playwright") is not None
    return programs and is_driven and (EXTENSION / "node_modules").is_dir()


class Window(EndInside):
    """One window of VS Code: its page, and the end inside it."""

    def __init__(self, page: "Page", folder: Path, ends: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
        super().__init__(*ends)
        self.page = page
        self.folder = folder

    async def js(self, chunk: str, *, poll: int | None = None, **values: Any) -> Any:
        """What a chunk of JavaScript returns, run beside the extensions; with ``poll``, the first that is true.

        It sees ``vscode``, ``kept`` (an object that lives as long as the window) and ``values`` by their names.
        """
        given = "".join(f"const {name} = {json.dumps(value)};\n" for name, value in values.items())
        return await self.run("js", given + chunk, poll)

    async def until(self, chunk: str, **values: Any) -> Any:
        """Wait until a chunk of JavaScript returns something true, and return it."""
        return await self.js(chunk, poll=POLL_MILLISECONDS, **values)

    async def open(self, name: str, text: str | None = None, *, at: tuple[int, int] = (0, 0)) -> None:
        """Show a file of the folder, with ``text`` if it is given, the cursor at a line and character from 0."""
        path = self.folder / name
        if text is not None:
            path.write_bytes(text.encode())
        await self.js(
            """
            const document = await vscode.workspace.openTextDocument(vscode.Uri.file(path));
            const place = new vscode.Position(line, character);
            const selection = new vscode.Range(place, place);
            await vscode.window.showTextDocument(document, { selection, preview: false });
            """,
            path=str(path),
            line=at[0],
            character=at[1],
        )
        # The keys go where the page has its focus.
        await self.command("workbench.action.focusActiveEditorGroup")
        await self.see(self.page.locator(".monaco-editor.focused"))

    async def select(self, start: tuple[int, int], end: tuple[int, int]) -> None:
        """Select from one line and character to another, counted from 0, in the active editor."""
        await self.js(
            "vscode.window.activeTextEditor.selection = new vscode.Selection(...start, ...end);",
            start=start,
            end=end,
        )

    async def text(self, name: str) -> str:
        """The text of an open document of the folder."""
        return str(await self.js(f"{_DOCUMENT} return document.getText();", path=str(self.folder / name)))

    async def becomes(self, name: str, text: str) -> None:
        """Wait until an open document of the folder holds a text."""
        chunk = f"{_DOCUMENT} return document?.getText() === text;"
        try:
            await self.until(chunk, path=str(self.folder / name), text=text)
        except TimeoutError as error:
            raise AssertionError(f"{name} is not as expected") from error

    async def is_dirty(self, name: str) -> bool:
        """Whether an open document of the folder has unsaved text."""
        return bool(await self.js(f"{_DOCUMENT} return document.isDirty;", path=str(self.folder / name)))

    async def command(self, name: str) -> None:
        """Run a command of VS Code's."""
        await self.js("await vscode.commands.executeCommand(name);", name=name)

    async def press(self, *keys: str) -> None:
        """Press keys, each as Playwright names them (``Control+Z``), one after the other."""
        for key in keys:
            await self.page.keyboard.press(key)

    async def write(self, text: str) -> None:
        """Type a text key by key."""
        await self.page.keyboard.type(text)

    async def see(self, what: "Locator") -> str:
        """Wait until something of the page is visible, and return its text with plain blanks."""
        await what.first.wait_for(timeout=PATIENCE * 1000)
        return (await what.first.text_content() or "").replace("\u00a0", " ")

    async def ghost_text(self) -> str:
        """Wait for ghost text, and return all of it: VS Code shows it in pieces, a word each."""
        pieces = self.page.locator(".ghost-text-decoration")
        await self.see(pieces)
        return "".join(await pieces.all_text_contents()).replace("\u00a0", " ")

    async def choose(self, title: str) -> str:
        """Press a button of the notification that has it; return that notification's text."""
        notification = self.page.locator(".notification-toast .notification-list-item")
        notification = notification.filter(has=self.page.get_by_role("button", name=title, exact=True))
        said = await self.see(notification.locator(".notification-list-item-message"))
        await notification.get_by_role("button", name=title, exact=True).click()
        return said

    async def code_actions(self) -> list[str]:
        """Open the menu of code actions at the cursor, and leave it; the titles in it. None: there is no menu."""
        menu = await self._code_action_menu()
        titles = await menu.locator(".monaco-list-row.action .title").all_text_contents()
        await self.press("Escape")
        await menu.wait_for(state="hidden", timeout=PATIENCE * 1000)
        return titles

    async def choose_code_action(self, title: str) -> None:
        """Choose from the menu of code actions at the cursor the one whose title has ``title`` in it."""
        menu = await self._code_action_menu()
        await menu.locator(".monaco-list-row.action", has_text=title).click(timeout=PATIENCE * 1000)

    async def _code_action_menu(self) -> "Locator":
        """Open the menu; again where VS Code has closed it, as it does when diagnostics come in that moment."""
        from playwright.async_api import TimeoutError as NotThereError

        menu = self.page.locator(".action-widget:not(.action-list-submenu-panel)")
        async with asyncio.timeout(PATIENCE):
            while True:
                await self.press("Control+.")
                with contextlib.suppress(NotThereError):
                    await menu.wait_for(timeout=PATIENCE * 100)
                    return menu


_DOCUMENT = "const document = vscode.workspace.textDocuments.find((each) => each.uri.fsPath === path);"


class CodeServer:
    """A running code-server, and the browser that shows its windows. ``environment`` is that of its extensions."""

    def __init__(self, folder: Path, environment: Mapping[str, str], address: str, browser: "Browser") -> None:
        self.folder = folder
        self.environment = environment
        self.waiting: dict[str, asyncio.Future[tuple[asyncio.StreamReader, asyncio.StreamWriter]]] = {}
        self._address = address
        self._browser = browser
        self._settings: dict[str, Any] = {}

    def configure(self, **settings: Any) -> None:
        """Write the person's settings, in which ``__`` stands for a dot, beside those of all tests.

        A browser's VS Code takes settings of the machine from the file of the machine that it is connected to alone.
        """
        self._settings = settings
        named = {key.replace("__", "."): value for key, value in settings.items()}
        for place in ("User", "Machine"):
            _write_json(self.folder / "data" / place / "settings.json", {**SETTINGS, **named})

    @contextmanager
    def configured(self, **settings: Any) -> Iterator[None]:
        """Change some of the settings for a while, as a person does while windows are open."""
        before = self._settings
        self.configure(**{**before, **settings})
        try:
            yield
        finally:
            self.configure(**before)

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """An end inside a window has reached us."""
        hello = json.loads(await reader.readline())
        waiting = self.waiting.pop(hello["folder"], None)
        if waiting is None:
            writer.close()
        else:
            waiting.set_result((reader, writer))

    @asynccontextmanager
    async def window(self, folder: Path, artefacts: Path) -> AsyncIterator[Window]:
        """A new window that shows a folder. A picture of how it looked at the end is left among the artefacts."""
        ends = self.waiting[str(folder)] = asyncio.get_running_loop().create_future()
        context = await self._browser.new_context(viewport={"width": 1400, "height": 900})
        page = await context.new_page()
        try:
            await page.goto(f"{self._address}/?folder={folder}", wait_until="domcontentloaded")
            async with asyncio.timeout(PATIENCE):
                window = Window(page, folder, await ends)
            yield window
            window.close()
        finally:
            await page.screenshot(path=artefacts / "window.png")
            # As when a person closes a window: its extensions are ended.
            await page.goto("about:blank")
            await context.close()


@asynccontextmanager
async def serving(folder: Path, environment: Mapping[str, str]) -> AsyncIterator[CodeServer]:
    """A code-server with our extension, which keeps everything in ``folder``."""
    from playwright.async_api import async_playwright

    configuration = folder / "configuration"
    configuration.mkdir()
    surroundings = {
        **os.environ,
        "HOME": str(folder),
        "XDG_CONFIG_HOME": str(configuration),
        "XDG_STATE_HOME": str(folder / "state"),
        "EXTENSIONS_GALLERY": '{"serviceUrl": ""}',
        "HARMONY_TEST_SOCKET": str(folder / SOCKET),
        **environment,
    }
    (folder / "code-server.yaml").write_text("bind-addr: 127.0.0.1:0\nauth: none\ncert: false\n")
    places = [f"--config={folder}/code-server.yaml", f"--user-data-dir={folder}/data"]
    places.append(f"--extensions-dir={folder}/extensions")
    await _install(await _packaged(folder), places, surroundings)
    # Where a folder of that name is, VS Code takes it for an extension.
    shutil.copytree(THE_END_INSIDE, folder / "extensions" / "tests.the-end-inside-1.0.0")
    with contextlib.suppress(FileNotFoundError):
        (folder / "extensions" / "extensions.json").unlink()
    options = ["--disable-telemetry", "--disable-update-check", "--disable-workspace-trust"]
    process = await asyncio.create_subprocess_exec(
        "code-server", *places, *options, "--disable-getting-started-override",
        env=surroundings,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        limit=LONGEST_LINE,
    )  # fmt: skip
    try:
        address = await _address(process)
        async with async_playwright() as playwright, contextlib.AsyncExitStack() as stack:
            browser = await playwright.chromium.launch(executable_path=shutil.which("chromium"), args=BROWSER_ARGUMENTS)
            stack.push_async_callback(browser.close)
            code_server = CodeServer(folder, surroundings, address, browser)
            listening = await listen(folder, code_server.connected)
            stack.callback(listening.close)
            reading = asyncio.create_task(_drain(process))
            stack.callback(reading.cancel)
            yield code_server
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def _packaged(folder: Path) -> Path:
    """Our extension as it would be published, built from a copy of its sources."""
    copy = folder / "extension"
    shutil.copytree(EXTENSION, copy, ignore=shutil.ignore_patterns("node_modules", "dist"))
    (copy / "node_modules").symlink_to(EXTENSION / "node_modules")
    await _run("npm", "run", "package", cwd=copy, environment=dict(os.environ))
    return copy / "dist" / "harmony-ls.vsix"


async def _install(package: Path, places: list[str], environment: dict[str, str]) -> None:
    await _run("code-server", *places, "--install-extension", str(package), cwd=package.parent, environment=environment)


async def _run(*command: str, cwd: Path, environment: dict[str, str]) -> None:
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=cwd,
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(PATIENCE):
        output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()


async def _address(process: asyncio.subprocess.Process) -> str:
    """Where code-server listens, which it says when it does."""
    assert process.stdout is not None
    said = ""
    async with asyncio.timeout(PATIENCE):
        while line := (await process.stdout.readline()).decode():
            said += line
            if found := re.search(r"listening on (http://127\.0\.0\.1:\d+)", line):
                return found[1]
    raise AssertionError(f"code-server has ended: {said}")


async def _drain(process: asyncio.subprocess.Process) -> None:
    assert process.stdout is not None
    while await process.stdout.readline():
        pass


def _write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")
