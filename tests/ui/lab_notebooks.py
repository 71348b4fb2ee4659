"""What the browser's tests open: a model with hostile names, and notebooks with a Workbench on it."""

from pathlib import Path

from lab_driver import Lab

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
