import os
import shutil

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

import deploykit as dk
from deploykit.core.candidate import Recipe, Step, Target
from deploykit.testing import models

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


BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
_NOT_RUN = pytest.StashKey[int]()


def pytest_collection_modifyitems(config, items):
    """Without a browser its tests are left out, said in red at the end; in CI that is an error."""
    browser = [item for item in items if item.get_closest_marker("browser")]
    if not browser or any(map(shutil.which, BROWSERS)):
        return
    if os.environ.get("CI"):
        raise pytest.UsageError(f"{len(browser)} tests need a browser: install one of {', '.join(BROWSERS)}")
    config.stash[_NOT_RUN] = len(browser)
    config.hook.pytest_deselected(items=browser)
    items[:] = [item for item in items if item not in browser]


def pytest_terminal_summary(terminalreporter, config):
    if count := config.stash.get(_NOT_RUN, 0):
        terminalreporter.write_line(
            f"{count} BROWSER TESTS WERE NOT RUN: there is no browser. Install Chromium (Debian: apt-get install "
            "chromium) and run again.",
            red=True,
            bold=True,
        )


# -- a tiny ONNX model and data, for sweeps that need no TensorFlow


@pytest.fixture(scope="session")
def onnx_model(tmp_path_factory):
    return dk.load(models.build("cnn_onnx", tmp_path_factory.mktemp("model")))


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
