"""JupyterLab or Notebook 7 on loopback, and a browser that drives it."""

import ast
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

TOKEN = "a-token"
BASE_URL = "/user/someone/"
START_S = 120
ANSWER_S = 30
KERNEL_S = 60
#: Where Debian and the CI images have it; the browsers Playwright downloads are not used.
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)

_LOCAL = ("http://127.0.0.1", "ws://127.0.0.1", "data:", "blob:", "about:")


class Lab:
    """A running JupyterLab, or Notebook 7.

    Attributes:
        url: Address with the base URL, without a slash at its end.
        root: Folder it shows.
        app: ``"jupyterlab"`` or ``"notebook"``.
    """

    def __init__(self, url: str, root: Path, app: str) -> None:
        self.url = url
        self.root = root
        self.app = app

    def address(self, notebook: str) -> str:
        if self.app == "notebook":
            return f"{self.url}/notebooks/{notebook}?token={TOKEN}"
        # Without the reset, Lab opens the notebooks of earlier tests again, hidden behind this one.
        return f"{self.url}/lab/tree/{notebook}?token={TOKEN}&reset"


@contextmanager
def running_lab(root: Path, scratch: Path, *, dark: bool = False, app: str = "jupyterlab") -> Iterator[Lab]:
    """Start JupyterLab or Notebook 7 in a session of its own; everything it started ends with it.

    Args:
        root: Folder to show.
        scratch: Folder for its configuration, so that the user's is neither read nor changed.
        dark: Start with the dark theme.
        app: Module to start.
    """
    port = _free_port()
    folders = {f"JUPYTER_{name}_DIR": str(scratch / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")}
    settings = scratch / "settings"
    _write_settings(settings, dark=dark)
    env = {**os.environ, **folders, "JUPYTERLAB_SETTINGS_DIR": str(settings)}
    env["JUPYTERLAB_WORKSPACES_DIR"] = str(scratch / "workspaces")
    command = [
        sys.executable, "-m", app, "--no-browser", "--allow-root", "--expose-app-in-browser",
        "--ip=127.0.0.1", f"--port={port}", f"--ServerApp.base_url={BASE_URL}", f"--ServerApp.root_dir={root}",
        f"--IdentityProvider.token={TOKEN}", "--ServerApp.port_retries=0", "--LabApp.collaborative=False",
    ]  # fmt: skip
    log = (scratch / "lab.log").open("wb")
    process = subprocess.Popen(command, env=env, stdout=log, stderr=log, start_new_session=True)
    try:
        lab = Lab(f"http://127.0.0.1:{port}{BASE_URL.rstrip('/')}", root, app)
        _wait_until_up(lab, process, scratch / "lab.log")
        yield lab
    finally:
        _end(process)
        log.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _write_settings(folder: Path, *, dark: bool) -> None:
    """No news, no dialogs: the test must see the page a user sees after the first visit."""
    plugins = folder / "@jupyterlab"
    (plugins / "apputils-extension").mkdir(parents=True)
    notices = {"fetchNews": "false", "checkForUpdates": False}
    (plugins / "apputils-extension" / "notification.jupyterlab-settings").write_text(json.dumps(notices))
    if dark:
        theme = {"theme": "JupyterLab Dark"}
        (plugins / "apputils-extension" / "themes.jupyterlab-settings").write_text(json.dumps(theme))


def _wait_until_up(lab: Lab, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"{lab.app} ended with status {process.returncode}:\n{log.read_text()[-3000:]}")
        try:
            with urllib.request.urlopen(f"{lab.url}/api/status?token={TOKEN}", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            _wait_a_moment(process, 0.1)
    raise RuntimeError(f"{lab.app} is not up after {START_S} s:\n{log.read_text()[-3000:]}")


def _wait_a_moment(process: subprocess.Popen[bytes], seconds: float) -> None:
    """Wait a moment, or until the process ends."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)  # lets it shut its kernels down
        _wait_a_moment(process, 20)
    if process.poll() is None:
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        process.wait(10)


@contextmanager
def open_browser(width: int = 1500, height: int = 1100, scale: float = 1.0) -> Iterator[tuple[Any, list[str]]]:
    """A page of headless Chromium, and the list of addresses off this machine that it asked for."""
    from playwright.sync_api import sync_playwright

    outside: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"])
        context = browser.new_context(viewport={"width": width, "height": height}, device_scale_factor=scale)
        context.on("request", lambda r: None if r.url.startswith(_LOCAL) else outside.append(r.url))
        page = context.new_page()
        page.set_default_timeout(60_000)
        try:
            yield page, outside
        finally:
            browser.close()


def run_all_cells(page: Any, lab: Lab, notebook: str) -> None:
    """Open a notebook, wait for its kernel and run it to the end.

    Raises:
        AssertionError: It does not have a kernel soon, as one whose metadata name none: a dialog asks for it.
    """
    page.goto(lab.address(notebook))
    page.wait_for_selector(".jp-NotebookPanel .jp-Cell")
    has_kernel = page.evaluate(
        """async limit => {
            const ready = async () => {
                const panel = window.jupyterapp.shell.currentWidget;
                await panel.revealed; await panel.sessionContext.ready;
                await panel.sessionContext.session.kernel.info;
                return true;
            };
            const late = new Promise(done => setTimeout(() => done(false), limit));
            return Promise.race([ready(), late]);
        }""",
        1000 * KERNEL_S,
    )
    dialogs = page.locator(".jp-Dialog").all_inner_texts()
    assert has_kernel, f"{notebook} has no kernel after {KERNEL_S} s; dialogs: {dialogs}"
    page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-all-cells')")


#: An answer is lost, and its promise never settled, when Lab renews the connection to a kernel that was slow to answer.
_KERNEL_VALUE = """async ([code, limit]) => {
    const ask = async () => {
        const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
        const done = await kernel.requestExecute({
            code: '', silent: true, store_history: false, user_expressions: { v: code } }).done;
        const v = done.content.user_expressions.v;
        return v.status === 'ok' ? v.data['text/plain'] : 'ERROR ' + v.evalue;
    };
    return Promise.race([ask(), new Promise(done => setTimeout(() => done(null), limit))]);
}"""


def kernel_value(page: Any, expression: str) -> Any:
    """Value of a Python expression in the notebook's kernel, as JSON; works between two cells."""
    code = f"__import__('json').dumps({expression})"
    for _ in range(10):
        found = page.evaluate(_KERNEL_VALUE, [code, 1000 * ANSWER_S])
        if found is not None:
            break
    else:
        raise AssertionError(f"the kernel does not answer: {expression}")
    if found.startswith("ERROR"):
        raise AssertionError(f"{expression}: {found}")
    return json.loads(ast.literal_eval(found))


def run_button(page: Any) -> Any:
    """The button that starts the sweep: beside the controls, or in the line that stands for them; its words change."""
    return page.locator(".dk-Workbench .dk-run:visible").first


def poll(page: Any, ready: Callable[[], bool], what: str, seconds: float = 120) -> None:
    """Ask until it is so; the browser continues between two questions."""
    end = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > end:
            raise AssertionError(f"not so after {seconds:.0f} s: {what}")
        page.wait_for_timeout(100)
