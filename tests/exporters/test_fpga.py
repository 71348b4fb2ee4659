"""What the layout `fpga` refuses, and the bound it holds a simulation to; `make proof` compiles larger circuits."""

import numpy as np
import pytest

from deploykit.core.errors import ExportError
from deploykit.exporters._dense.fpga import _bound
from deploykit.exporters._dense.network import Dense
from deploykit.exporters._export import export
from deploykit.testing.exporters import exportable

RNG = np.random.default_rng(0)


@pytest.fixture
def network(tmp_path):
    return exportable("matmul_onnx", tmp_path)


def test_the_bound_holds_for_arithmetic_that_cuts_off():
    """Of a network of two layers, computed in integers as ``ap_fixed`` does it."""
    step = 2.0**-8
    cut = lambda x: np.floor(x / step) * step  # noqa: E731
    layers = [
        Dense(RNG.normal(size=(6, 5)), RNG.normal(size=5), "rectifier"),
        Dense(RNG.normal(size=(5, 3)), RNG.normal(size=3)),
    ]
    x = RNG.normal(size=(40, 6))
    exact, fixed = x, cut(x)
    for layer in layers:
        exact = exact @ layer.weights + layer.bias
        total = np.zeros((len(fixed), len(layer.bias)))
        for place, row in enumerate(cut(layer.weights)):
            total = cut(total + fixed[:, place : place + 1] * row)
        fixed = cut(total + cut(layer.bias))
        if layer.activation == "rectifier":
            exact, fixed = np.maximum(exact, 0), np.maximum(fixed, 0)
    bound = _bound(layers, x, step)
    assert (np.abs(exact - fixed) <= bound).all()
    assert np.abs(exact - fixed).max() > bound.max() / 20  # it is not much too large


def test_convolutions_are_refused_by_name(tmp_path):
    with pytest.raises(ExportError, match=r"Conv .* is not part of a dense network") as caught:
        export(exportable("cnn_onnx", tmp_path), tmp_path / "out", layout="fpga")
    assert "edge" in caught.value.remedy


def test_a_format_that_does_not_hold_the_values_is_refused(network, tmp_path):
    with pytest.raises(ExportError, match="takes 4 bits before the point") as caught:
        export(network, tmp_path / "out", layout="fpga", parameters={"bits": 4})
    assert caught.value.remedy == "set bits to 14 or more."
    assert not (tmp_path / "out").exists()
