"""Engines of PMML, against the files of its layout."""

import itertools
import json
import shutil

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from deploykit.artifacts.arrays import load_arrays
from deploykit.data.dataset import Dataset
from deploykit.data.preprocess import Preprocess
from deploykit.exporters._export import export
from deploykit.loading._pmml.network import read_network
from deploykit.loading._pmml.run import NetworkSession
from deploykit.testing.exporters import exportable
from deploykit.testing.graphs import exported, graph, node, value

RNG = np.random.default_rng(0)


def classifier(folder):
    """Pixels (batch, 6, 4) → Flatten, Gemm, Relu, Gemm, Sigmoid, Gemm, Softmax → three classes."""
    sizes = [24, 16, 8, 3]
    weights = {}
    nodes, here = [node("Flatten", ["x"], ["flat"])], "flat"
    for number, (before, after) in enumerate(itertools.pairwise(sizes)):
        weights |= {f"w{number}": RNG.normal(0, 0.5, (before, after)), f"b{number}": RNG.normal(size=after)}
        nodes.append(node("Gemm", [here, f"w{number}", f"b{number}"], [f"h{number}"]))
        nodes.append(node(("Relu", "Sigmoid", "Softmax")[number], [f"h{number}"], [here := f"a{number}"]))
    nodes[-1].output[0] = "y"
    held = {name: array.astype(np.float32) for name, array in weights.items()}
    return graph(folder, nodes, [value("x", "float32", "N", 6, 4)], [value("y", "float32", "N", 3)], **held)


def in_double(path, feeds):
    """What the graph gives in double precision, by ONNX's reference implementation."""
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float64), tensor.name))
    for info in (*model.graph.input, *model.graph.output):
        info.type.tensor_type.elem_type = onnx.TensorProto.DOUBLE
    (found,) = ReferenceEvaluator(model).run(None, feeds)
    return found


@pytest.fixture(scope="module")
def engines(packages):
    if shutil.which("java") is None:
        pytest.skip("Java is not installed (Debian: default-jre-headless)")
    return packages("jpmml-evaluator==0.16.0", "pypmml==1.5.8")


@pytest.mark.proves("pmml", "engine", by="JPMML (jpmml-evaluator 0.16) and PyPMML 1.5")
@pytest.mark.proof(
    "PMML of a dense network gives what the network gives, also when it is read again, to 1e-12",
    against="JPMML, PyPMML",
)
@pytest.mark.parametrize("kind", ["numbers", "classes"])
def test_engines_agree_with_the_network(kind, engines, versions, tmp_path):
    if kind == "numbers":
        artifact = export(exportable("matmul_onnx", tmp_path), tmp_path / "out", layout="pmml")
        prepare = lambda raw: raw.astype(np.float64)  # noqa: E731
        names = ["predicted(value)"]
    else:
        raw = RNG.integers(0, 256, (60, 6, 4)).astype(np.uint8)
        steps = Preprocess(scale=0.015625, offset=-1.0, mean=0.25, std=1.5)
        classes = ("boot", "coat & hat", "shirt")
        data = Dataset.from_arrays(raw, RNG.integers(0, 3, 60), preprocess=steps, classes=classes)
        artifact = exported(classifier(tmp_path), data, layout="pmml")
        prepare = lambda raw: ((raw.astype(np.float64) * 0.015625 - 1.0) - 0.25) / 1.5  # noqa: E731
        names = [f"probability({c})" for c in classes]
    ((name, raw),) = load_arrays(artifact.path / "golden/inputs.npz").items()
    model = artifact.model_path
    taken = onnx.load(model).graph.input[0].name
    expected = in_double(model, {taken: prepare(raw)})
    rows = [{f"{name}_{n}": float(v) for n, v in enumerate(row.ravel())} for row in raw]
    (tmp_path / "examples.json").write_text(json.dumps(rows))
    found = engines("pmml_engines.py", artifact.path / "model.pmml", tmp_path / "examples.json")
    fields = raw.reshape(len(raw), -1).astype(np.float64)
    (read,) = NetworkSession(read_network(artifact.path / "model.pmml"))._run([fields])
    for engine in ("jpmml", "pypmml"):
        answers = [[answer[n] for n in names] for answer in found[engine]]
        np.testing.assert_allclose(answers, expected, rtol=1e-12, atol=1e-12, err_msg=engine)
        np.testing.assert_allclose(read, answers, rtol=1e-12, atol=1e-12, err_msg=engine)
    versions(**found["versions"])
