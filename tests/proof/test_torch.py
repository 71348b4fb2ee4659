"""What PyTorch compiles for this machine (a minute for each file), and conversions of more networks of it."""

import shutil
from pathlib import Path

import numpy as np
import pytest

import deploykit as dk
from deploykit.core.errors import UnsupportedModelError
from deploykit.sandbox.supervisor import shared
from deploykit.sandbox.task import Task
from deploykit.testing import models, work


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    return models.build("cnn_pytorch", tmp_path_factory.mktemp("program"))


@pytest.mark.skipif(not shutil.which("g++"), reason="PyTorch compiles with g++")
@pytest.mark.proof(
    "A program compiled by AOTInductor gives PyTorch's own answers", against="PyTorch, operator by operator"
)
def test_a_compiled_program_gives_the_same_answers(program, tmp_path):
    rng = np.random.default_rng(0)
    images = rng.random((60, 8, 8, 1)).astype(np.float32)
    model = dk.load(program)
    first = dk.Preprocess(layout="channels_first")  # arrays that were transposed do not lie in the order of their axes
    data = dk.Dataset.from_arrays(images, rng.integers(0, 3, 60), preprocess=first).check(model)
    space = dk.Space([dk.Recipe(()), dk.Recipe((dk.Step("compile_graph"),))], [dk.Target("torch")])
    report = dk.sweep(model, data, space, store=tmp_path / "s", launches=2, progress=lambda _p: None)
    assert [row.status for row in report.rows] == ["measured"] * 2
    (made,) = [row for row in report.rows if row.candidate.recipe.steps]
    assert made.compiled
    assert made.measurement.seconds["compile"] > 0
    wanted = work.predicted(program, "pytorch", {"image": np.moveaxis(images, -1, 1)})["softmax"]
    found = dk.build(model, dk.Step("compile_graph"), data, target="torch").predict(images)
    assert np.abs(next(iter(found.values())) - wanted).max() < 1e-5


@pytest.mark.skipif(not shutil.which("g++"), reason="PyTorch compiles with g++")
@pytest.mark.parametrize("name", ["residual", "encoder"])
@pytest.mark.proof(
    "An int8 program (PT2E) compiled to integer kernels gives the answers of its own file",
    against="PyTorch, operator by operator",
)
def test_a_compiled_int8_program_gives_its_own_answers(name, tmp_path, monkeypatch):
    """Attention leaves transposed values to a linear layer, which must compile with a free batch as well."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    source, rng = tmp_path / f"{name}.pt2", np.random.default_rng(0)
    shared().run(Task("torch_networks:save", {"name": name, "path": str(source)}, group="torch"))
    shape = NETWORKS[name][0]
    values = rng.integers(0, 50, (60, *shape)) if name == "encoder" else rng.standard_normal((60, *shape), np.float32)
    model = dk.load(source)
    data = dk.Dataset.from_arrays(values).check(model)
    steps = dk.Step("quantize_static"), dk.Step("compile_graph")
    rounded = dk.build(model, steps[0], data, target="torch").predict(values)
    compiled = dk.build(model, dk.Recipe(steps), data, target="torch").predict(values)
    exact = next(iter(work.predicted(source, "pytorch", {model.inputs[0].name: values}).values()))
    first, second = (next(iter(found.values())) for found in (rounded, compiled))
    assert 1e-4 < np.abs(first - exact).mean() < 0.05 * np.abs(exact).mean(), "the test cannot fail"
    assert np.abs(second - first).max() < 0.02 * np.abs(exact).max(), "a number between two others goes to either"


#: Shapes of their inputs, and whether the way on to TensorFlow knows all their operators.
NETWORKS = {
    "residual": ((3, 32, 32), True), "next": ((3, 32, 32), True), "segments": ((3, 32, 32), True),
    "encoder": ((12,), True), "recurrent": ((10, 6), False),
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.proof("A PyTorch model's ONNX, SavedModel and TFLite give its answers to 1e-5", against="PyTorch")
def test_conversions_are_the_same_function(name, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    shape, whole = NETWORKS[name]
    source = tmp_path / f"{name}.pt2"
    shared().run(Task("torch_networks:save", {"name": name, "path": str(source)}, group="torch"))
    (given,) = dk.load(source).inputs
    rng = np.random.default_rng(0)
    values = rng.integers(0, 50, (5, *shape)) if given.dtype == "int64" else rng.standard_normal((5, *shape))
    values = values.astype(given.dtype)
    wanted = next(iter(work.predicted(source, "pytorch", {given.name: values}).values()))
    assert np.ptp(wanted, axis=0).max() > 0.01, "the test cannot fail"
    path, form = source, "pytorch"
    for converter in ("pytorch_to_onnx", "onnx_to_saved_model", "saved_model_to_tflite"):
        target = tmp_path / converter
        if form == "onnx" and not whole:
            with pytest.raises(UnsupportedModelError, match=r"LSTM|GRU"):
                work.converted(converter, path, target)
            return
        work.converted(converter, path, target)
        path, form = target, converter.rpartition("_to_")[2]
        (fed,) = dk.load(path).inputs
        found = next(iter(work.predicted(path, form, {fed.name: values.astype(fed.dtype)}).values()))
        print(name, form, np.abs(found - wanted).max())
        assert np.abs(found - wanted).max() < 1e-5 * max(1.0, np.abs(wanted).max()), form
