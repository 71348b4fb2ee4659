"""hls4ml's own build script, against the projects of the layout `fpga`."""

import ctypes
import importlib.metadata
import itertools
import subprocess

import numpy as np
import pytest

from deploykit.artifacts.arrays import load_arrays
from deploykit.core.errors import ExportError
from deploykit.exporters._export import export
from deploykit.testing.exporters import exportable
from deploykit.testing.graphs import exported, graph, node, value

RNG = np.random.default_rng(0)


def perceptron(folder, *sizes):
    """X (batch, …) → Gemm, Tanh, Gemm, Sigmoid, …, Gemm, Softmax."""
    weights, nodes, here = {}, [], "x"
    for number, (before, after) in enumerate(itertools.pairwise(sizes)):
        weights[f"w{number}"] = RNG.normal(0, before**-0.5, (before, after)).astype(np.float32)
        weights[f"b{number}"] = RNG.normal(0, 0.1, after).astype(np.float32)
        nodes.append(node("Gemm", [here, f"w{number}", f"b{number}"], [f"h{number}"]))
        kind = "Softmax" if number == len(sizes) - 2 else ("Tanh", "Sigmoid", "Relu")[number % 3]
        nodes.append(node(kind, [f"h{number}"], [here := f"a{number}"]))
    nodes[-1].output[0] = "y"
    ends = [value("x", "float32", "N", sizes[0])], [value("y", "float32", "N", sizes[-1])]
    return graph(folder, nodes, *ends, **weights)


@pytest.mark.proves("fpga", "engine", by="hls4ml 1.3's C simulation, compiled with g++")
@pytest.mark.proof("The C++ of the layout `fpga` gives the golden outputs in fixed point", against="hls4ml, g++")
@pytest.mark.parametrize("sizes", [(16, 32, 24, 5), (784, 64, 10)], ids=str)
def test_the_project_is_built_by_its_own_script(sizes, versions, tmp_path):
    x = RNG.random((60, sizes[0])).astype(np.float32)
    data = (x, RNG.integers(0, sizes[-1], 60))
    artifact = exported(perceptron(tmp_path, *sizes), data, layout="fpga")
    project = artifact.path / "hls"
    assert str(tmp_path) not in (project / "hls4ml_config.yml").read_text("utf-8")
    assert not list(project.rglob("*.so"))
    subprocess.run(["bash", "build_lib.sh"], cwd=project, check=True, capture_output=True)
    library = ctypes.CDLL(str(next((project / "firmware").glob("*.so"))))
    (raw,) = load_arrays(artifact.path / "golden/inputs.npz").values()
    (golden,) = load_arrays(artifact.path / "golden/outputs.npz").values()
    scores = np.zeros(golden.shape, np.float32)
    pointer = ctypes.POINTER(ctypes.c_float)
    for example, row in zip(raw, scores, strict=True):
        library.network_float(example.ctypes.data_as(pointer), row.ctypes.data_as(pointer))
    told = np.loadtxt(project / "tb_data/tb_output_predictions.dat")
    np.testing.assert_allclose(scores, told, atol=1e-6)  # what the export has simulated
    powers = np.exp(scores.astype(np.float64))
    np.testing.assert_allclose(powers / powers.sum(1, keepdims=True), golden, atol=0.02)
    versions(hls4ml=importlib.metadata.version("hls4ml"))


@pytest.mark.proof("A circuit whose values overflow is not exported", against="hls4ml, g++")
def test_an_overflow_is_noticed(tmp_path):
    with pytest.raises(ExportError, match="overflow"):
        export(exportable("matmul_onnx", tmp_path), tmp_path / "out", layout="fpga", parameters={"integer_bits": 2})
    assert not (tmp_path / "out").exists()
