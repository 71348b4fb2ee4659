"""Graphs become plainer and compute the same, by the bare ONNX Runtime."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import parser

from deploykit.core.errors import CandidateError, UnsupportedModelError
from deploykit.loading._load import load
from deploykit.surgery import onnx_simplify
from deploykit.testing import work
from tests.surgery import graphs

HEAD = 'ir_version: 8, opset_import: ["": 17, "com.microsoft": 1, "own": 1]'
CLUTTERED = """
    two = Constant<value = float {2.0}>()
    three = Constant<value = float {3.0}>()
    six = Mul(two, three)
    i = Identity(x)
    dead = Sin(i)
    s = Shape(i)
    zero = Constant<value = int64[1] {0}>()
    n = Gather(s, zero)
    rest = Constant<value = int64[1] {12}>()
    to = Concat<axis=0>(n, rest)
    f = Reshape(i, to)
    y = Mul(f, six)
"""


def parsed(nodes, output="float[n, 12] y", more=""):
    return parser.parse_model(f"<{HEAD}> g (float[n, 3, 4] x) => ({output}) {{ {nodes} }} {more}")


def simplify(model, tmp_path):
    onnx.save(model, str(tmp_path / "model.onnx"))
    notes = work.transformed("simplify_graph", "onnx", tmp_path / "model.onnx", tmp_path / "plain")
    return notes, onnx.load(str(tmp_path / "plain"))


def same(one, two, shape=(3, 4)):
    for batch in (1, 5):
        x = np.random.default_rng(batch).normal(0.0, 1.0, (batch, *shape)).astype(np.float32)
        given, found = (onnxruntime.InferenceSession(m.SerializeToString()).run(None, {"x": x}) for m in (one, two))
        for a, b in zip(given, found, strict=True):
            np.testing.assert_allclose(b, a, atol=1e-5)


def test_constants_are_folded_and_dead_nodes_go(tmp_path):
    model = parsed(CLUTTERED)
    notes, plain = simplify(model, tmp_path)
    assert [n.op_type for n in plain.graph.node] == ["Reshape", "Mul"]
    assert notes["nodes"] == [12, 2]
    same(model, plain)


@pytest.mark.parametrize("name", list(graphs.GRAPHS))
def test_architectures_compute_the_same_and_keep_their_batch(name, tmp_path):
    model = graphs.graph(name)
    notes, plain = simplify(model, tmp_path)
    same(model, plain, graphs.shape_of(name))
    assert "not_compared" not in notes
    assert notes["nodes"][1] <= notes["nodes"][0]
    assert plain.ByteSize() <= model.ByteSize() + 200
    before, after = load(tmp_path / "model.onnx"), load(tmp_path / "plain")
    assert (after.inputs, after.outputs) == (before.inputs, before.outputs)
    assert plain.graph.output[0].type.tensor_type.shape.dim[0].dim_param == "n"


def test_a_batch_normalization_goes_into_the_convolution(tmp_path):
    model = graphs.graph("residual")
    _, plain = simplify(model, tmp_path)
    assert "BatchNormalization" not in {n.op_type for n in plain.graph.node}


def test_operators_of_other_domains_inner_graphs_and_inputs_that_are_not_read_stay(tmp_path):
    model = parsed(
        """
        a = com.microsoft.Gelu(x)
        m = ReduceMean<keepdims=0>(a)
        zero = Constant<value = float {0.0}>()
        c = Greater(m, zero)
        y = If(c) <then_branch = t () => (float[n, 3, 4] p) { p = Neg(a) },
                   else_branch = e () => (float[n, 3, 4] q) { q = com.microsoft.Gelu(a) }>
        """,
        "float[n, 3, 4] y",
    )
    model.graph.input.append(onnx.helper.make_tensor_value_info("unread", 1, ["n", 2]))
    _, plain = simplify(model, tmp_path)
    assert [(n.domain, n.op_type) for n in plain.graph.node if n.op_type in {"Gelu", "If"}] == [
        ("com.microsoft", "Gelu"), ("", "If"),
    ]  # fmt: skip
    assert [i.name for i in plain.graph.input] == ["x", "unread"]
    x = np.random.default_rng(0).normal(0.0, 1.0, (4, 3, 4)).astype(np.float32)
    feeds = {"x": x, "unread": np.zeros((4, 2), np.float32)}
    one, two = (onnxruntime.InferenceSession(m.SerializeToString()).run(None, feeds)[0] for m in (model, plain))
    np.testing.assert_allclose(two, one, atol=1e-6)


def test_functions_of_the_file_stay_or_are_refused_by_name(tmp_path):
    more = '<domain: "own", opset_import: ["": 17]> twice (a) => (b) { b = Add(a, a) }'
    model = parsed("z = own.twice(x) y = Neg(z)", "float[n, 3, 4] y", more)
    _, plain = simplify(model, tmp_path)
    assert [n.op_type for n in plain.graph.node] == ["twice", "Neg"]
    same(model, plain)


def test_a_lost_operator_is_named(monkeypatch):
    import onnxslim

    model = parsed("a = com.microsoft.Gelu(x) y = Neg(a)", "float[n, 3, 4] y")
    monkeypatch.setattr(onnxslim, "slim", lambda _: parsed("y = Neg(x)", "float[n, 3, 4] y"))
    with pytest.raises(UnsupportedModelError, match=r"lose operators: com\.microsoft\.Gelu"):
        onnx_simplify.simplified(model)


def test_a_graph_that_computes_something_else_is_not_written(monkeypatch):
    import onnxslim

    model = parsed("y = Neg(x)", "float[n, 3, 4] y")
    monkeypatch.setattr(onnxslim, "slim", lambda _: parsed("y = Abs(x)", "float[n, 3, 4] y"))
    with pytest.raises(CandidateError, match="does not compute what the model does: the output 'y' differs by up to"):
        onnx_simplify.simplified(model)


def test_answers_that_differ_each_time_are_noted(tmp_path):
    model = parsed("r = RandomNormalLike(x) y = Add(x, r)", "float[n, 3, 4] y")
    notes, _ = simplify(model, tmp_path)
    assert notes["not_compared"] == "the model gives other answers each time"


def test_a_quantized_model_is_refused(tmp_path):
    nodes = "q, s, z = DynamicQuantizeLinear(x) t = Transpose<perm=[0,2,1]>(q) y = MatMulInteger(t, q, z, z)"
    model = parsed(nodes, "int32[n, 4, 4] y")
    with pytest.raises(UnsupportedModelError, match="already quantized"):
        simplify(model, tmp_path)
