import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import filelock
import numpy as np
import pytest
from hypothesis import HealthCheck, settings

import deploykit as dk
from deploykit.core.candidate import Recipe, Step, Target
from deploykit.testing import models
from deploykit.testing.sshd import find_sshd

# Derandomised: the same code gives the same verdict. No deadline: the machine may be busy.
settings.register_profile(
    "deploykit", deadline=None, derandomize=True, max_examples=50, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("deploykit")


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """Neither reads nor changes what the user's own sweeps have taken."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DEPLOYKIT_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


_ROOT = Path(__file__).parents[1]
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
#: Mark of tests → what they need in words, whether it is there, how Debian installs it.
_NEEDED = {
    "browser": ("a browser", lambda: any(map(shutil.which, BROWSERS)), "chromium"),
    "sshd": ("OpenSSH's server", find_sshd, "openssh-server"),
    "adb": ("Android's adb", lambda: shutil.which("adb"), "adb"),
}
_NOT_RUN = pytest.StashKey[list[str]]()


def _has(item, marker):
    return item.get_closest_marker(marker) is not None


#: Folders whose tests are of numbers, graphs and texts, which the Python they run on does not change.
_SAME_ON_EVERY_PYTHON = ("converters", "planning", "surgery", "training", "transforms")


def pytest_itemcollected(item):
    """Leave these folders out of the quick part, without saying that each of their tests takes long."""
    folder = item.path.relative_to(_ROOT / "tests").parts[0]
    if folder in _SAME_ON_EVERY_PYTHON and not _has(item, "long"):
        item.add_marker(pytest.mark.long(seconds=0))


@pytest.hookimpl(trylast=True)  # when -m has left out what it does
def pytest_collection_modifyitems(config, items):
    """Tests that need a program which is not there are left out, said in red at the end; in CI that is an error.

    Where several processes share the files, those that take long come first, so that none is left with one at the end;
    those that read the pages of the tutorials come last, when these are executed.
    """
    if "PYTEST_XDIST_WORKER" in os.environ:
        long = Counter()
        for item in items:
            if (mark := item.get_closest_marker("long")) is not None:
                long[item.path] += mark.kwargs.get("seconds", 1)
        items.sort(key=lambda item: (_has(item, "notebook"), -long[item.path]))
    for mark, (what, there, package) in _NEEDED.items():
        needing = [item for item in items if _has(item, mark)]
        if not needing or there():
            continue
        if os.environ.get("CI") and (mark == "browser" or sys.platform == "linux"):
            raise pytest.UsageError(f"{len(needing)} tests need {what}: Debian's package is {package}")
        said = f"{len(needing)} TESTS WERE NOT RUN: they need {what} (Debian: apt-get install {package})."
        config.stash.setdefault(_NOT_RUN, []).append(said)
        config.hook.pytest_deselected(items=needing)
        items[:] = [item for item in items if item not in needing]


def pytest_terminal_summary(terminalreporter, config):
    for said in config.stash.get(_NOT_RUN, []):
        terminalreporter.write_line(said, red=True, bold=True)


@pytest.fixture(scope="session")
def sources(tmp_path_factory):
    """A copy of the files a clone of the repository has: building writes beside them."""
    folder = tmp_path_factory.mktemp("sources") / "deploykit"
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=_ROOT,
        capture_output=True,
        check=True,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (_ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(_ROOT / name, folder / name)
    yield folder
    shutil.rmtree(folder)


# -- tiny models, and data for sweeps that need no TensorFlow


@pytest.fixture(scope="session")
def zoo(tmp_path_factory):
    """Tiny models, each made once for all processes of a run: kind → path. A test that changes one copies it."""
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    made = {}

    def get(kind):
        if kind not in made:
            folder = shared / "zoo" / kind
            folder.mkdir(parents=True, exist_ok=True)
            with filelock.FileLock(folder.with_suffix(".lock")):
                done = folder.with_suffix(".done")
                if not done.exists():  # or a process died while it made this one
                    done.write_text(str(models.build(kind, folder)), "utf-8")
            made[kind] = Path(done.read_text("utf-8"))
        return made[kind]

    return get


@pytest.fixture(scope="session")
def onnx_model(zoo):
    return dk.load(zoo("cnn_onnx"))


@pytest.fixture(scope="session")
def images():
    rng = np.random.default_rng(0)
    return dk.Dataset.from_arrays(rng.random((400, 1, 8, 8)).astype(np.float32), rng.integers(0, 3, 400))


@pytest.fixture(scope="session")
def small_space():
    return dk.Space([Recipe((Step("quantize_dynamic"),)), Recipe((Step("quantize_static"),))], [Target("onnxruntime")])


@pytest.fixture(scope="session")
def swept(onnx_model, images, small_space, tmp_path_factory):
    """A finished sweep: (store, report, progress events)."""
    store = tmp_path_factory.mktemp("store") / "s"
    events = []
    report = dk.sweep(onnx_model, images, small_space, store=store, launches=2, progress=events.append)
    return store, report, events
