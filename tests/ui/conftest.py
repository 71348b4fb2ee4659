import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # the driver is shared with screenshot.py, which is not a test

from lab_driver import Lab, open_browser, running_lab
from lab_notebooks import build_hostile, write_notebook


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    root = tmp_path_factory.mktemp("root")
    build_hostile(root / "hostile.onnx", tmp_path_factory.mktemp("model"))
    with running_lab(root, tmp_path_factory.mktemp("scratch")) as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[tuple[object, list[str]]]:
    with open_browser() as opened:
        yield opened


@pytest.fixture
def notebook(lab: Lab, request: pytest.FixtureRequest) -> str:
    return write_notebook(lab, request.node.name)
