"""What PyTorch compiles for this machine: a minute for each file, so that `make test` leaves it out."""

import shutil

import numpy as np
import pytest

import deploykit as dk
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
    images = rng.random((60, 1, 8, 8)).astype(np.float32)
    model = dk.load(program)
    data = dk.Dataset.from_arrays(images, rng.integers(0, 3, 60)).check(model)
    space = dk.Space([dk.Recipe(()), dk.Recipe((dk.Step("compile_graph"),))], [dk.Target("torch")])
    report = dk.sweep(model, data, space, store=tmp_path / "s", launches=2, progress=lambda _p: None)
    assert [row.status for row in report.rows] == ["measured"] * 2
    (made,) = [row for row in report.rows if row.candidate.recipe.steps]
    assert made.compiled
    assert made.measurement.seconds["compile"] > 0
    wanted = work.predicted(program, "pytorch", {"image": images})["softmax"]
    found = dk.build(model, dk.Step("compile_graph"), data, target="torch").predict(images)
    assert np.abs(next(iter(found.values())) - wanted).max() < 1e-5
