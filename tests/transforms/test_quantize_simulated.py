"""Weights of files rounded to a few bits, held against the formulas."""

import numpy as np
import onnx
import pytest

from deploykit.testing import work
from tests.surgery import graphs

#: Axes of the inputs of one output, by weight of the graph.
AXES = {"w1": (1, 2, 3), "w2": (1, 2, 3), "w3": 0}


def rounded(values, bits, scheme, axes):
    """By the formulas of minimum and maximum, and of powers of two."""
    values = values.astype(np.float64)
    if scheme == "power_of_two":
        places = np.floor(np.log2((2 ** (bits - 1) - 1) / np.abs(values).max(axes, keepdims=True)))
        return np.round(values * 2**places) / 2**places
    low, high = values.min(axes, keepdims=True), values.max(axes, keepdims=True)
    return np.round((values - low) / (high - low) * (2**bits - 1)) / (2**bits - 1) * (high - low) + low


@pytest.mark.parametrize("scheme", ["affine", "power_of_two"])
@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("bits", [2, 5, 16])
def test_kernels_of_onnx_files_are_rounded(scheme, per_channel, bits, tmp_path):
    model = graphs.graph("chain")
    onnx.save(model, str(tmp_path / "model.onnx"))
    notes = work.transformed(
        "quantize_simulated", "onnx", tmp_path / "model.onnx", tmp_path / "out", None, bits=bits, scheme=scheme,
        per_channel=per_channel,
    )  # fmt: skip
    before, after = graphs.weights(model), graphs.weights(onnx.load(str(tmp_path / "out")))
    for name, axes in AXES.items():
        expected = rounded(before[name], bits, scheme, axes if per_channel else None)
        np.testing.assert_allclose(after[name], expected, atol=1e-6)
        np.testing.assert_array_equal(after["b1"], before["b1"])
    ranges = 8 + 6 + 4 if per_channel else 3  # outputs, or layers
    packed = sum(before[name].size for name in AXES) * bits / 8 + ranges * (8 if scheme == "affine" else 1)
    assert notes["saved_bytes"] == int(sum(before[name].nbytes for name in AXES) - packed)


def test_kernels_of_keras_files_are_rounded_and_zeros_stay(folder, tmp_path):
    source, pruned = work.made("wide_cnn", folder), tmp_path / "pruned.keras"
    work.transformed("prune_magnitude", "keras", source, pruned, None, epochs=0, sparsity=0.6, exclude="first")
    work.transformed("quantize_simulated", "keras", pruned, tmp_path / "out", None, bits=4, exclude="hidden")
    before, after = work.weights_of(pruned), work.weights_of(tmp_path / "out")
    np.testing.assert_allclose(
        after["first.kernel"], rounded(before["first.kernel"], 4, "affine", None), atol=1e-6
    )  # it has no zeros
    np.testing.assert_array_equal(after["second.kernel"][before["second.kernel"] == 0], 0.0)
    assert len(np.unique(after["second.kernel"])) <= 16
    for name in ("hidden.kernel", "first.bias", "hidden.bias"):
        np.testing.assert_array_equal(after[name], before[name])
