"""Whether answers depend on how far texts are filled up."""

import numpy as np
import onnx
import pytest

import deploykit as dk
from deploykit.core.candidate import Target
from deploykit.measuring.dependence import depends_on_padding
from deploykit.runtimes._contract import RUNTIMES
from deploykit.testing import bert

TEXTS = [f"the {a} was {b}" for a in ("film", "plot", "story") for b in bert.WORDS[10:22]]


@pytest.mark.parametrize("head", ["tokens", "embedding"])
def test_padding_that_is_masked_changes_nothing_and_other_padding_does(tmp_path, head):
    folder = bert.write_folder(tmp_path / "bert", head)
    data = dk.Dataset.from_text(TEXTS).check(dk.load(folder))
    found = []
    for far in (bert._HIDDEN, 0.0):
        model = onnx.load(folder / "model.onnx")
        mask = next(t for t in model.graph.initializer if t.name == "far")
        mask.CopyFrom(onnx.numpy_helper.from_array(np.float32(far), "far"))
        onnx.save(model, tmp_path / "model.onnx")
        session = RUNTIMES.get("onnxruntime").open(tmp_path / "model.onnx", Target("onnxruntime"), "onnx", data.checked)
        found.append(depends_on_padding(session, data.splits["evaluation"].inputs, data.preprocess))
        session.close()
    assert found == [False, True]
