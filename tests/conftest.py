import os
import shutil

import pytest
from hypothesis import HealthCheck, settings

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
