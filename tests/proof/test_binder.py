"""The environment of Binder's image built here: its notebooks run in it, in less than 1 GB.

There is no engine to build an image with. repo2docker says what it would do, which `tests/notebooks/test_binder.py`
checks, and that is done in a fresh environment of 1.5 GB: the requirements are installed from a copy of the sources,
with the extension of JupyterLab built on the way.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from importlib.metadata import version
from pathlib import Path

import psutil
import pytest
from nbconvert import HTMLExporter

ROOT = Path(__file__).parents[2]
QUICKSTART = "notebooks/01_quickstart.ipynb"
LIMIT_BYTES = 1e9
SPACE = {"recipes": [{"steps": [{"technique": "quantize_static"}]}], "targets": [{"runtime": "onnxruntime"}]}
#: Notebook → parameters that make it small. Between them they start from the ONNX and from the TFLite model.
PATH = {
    "01_quickstart": {"launches": 2, "space": "space.json", "max_drop": 0.05},
    "02_workbench": {"launches": 2, "space": "space.json", "blocking": "true"},
    "06_batch": {"launches": 2, "model_path": "models/fashion_cnn.tflite", "max_drop": 0.05},
}
pytestmark = [
    pytest.mark.proof("Three notebooks run in Binder's image in less than 1 GB", against="repo2docker, JupyterLab"),
    pytest.mark.skipif(sys.platform != "linux", reason="Binder's images are Linux"),
]


@pytest.fixture(scope="module")
def image(sources):
    """The environment of the image: the folder of its commands."""
    folder = sources.parent / "image"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    pip = [sys.executable, "-m", "pip", "--python", str(folder), "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "install", "-r", "binder/requirements.txt"], cwd=sources, check=True)
    subprocess.run([*pip, "check"], check=True)
    subprocess.run([str(sources / "binder" / "postBuild")], cwd=sources, env=environment(folder), check=True)
    yield folder / "bin"
    shutil.rmtree(folder)


class Server:
    """Jupyter as the image starts it."""

    def __init__(self, image, folder, log):
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            self.port = found.getsockname()[1]
        flags = ["--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={self.port}", "--IdentityProvider.token=t"]
        self.process = subprocess.Popen(
            [str(image / "jupyter"), "notebook", *flags],
            cwd=folder,
            env=environment(image.parent),
            stdout=log,
            stderr=log,
        )
        self.pid = self.process.pid

    def get(self, path):
        """The text at a path."""
        address = f"http://127.0.0.1:{self.port}/{path}"
        request = urllib.request.Request(address, headers={"Authorization": "token t"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.read().decode()

    def answers(self):
        """Whether it can be asked."""
        try:
            return bool(self.get("api"))
        except OSError:
            return False


@pytest.fixture(scope="module")
def server(sources, image):
    """The server of the image, ready."""
    path = sources.parent / "server.log"
    with path.open("wb") as log:
        started = Server(image, sources, log)
        end = time.monotonic() + 120
        while not started.answers():
            assert started.process.poll() is None, path.read_text()
            assert time.monotonic() < end, path.read_text()
            time.sleep(0.2)
        yield started
        started.process.terminate()
        started.process.wait(60)


def environment(folder):
    """Variables in which the commands of that environment are found, and nothing of this one is."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "JUPYTER", "VIRTUAL_ENV"))}
    home = folder.parent / "home"
    home.mkdir(exist_ok=True)
    return {**kept, "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}", "HOME": str(home)}


def test_there_is_no_tensorflow(image, versions):
    code = "import importlib.metadata as m; print(*(f'{d.name.lower()}={d.version}' for d in m.distributions()))"
    listed = subprocess.check_output([str(image / "python"), "-c", code], text=True).split()
    found = dict(one.split("=") for one in listed)
    versions(**{"jupyter-repo2docker": version("jupyter-repo2docker"), "jupyterlab": found["jupyterlab"]})
    assert {"deploykit", "jupyterlab", "onnxruntime", "ai-edge-litert"} <= set(found)
    assert not {name for name in found if re.match(r"tensorflow|keras|tf[-_]keras|torch", name)}


def test_the_server_opens_it_without_announcements(server):
    assert json.loads(server.get(f"api/contents/{QUICKSTART}?content=0"))["type"] == "notebook"
    page = server.get(f"lab/tree/{QUICKSTART}")
    assert '"deploykit-widgets"' in page
    notification = json.loads(server.get("lab/api/settings/@jupyterlab/apputils-extension:notification"))
    defaults = {name: p["default"] for name, p in notification["schema"]["properties"].items()}
    assert defaults["fetchNews"] == "false"
    assert defaults["checkForUpdates"] is False


@pytest.mark.parametrize("name", PATH)
def test_a_notebook_fits_into_the_memory(name, sources, image, server, capsys):
    folder = sources / "notebooks"
    (folder / "space.json").write_text(json.dumps(SPACE))
    flags = [str(part) for pair in PATH[name].items() for part in ("-p", *pair)]
    command = [str(image / "deploykit"), "batch", f"{name}.ipynb", str(sources.parent / f"{name}.ipynb"), *flags]
    log = sources.parent / f"{name}.log"
    peak, resident = 0, 0
    with log.open("wb") as file:
        run = subprocess.Popen(command, cwd=folder, env=environment(image.parent), stdout=file, stderr=file)
        while run.poll() is None:
            now = [memory(process) for root in (run.pid, server.pid) for process in family(root)]
            peak = max(peak, sum(own for own, _ in now))
            resident = max(resident, sum(shown for _, shown in now))
            time.sleep(0.05)
    with capsys.disabled():
        print(
            f"\n{name} in Binder's environment: peak memory {peak / 1e6:.0f} MB, with the server and all children "
            f"(resident sizes added up, which count shared pages several times: {resident / 1e6:.0f} MB)"
        )
    assert run.returncode == 0, log.read_text()
    assert 50e6 < peak < LIMIT_BYTES
    if name == "02_workbench":
        page, _ = HTMLExporter().from_file(str(sources.parent / f"{name}.ipynb"))
        assert "data:image/svg+xml" in page  # the chart, for viewers without widgets
        assert "widget-view" not in page.partition("<body")[2]


def family(pid):
    """A process and all that descend from it."""
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def memory(process):
    """What a process takes, with pages that n share counted as 1/n, as in a container; and its resident size."""
    try:
        found = process.memory_full_info()
    except psutil.Error:
        return 0, 0
    return found.pss, found.rss
