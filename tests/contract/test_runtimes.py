"""Every runtime passes the suite; a new file in the package is tested unasked."""

import shutil

import numpy as np
import pytest

import deploykit as dk
from deploykit.core.candidate import Recipe, Target
from deploykit.core.errors import UnsafeModelError
from deploykit.loading._load import load
from deploykit.runtimes._compile import COMPILED
from deploykit.runtimes._contract import RUNTIMES
from deploykit.testing import models
from deploykit.testing.runtimes import RuntimeConformance, call

#: Their packages are not part of the environment of the tests.
PROVED_APART = {"executorch"}


class TestRuntimes(RuntimeConformance):
    @pytest.fixture(params=RUNTIMES.names())
    def name(self, request):
        if request.param in PROVED_APART and (reason := RUNTIMES.get(request.param).missing()):
            pytest.skip(f"{reason}; tests/proof/test_runtimes.py proves it")
        return request.param

    @pytest.fixture
    def model(self, name, zoo):
        path = zoo(models.cnn(RUNTIMES.get(name).accepts))
        model = load(path)
        return path, model.format, model.inputs[0].example_shape


def test_a_sweep_builds_libraries_with_tvm_and_no_other_is_opened(zoo, tmp_path):
    """Here and not in a file of its own, since importing TVM takes seconds."""
    path = zoo("cnn_onnx")
    model = dk.load(path)
    rng = np.random.default_rng(0)
    data = dk.Dataset.from_arrays(rng.random((60, 1, 8, 8)).astype(np.float32), rng.integers(0, 3, 60))
    space = dk.Space([], [Target("onnxruntime"), Target("tvm")])
    report = dk.sweep(model, data, space, store=tmp_path / "s", launches=0, progress=lambda _p: None)
    row = report.row_of(Recipe(), Target("tvm"))
    assert row.status == "measured", row.failure
    assert row.measurement.same_function
    assert row.notes["tvm"]["tuned"] is False
    assert "untuned" in RUNTIMES.get("tvm").label

    library = report.path / row.compiled
    arguments = {"count": 1, "shape": [1, 8, 8], "dtype": "float32", "format": COMPILED}
    changed = tmp_path / "changed"
    shutil.copytree(library, changed)
    assert call("tvm", "run", path=str(changed), **arguments)["values"], "it is the same library"
    with (changed / "model.so").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(UnsafeModelError, match=r"TVM .*deploykit did not build this one.*Remedy: open the model"):
        call("tvm", "run", path=str(changed), **arguments)
    with pytest.raises(UnsafeModelError, match="is not a folder with an engine"):
        call("tvm", "run", path=str(path), **arguments)
