import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # the driver is shared with screenshot.py, which is not a test

from lab_driver import Lab, open_browser, running_lab

from deploykit.testing import models

#: Shown as text everywhere, or the page notes it.
HOSTILE = '<img src=x onerror="window.ran=1">'

CELL = """
import numpy as np
import deploykit as dk

rng = np.random.default_rng(0)
data = dk.Dataset.from_arrays(
    rng.random((200, 1, 8, 8), np.float32), rng.integers(0, 3, 200),
    classes=["cat", "dog", '<img src=x onerror="window.ran=1">'], calibration_size=20,
)
recipes = [dk.Recipe((dk.Step(name),)) for name in ("quantize_static", "quantize_dynamic")]
space = dk.Space(recipes, (dk.Target("onnxruntime"),))
bench = dk.Workbench("hostile.onnx", data, store="runs/NAME", space=space, launches=2)
bench
"""
#: A finished store, in a Workbench whose space has more to run.
FINISHED = (
    CELL.strip().removesuffix("bench").replace("bench = ", "first = ").replace("NAME", "finished")
    + """first.run()
first.close()
bench = dk.Workbench("hostile.onnx", data, store="runs/finished", launches=2)
bench"""
)


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


def build_hostile(target: Path, scratch: Path) -> None:
    """A tiny model with a name that is a script where it is not shown as text."""
    import onnx

    model = onnx.load(models.build("cnn_onnx", scratch))
    model.graph.node[0].name = HOSTILE
    onnx.save(model, target)


def write_notebook(lab: Lab, name: str) -> str:
    import nbformat

    source = CELL.replace("NAME", name)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source.strip())])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, lab.root / f"{name}.ipynb")
    return f"{name}.ipynb"


@pytest.fixture
def notebook(lab: Lab, request: pytest.FixtureRequest) -> str:
    return write_notebook(lab, request.node.name)
