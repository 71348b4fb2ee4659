"""What the base class checks of a technique: what it needs before, and what it has promised after."""

import shutil

import numpy as np
import onnx
import pytest

from deploykit.core.errors import CandidateError, DatasetError
from deploykit.data.dataset import Dataset
from deploykit.testing.graphs import graph, node, value
from deploykit.transforms._conditions import Zeros
from deploykit.transforms._contract import UNITS, Stage, TransformJob, Variant

WEIGHTS = np.arange(1.0, 33.0, dtype=np.float32).reshape(4, 8)


@pytest.fixture
def source(tmp_path):
    """X (N, 4) → y = x w."""
    (tmp_path / "source").mkdir()
    return graph(
        tmp_path / "source", [node("MatMul", ["x", "w"], ["y"])], [value("x", "float32", "N", 4)],
        [value("y", "float32", "N", 8)], w=WEIGHTS,
    )  # fmt: skip


class Edited(Variant):
    """Copies a graph with one edit."""

    name = "edited"
    label = "an edit"
    accepts = frozenset({"onnx"})
    produces = "onnx"

    def __init__(self, edit=lambda model: None, effects=(), ensures=(), needs=()):
        self.edit, self.says, self.promises, self.needs = edit, frozenset(effects), ensures, needs

    def effects(self, parameters):
        return self.says

    def ensures(self, parameters):
        return (*super().ensures(parameters), *self.promises)

    def _apply(self, job):
        model = onnx.load(str(job.source / "model" if job.source.is_dir() else job.source))
        self.edit(model)
        onnx.save(model, str(job.target))


class Linked(Stage):
    name = "linked"
    label = "a stage"

    def _prepare(self, job):
        shutil.copy(job.source, job.target / "model")


def run(variant, source, **more):
    job = TransformJob(source, source.with_name("out"), "onnx", parameters={}, **more)
    variant.apply(job)
    return job


def rename(model):
    model.graph.node[0].output[0] = model.graph.output[0].name = "z"


def widen(model):
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 9


def retype(model):
    model.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.INT32


def halve(model):
    values = WEIGHTS.copy()
    values[:2] = 0
    model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(values, "w"))


@pytest.mark.parametrize(
    ("variant", "words"),
    [
        (Edited(rename), "its outputs are 'z' instead of 'y'"),
        (Edited(widen), r"its output 'y' is y: float32 \(\?, 9\) instead of y: float32 \(\?, 8\)"),
        (Edited(retype), "its output 'y' is y: int32"),
        (Edited(effects=["quantized"]), "it stores float32"),
        (Edited(effects=["smaller"]), "it has 32 parameters, and had 32"),
        (Edited(halve, ensures=[Zeros(0.75)]), "16 of 32 weights are zero instead of 75 %"),
    ],
)
@pytest.mark.parametrize("stages", [(), (Linked(),)])
def test_a_technique_that_breaks_its_word_fails(variant, words, stages, source, monkeypatch):
    monkeypatch.setattr(variant, "stages", stages, raising=False)
    with pytest.raises(CandidateError, match=f"an edit does not keep its word: {words}"):
        run(variant, source)


def test_one_that_keeps_it_does_not(source):
    run(Edited(halve, ensures=[Zeros(0.5)]), source)


def test_zeros_are_counted_among_what_was_changed(source):
    """Of 8 of 32 weights, at most 4 may be left: one for each kernel that a layer can have."""

    class Noted(Edited):
        def _apply(self, job):
            super()._apply(job)
            job.notes[UNITS] = [["one", "MatMul", 8]]

    with pytest.raises(CandidateError, match="0 of 8 weights are zero instead of 100 %"):
        run(Noted(ensures=[Zeros(1.0)]), source)


def test_a_file_that_is_no_model_is_reported(source):
    class Broken(Edited):
        def _apply(self, job):
            job.target.write_bytes(b"\x08\x08nonsense")

    with pytest.raises(CandidateError, match="an edit has written a file that cannot be read"):
        run(Broken(), source)


@pytest.mark.parametrize(
    ("needs", "data", "words"),
    [
        (("calibration",), False, "calibration data"),
        (("train", "labels"), False, "labeled training data"),
        (("train", "labels"), True, "labeled training data"),
        (("teacher",), True, "the original model"),
    ],
)
def test_what_is_missing_is_named(needs, data, words, source):
    given = Dataset.from_arrays(np.ones((60, 4), np.float32)) if data else None
    with pytest.raises(DatasetError, match=f"an edit needs {words}"):
        run(Edited(needs=needs), source, data=given)


def test_what_is_there_is_given(source):
    data = Dataset.from_arrays(np.ones((60, 4), np.float32))
    job = run(Edited(needs=("train", "teacher")), source, data=data, teacher=source, teacher_format="onnx")
    assert job.examples is data
    assert (job.original.source, job.original.source_format) == (source, "onnx")


def test_what_was_not_declared_is_not_there(source):
    job = run(Edited(), source)
    with pytest.raises(DatasetError, match="declare"):
        _ = job.examples
    with pytest.raises(DatasetError, match="declare"):
        _ = job.original
