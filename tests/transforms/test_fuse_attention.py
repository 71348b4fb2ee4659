"""Attention becomes one operator that computes the same, whatever the mask, by the bare ONNX Runtime."""

import numpy as np
import onnx
import onnxruntime
import pytest

import deploykit as dk
from deploykit.core.errors import UnsupportedModelError
from deploykit.testing import transformers, work
from tests.surgery import graphs

FUSE = {"fuse": "attention"}


def run(model, feeds):
    return onnxruntime.InferenceSession(model.SerializeToString()).run(None, feeds)


@pytest.fixture(scope="module")
def fused(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fused")
    onnx.save(transformers.encoder(layers=2), str(folder / "model.onnx"))
    notes = work.transformed("simplify_graph", "onnx", folder / "model.onnx", folder / "fused", **FUSE)
    return folder, notes


def test_attention_becomes_one_operator(fused):
    folder, notes = fused
    kinds = [n.op_type for n in onnx.load(str(folder / "fused")).graph.node]
    assert kinds.count("Attention") == notes["fused"]["Attention"] == 2
    assert "Softmax" not in kinds
    assert notes["nodes"][1] < notes["nodes"][0] / 2
    assert "not_compared" not in notes


@pytest.mark.parametrize("kept", [slice(0, 12), slice(0, 7), slice(4, 12), slice(5, 8)])
def test_padding_on_either_side_stays_padding(fused, kept):
    """The optimizer by itself takes a mask for a length, and loses padding on the left in silence."""
    folder, _ = fused
    ids = np.random.default_rng(1).integers(1, transformers.VOCABULARY, (3, 12))
    mask = np.zeros((3, 12), np.int64)
    mask[:, kept] = 1
    feeds = {"input_ids": ids, "attention_mask": mask}
    (given,), (found,) = (run(onnx.load(str(folder / name)), feeds) for name in ("model.onnx", "fused"))
    np.testing.assert_allclose(found, given, atol=1e-5)


def test_a_graph_without_attention_is_refused_by_name(tmp_path):
    onnx.save(graphs.graph("residual"), str(tmp_path / "model.onnx"))
    with pytest.raises(UnsupportedModelError, match=r"recognizes no attention in this graph: .*Softmax"):
        work.transformed("simplify_graph", "onnx", tmp_path / "model.onnx", tmp_path / "fused", **FUSE)


def test_matrix_products_alone_leave_embeddings_in_float(fused):
    folder, _ = fused
    sizes = {}
    for operators in ("all", "matmul"):
        path = folder / operators
        work.transformed("quantize_dynamic", "onnxruntime", folder / "fused", path, operators=operators)
        made = onnx.load(str(path))
        words = [t for t in made.graph.initializer if t.name.startswith("words")]
        sizes[operators] = {onnx.TensorProto.DataType.Name(t.data_type) for t in words if len(t.dims) == 2}
        kinds = {n.op_type for n in made.graph.node}
        assert "QAttention" in kinds
        assert "MatMulInteger" in kinds or "DynamicQuantizeMatMul" in kinds
    assert sizes == {"all": {"UINT8"}, "matmul": {"FLOAT"}}


def test_presets_try_it_where_there_is_attention(tmp_path):
    onnx.save(transformers.encoder(), str(tmp_path / "encoder.onnx"))
    onnx.save(graphs.graph("residual"), str(tmp_path / "cnn.onnx"))
    feeds = transformers.sentences(40, 8)
    plan = dk.plan(dk.load(tmp_path / "encoder.onnx"), (feeds, np.arange(40) % 3), "quick", check=False)
    labels = [c.label for c in plan.candidates]
    assert any("fuse attention" in label and "operators matmul" in label for label in labels), labels
    shape = graphs.GRAPHS["residual"][0]
    images = np.zeros((40, *shape), np.float32)
    plan = dk.plan(dk.load(tmp_path / "cnn.onnx"), (images, np.arange(40) % 2), "quick", check=False)
    assert not any("attention" in c.label for c in plan.candidates)
    alone = dk.Space([dk.Recipe((dk.Step("simplify_graph", FUSE),))], [dk.Target("onnxruntime")])
    plan = dk.plan(dk.load(tmp_path / "cnn.onnx"), (images, np.arange(40) % 2), alone, check=False)
    assert any("the model has no attention" in left.reason for left in plan.left_out)
