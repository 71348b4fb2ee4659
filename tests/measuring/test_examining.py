"""The original model, run on examples: forms of labels and outputs, with right values from numpy."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto as Tensor
from onnx import helper, numpy_helper

import deploykit as dk

RNG = np.random.default_rng(0)
X = RNG.normal(size=(300, 6)).astype(np.float32)
WEIGHTS = RNG.normal(size=(6, 3)).astype(np.float32)
SCORES = X @ WEIGHTS


def saved(folder, nodes, inputs, outputs, **constants):
    tensors = [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()]
    graph = helper.make_graph(
        [helper.make_node(*n[:3], **dict(n[3:])) for n in nodes],
        "g",
        [helper.make_tensor_value_info(*i) for i in inputs],
        [helper.make_tensor_value_info(*o) for o in outputs],
        tensors,
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    made.ir_version = 8
    onnx.save(made, folder / "net.onnx")
    return dk.load(folder / "net.onnx")


def linear(folder, weights, shape):
    return saved(
        folder, [("MatMul", ["x", "w"], ["y"])], [("x", Tensor.FLOAT, ["N", 6])], [("y", Tensor.FLOAT, shape)],
        w=weights,
    )  # fmt: skip


def right(model, x, y, **options):
    found = dk.examine(model, dk.Dataset.from_arrays(x, y), **options)
    assert not found.failure
    assert not found.check.warnings, found.check.warnings
    return found.check.metric, found.check.value


@pytest.mark.parametrize("shape", [None, ["N", "M"]])
def test_outputs_whose_shape_the_file_leaves_open(tmp_path, shape):
    assert right(linear(tmp_path, WEIGHTS, shape), X, SCORES.argmax(1)) == ("accuracy", 1.0)
    one = linear(tmp_path, WEIGHTS[:, :1], shape)
    assert right(one, X, SCORES[:, 0] > 0) == ("accuracy", 1.0)
    metric, error = right(one, X, SCORES[:, 0])
    assert (metric, round(error, 4)) == ("mean_absolute_error", 0.0)


def test_signs_are_two_classes(tmp_path):
    assert right(linear(tmp_path, WEIGHTS[:, :1], ["N", 1]), X, np.sign(SCORES[:, 0])) == ("accuracy", 1.0)


def test_masks_of_one_channel(tmp_path):
    images = RNG.normal(size=(60, 2, 6, 5)).astype(np.float32)
    kernel = np.array([1.0, -0.5], np.float32).reshape(1, 2, 1, 1)
    masks = (images[:, 0] - 0.5 * images[:, 1] > 0).astype(int)
    model = saved(
        tmp_path, [("Conv", ["x", "w"], ["y"])], [("x", Tensor.FLOAT, ["N", 2, 6, 5])],
        [("y", Tensor.FLOAT, ["N", 1, 6, 5])], w=kernel,
    )  # fmt: skip
    for labels in (masks, masks[:, None], masks.astype(bool)):
        assert right(model, images, labels) == ("position_accuracy", 1.0)


def test_positions_without_a_label_do_not_count(tmp_path):
    table = RNG.normal(size=(50, 5)).astype(np.float32)
    model = saved(
        tmp_path, [("Gather", ["t", "ids"], ["y"])], [("ids", Tensor.INT64, ["N", "L"])],
        [("y", Tensor.FLOAT, ["N", "L", 5])], t=table,
    )  # fmt: skip
    tokens = RNG.integers(0, 50, (80, 8))
    labels = table[tokens].argmax(-1)
    labels[:, 0] = (labels[:, 0] + 1) % 5  # one of the six that count is wrong
    labels[:, 6:] = -100
    metric, value = right(model, tokens, labels)
    assert (metric, round(value, 6)) == ("position_accuracy", round(5 / 6, 6))


def test_truth_values_may_be_zeros_and_ones(tmp_path):
    model = saved(
        tmp_path, [("Cast", ["m"], ["c"], ("to", Tensor.FLOAT)), ("Mul", ["x", "c"], ["y"])],
        [("x", Tensor.FLOAT, ["N", 6]), ("m", Tensor.BOOL, ["N", 6])], [("y", Tensor.FLOAT, ["N", 6])],
    )  # fmt: skip
    mask = RNG.integers(0, 2, X.shape)
    labels = (X * mask).argmax(1)
    for given in (mask, mask.astype(np.uint8), mask.astype(bool)):
        assert right(model, {"x": X, "m": given}, labels) == ("accuracy", 1.0)


def test_steps_before_the_batch(tmp_path):
    steps = RNG.normal(size=(120, 5, 6)).astype(np.float32)
    model = saved(
        tmp_path, [("MatMul", ["x", "w"], ["z"]), ("ReduceMean", ["z"], ["y"], ("axes", [0]), ("keepdims", 0))],
        [("x", Tensor.FLOAT, [5, "N", 6])], [("y", Tensor.FLOAT, ["N", 3])], w=WEIGHTS,
    )  # fmt: skip
    assert right(model, steps, (steps @ WEIGHTS).mean(axis=1).argmax(axis=1)) == ("accuracy", 1.0)


def test_a_later_output_of_another_width_is_offered(tmp_path):
    model = saved(
        tmp_path,
        [("MatMul", ["x", "v"], ["features"]), ("MatMul", ["x", "w"], ["z"]), ("Softmax", ["z"], ["share"])],
        [("x", Tensor.FLOAT, ["N", 6])], [("features", Tensor.FLOAT, ["N", 8]), ("share", Tensor.FLOAT, ["N", 3])],
        w=WEIGHTS, v=RNG.normal(size=(6, 8)).astype(np.float32),
    )  # fmt: skip
    data = dk.Dataset.from_arrays(X, SCORES.argmax(1))
    first = dk.examine(model, data).check.suspicions[0]
    assert (first.remedy, round(first.value, 6)) == ("output='share'", 1.0)
    assert right(model, X, SCORES.argmax(1), output="share") == ("accuracy", 1.0)


def test_outputs_without_a_row_for_each_example_are_named(tmp_path):
    model = saved(
        tmp_path, [("MatMul", ["x", "w"], ["z"]), ("Squeeze", ["z", "axes"], ["y"])],
        [("x", Tensor.FLOAT, [1, 6])], [("y", Tensor.FLOAT, [3])], w=WEIGHTS, axes=np.array([0]),
    )  # fmt: skip
    found = dk.examine(model, dk.Dataset.from_arrays(X, SCORES.argmax(1)))
    assert "Output 'y' has shape (324,) for 108 examples: its axis 0 is not the batch" in found.failure


def test_a_model_of_one_example_is_told_from_other_shapes(tmp_path):
    model = saved(
        tmp_path, [("MatMul", ["x", "w"], ["y"])], [("x", Tensor.FLOAT, [6])], [("y", Tensor.FLOAT, [3])], w=WEIGHTS
    )
    with pytest.raises(dk.DeploykitError, match=r"takes \(6,\) in total: one example, with no batch "):
        dk.examine(model, dk.Dataset.from_arrays(X, SCORES.argmax(1)))


def test_a_probability_has_no_class_two(tmp_path):
    model = saved(
        tmp_path, [("MatMul", ["x", "w"], ["z"]), ("Sigmoid", ["z"], ["y"])],
        [("x", Tensor.FLOAT, ["N", 6])], [("y", Tensor.FLOAT, ["N", 1])], w=WEIGHTS[:, :1],
    )  # fmt: skip
    truth = (SCORES[:, 0] > 0).astype(int)
    assert right(model, X, truth) == ("accuracy", 1.0)
    with pytest.raises(dk.DeploykitError, match=r"from class 1 to 2, it has classes 0 to 1.*y - 1"):
        dk.examine(model, dk.Dataset.from_arrays(X, truth + 1))
    assert (
        dk.examine(model, dk.Dataset.from_arrays(X, truth + 1), scores="values").check.metric == "mean_absolute_error"
    )


@pytest.mark.parametrize("rows", [7, 1, 32])  # 32: as many as examples are run at once
@pytest.mark.parametrize("batch", ["N", 4])
def test_an_output_that_is_the_same_for_all_examples_goes_with_each(tmp_path, rows, batch):
    anchors = RNG.normal(size=(rows, 4)).astype(np.float32)
    nodes = [("MatMul", ["x", "w"], ["y"]), ("Mul", ["a", "two"], ["anchors"])]
    outputs = [("y", Tensor.FLOAT, [batch, 3]), ("anchors", Tensor.FLOAT, [rows, 4])]
    model = saved(tmp_path, nodes, [("x", Tensor.FLOAT, [batch, 6])], outputs, w=WEIGHTS, a=anchors, two=np.float32(2))
    data = dk.Dataset.from_arrays(X, SCORES.argmax(1))
    found = dk.examine(model, data)
    assert found.check.ok, found.check.warnings
    assert [o.fixed for o in found.contract.outputs] == [False, True]
    assert "the same for every example" in str(found.contract)
    steps = (dk.Recipe(()), dk.Recipe((dk.Step("quantize_dynamic", {}),)))
    space = dk.Space(steps, targets=(dk.Target("onnxruntime"),))
    report = dk.sweep(model, data, space, store=tmp_path / "store", launches=0)
    int8 = next(row for row in report.rows if row.key != report.baseline)
    assert int8.measurement.others["anchors"].error == 0.0
    artifact = dk.export(report.choice_for(report.baseline), tmp_path / "artifact")
    assert dk.verify(artifact).ok
    with dk.serve(artifact, port=0) as server:
        served = np.asarray(server.predict(X[:3])["anchors"])
    np.testing.assert_allclose(served, np.repeat(2 * anchors[None], 3, axis=0))


def test_an_output_that_never_changes_is_not_scored(tmp_path):
    nodes = [("Identity", ["a"], ["anchors"]), ("MatMul", ["x", "w"], ["y"])]
    outputs = [("anchors", Tensor.FLOAT, [7, 4]), ("y", Tensor.FLOAT, ["N", 3])]
    model = saved(tmp_path, nodes, [("x", Tensor.FLOAT, ["N", 6])], outputs, w=WEIGHTS, a=np.ones((7, 4), np.float32))
    found = dk.examine(model, dk.Dataset.from_arrays(X, SCORES.argmax(1)))
    assert "'anchors' is the same whatever the examples" in found.failure
    assert "output='y'" in found.failure
    assert dk.examine(model, dk.Dataset.from_arrays(X, SCORES.argmax(1)), output="y").check.ok


def test_as_many_rows_as_are_found_are_refused_with_what_to_export(tmp_path):
    nodes = [("MatMul", ["x", "w"], ["y"]), ("Greater", ["y", "zero"], ["g"]), ("NonZero", ["g"], ["z"]),
             ("Transpose", ["z"], ["found"])]  # fmt: skip
    outputs = [("y", Tensor.FLOAT, ["N", 3]), ("found", Tensor.INT64, ["M", 2])]
    model = saved(tmp_path, nodes, [("x", Tensor.FLOAT, ["N", 6])], outputs, w=WEIGHTS, zero=np.float32(0))
    found = dk.examine(model, dk.Dataset.from_arrays(X, SCORES.argmax(1)))
    assert "Output 'found' has shape" in found.failure
    assert "non-maximum suppression" in found.failure
