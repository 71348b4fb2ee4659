"""The graphs of a candidate and of the original as one diff, from a real sweep of a residual network."""

import threading

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

import deploykit as dk
from deploykit.core.candidate import Recipe, Step, Target
from deploykit.core.errors import Cancelled, SettingError
from deploykit.measuring.graphs.errors import ends, saturated
from deploykit.reporting.views.graph_view import ending

STEPS = {
    "qdq": Step("quantize_static"),
    "qoperator": Step("quantize_static", {"form": "qoperator"}),
    "channels": Step("prune_channels", {"ratio": 0.5, "multiple": 1}),
    "cut": Step("cut_layers", {"count": 1}),
    "simple": Step("simplify_graph"),
    "zeros": Step("prune_magnitude"),
}


def network(path):
    """A convolution with a normalization behind it, a residual block, and a product."""
    rng = np.random.default_rng(0)
    weights = {
        "first_w": rng.normal(0, 0.4, (8, 1, 3, 3)), "norm_s": rng.uniform(0.5, 1.5, 8),
        "norm_b": rng.normal(0, 0.1, 8), "norm_m": rng.normal(0, 0.1, 8), "norm_v": rng.uniform(0.5, 1.5, 8),
        "second_w": rng.normal(0, 0.05, (8, 8, 3, 3)),
        "second_b": rng.normal(0, 0.05, 8), "class_w": rng.normal(0, 0.6, (8, 3)), "class_b": rng.normal(0, 0.1, 3),
    }  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["image", "first_w"], ["first_out"], "first", pads=[1, 1, 1, 1]),
        helper.make_node(
            "BatchNormalization", ["first_out", "norm_s", "norm_b", "norm_m", "norm_v"], ["norm_out"], "norm"
        ),
        helper.make_node("Relu", ["norm_out"], ["relu_out"], "relu"),
        helper.make_node("Conv", ["relu_out", "second_w", "second_b"], ["second_out"], "second", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["second_out"], ["relu_2_out"], "relu_2"),
        helper.make_node("Add", ["relu_out", "relu_2_out"], ["sum_out"], "sum"),
        helper.make_node("GlobalAveragePool", ["sum_out"], ["pool_out"], "pool"),
        helper.make_node("Flatten", ["pool_out"], ["flat_out"], "flatten"),
        helper.make_node("Gemm", ["flat_out", "class_w", "class_b"], ["class_out"], "class"),
        helper.make_node("Softmax", ["class_out"], ["probabilities"], "softmax", axis=-1),
    ]
    graph = helper.make_graph(
        nodes, "network",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, 8, 8])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 3])],
        [numpy_helper.from_array(w.astype(np.float32), n) for n, w in weights.items()],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 21)]), path)
    return path


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """A sweep without labels."""
    folder = tmp_path_factory.mktemp("graphs")
    x = np.random.default_rng(1).normal(size=(120, 1, 8, 8)).astype(np.float32)
    data = dk.Dataset.from_arrays(x, calibration_size=20)
    space = dk.Space([Recipe((step,)) for step in STEPS.values()], [Target("onnxruntime")])
    model = dk.load(network(folder / "network.onnx"))
    return dk.sweep(model, data, space, store=folder / "runs", launches=2)


def made_by(report, step):
    """The row of a recipe of one step."""
    return report.row_of(Recipe((step,)))


@pytest.fixture(scope="module")
def diffs(report):
    found = {}
    for name, step in STEPS.items():
        row = made_by(report, step)
        assert row.failure is None, row.failure
        found[name] = report.choice_for(row.key).graph_diff()
    return found


def states(diff):
    return {row.before.name: row.state for row in diff if row.before}


def row_of(diff, name):
    return next(row for row in diff if row.before and row.before.name == name)


def tensors_of(path, names, images):
    """Tensors of a file by the bare runtime."""
    graph = onnx.load(path)
    graph.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return [x.astype(np.float64) for x in session.run(list(names), {"image": images})]


def test_the_original_beside_itself_is_the_same_to_the_last_bit(report):
    diff = report.choice_for(report.baseline).graph_diff()
    assert diff.counts == {"same": 10, "changed": 0, "added": 0, "removed": 0, "fused": 0}
    assert all(row.error == 0 and row.snr_db == float("inf") for row in diff)
    assert [row.reads for row in diff][:6] == [(), (0,), (1,), (2,), (3,), (2, 4)]


def test_pruned_channels_are_changes_and_those_that_are_left_are_compared(diffs, report):
    diff = diffs["channels"]
    second = row_of(diff, "second")
    assert second.state == "changed"
    kept = second.after.weights[0].shape[0]
    assert second.after.shape == (None, kept, 8, 8)
    assert f"second_w: 8 × 8 × 3 × 3 → {kept} × {second.after.weights[0].shape[1]} × 3 × 3" in second.changes
    assert row_of(diff, "first").channels_left_out == 8 - row_of(diff, "first").after.shape[1]
    # Which channels are left is known from the weights: their values are those of the original.
    assert row_of(diff, "first").error == pytest.approx(0, abs=1e-6)


def test_the_pairs_of_a_quantized_graph_stand_around_the_nodes_they_quantize(diffs):
    diff = diffs["qdq"]
    added = {row.after.operator for row in diff if row.state == "added"}
    assert added == {"QuantizeLinear", "DequantizeLinear"}
    assert states(diff)["norm"] == "fused"
    assert row_of(diff, "norm").into == row_of(diff, "first").after.name
    assert any("float32 → int8" in c for c in row_of(diff, "first").changes)
    assert diff.counts["removed"] == 0
    assert 0 < row_of(diff, "class").error < 0.2


def test_the_error_of_a_node_is_that_of_its_tensor_over_the_calibration_examples(diffs, report):
    """Against the bare runtime with the two tensors as outputs."""
    row = made_by(report, STEPS["qdq"])
    images = report.data.calibration()["image"][:8]
    paths = (report.model.path, report.path / row.artifact)
    tensors = [tensors_of(path, ("sum_out",), images)[0] for path in paths]
    expected = np.linalg.norm(tensors[1] - tensors[0]) / np.linalg.norm(tensors[0])
    found = row_of(diffs["qdq"], "sum")
    assert diffs["qdq"].examples == 8
    assert found.error == pytest.approx(expected, rel=1e-6)
    assert found.snr_db == pytest.approx(-20 * np.log10(expected), rel=1e-6)


def test_what_comes_in_at_a_node_is_its_error_without_that_of_what_it_reads(diffs, report):
    diff, row = diffs["qdq"], made_by(report, STEPS["qdq"])
    images = report.data.calibration()["image"][:8]
    before, after = (tensors_of(p, ("class_out",), images)[0] for p in (report.model.path, report.path / row.artifact))
    error = np.linalg.norm(before - after) / np.linalg.norm(before)
    rounded, first = (
        next(r for r in diff if r.after and r.after.name == "relu_out_QuantizeLinear"),
        row_of(diff, "first"),
    )
    found = row_of(diff, "class")
    read = next(r for r in diff if r.after and r.after.name == "flat_out_DequantizeLinear").error
    assert found.own_error == pytest.approx(np.sqrt(max(error**2 - read**2, 0)), rel=1e-5, abs=1e-9)
    assert rounded.own_error == pytest.approx(np.sqrt(max(rounded.error**2 - first.error**2, 0)), rel=1e-5, abs=1e-9)
    assert found.after_range == pytest.approx((after.min(), after.max()), rel=1e-6)
    assert found.before_range == pytest.approx((before.min(), before.max()), rel=1e-6)
    worst = diff.worst(3)
    assert [r.own_error for r in worst] == sorted((r.own_error for r in diff if r.own_error), reverse=True)[:3]
    drawn = diff.chart().to_dict()
    assert f"{100 * worst[0].own_error:.2g} %" in drawn["description"]


def test_numbers_beyond_the_range_are_counted():
    before = np.array([-3.0, -1.0, 0.0, 0.5, 1.0, 1.003, 2.0, 5.0])
    assert saturated(before, np.clip(before, -1, 1)) == 3 / 8  # 1.003 is less than a step of the grid away
    assert saturated(before, before) == 0.0
    assert ends(np.array([1.0, np.inf])) is None


def test_a_node_that_loses_can_be_kept_in_float(diffs, report):
    diff = diffs["qdq"]
    recipe = diff.keeping_float(row_of(diff, "second"))
    assert recipe == Recipe((Step("quantize_static", {"exclude": "second"}),))
    # What is converted for a node: it, and what passes integers on to it.
    converted = next(r for r in diff if r.after and r.after.name == "sum_out_QuantizeLinear")
    assert converted.own_error > 0
    assert diff.keeping_float(converted).steps[0].parameters["exclude"] == "class, flatten, pool"
    assert (
        diffs["qoperator"].keeping_float(row_of(diffs["qoperator"], "second")).steps[0].parameters["exclude"]
        == "second"
    )
    space = dk.Space([recipe], [Target("onnxruntime")])
    again = dk.sweep(report.model, report.data, space, store=report.path, launches=0)
    row = again.row_of(recipe)
    kept = row_of(again.choice_for(row.key).graph_diff(), "second")
    assert [w.stored for w in kept.after.weights] == ["float32", "float32"]
    with pytest.raises(SettingError, match="leave a single node in float"):
        diffs["channels"].keeping_float(row_of(diffs["channels"], "second"))
    gone = next(r for r in diff if r.state == "fused")
    with pytest.raises(SettingError, match="does not compute"):
        diff.keeping_float(gone)


def test_integer_operators_take_activations_in(diffs):
    diff = diffs["qoperator"]
    second = row_of(diff, "second")
    assert second.after.operator == "QLinearConv"
    assert "Conv → QLinearConv" in second.changes
    assert states(diff)["relu_2"] == "fused"
    assert row_of(diff, "relu_2").into == second.after.name
    assert any(c.startswith("takes in") and "relu_2" in c for c in second.changes)
    assert 0 < second.error < 0.1


def test_a_cut_layer_is_removed_and_its_reader_reads_another(diffs, report):
    diff = diffs["cut"]
    assert diff.counts["removed"] >= 1
    assert diff.counts["fused"] == 0
    assert any("instead of" in c for row in diff for c in row.changes)


def test_a_folded_normalization_is_fused(diffs):
    diff = diffs["simple"]
    assert states(diff)["norm"] == "fused"
    first = row_of(diff, "first")
    assert first.state == "changed"
    assert any("takes in BatchNormalization norm" in c for c in first.changes)
    assert first.error == pytest.approx(0, abs=1e-5)  # against what the normalization computed
    assert diff.counts["removed"] == 0


def test_zeros_are_other_values_of_the_same_nodes(diffs):
    diff = diffs["zeros"]
    changed = {row.before.name for row in diff if row.state == "changed"}
    assert changed == {"first", "second", "class"}
    assert all(c.endswith("other values") for row in diff for c in row.changes)


def test_times_are_those_of_the_profile(diffs, report):
    times = [row.after_ms for row in diffs["channels"] if row.after_ms is not None]
    assert len(times) >= 4
    assert row_of(diffs["channels"], "second").before_ms is not None


def test_rows_are_records_a_frame_and_a_still_picture(diffs):
    diff = diffs["qdq"]
    frame = diff.to_frame()
    assert list(frame["state"]) == [row.state for row in diff]
    assert dk.types.GraphDiff.from_json(diff.to_json()) == diff
    page = diff.to_html()
    assert "<script" not in page
    assert page.count('title="added"') == diff.counts["added"]
    assert "the same" in page
    assert "more rows" in diff.to_html(top=3)


def test_rows_are_found_by_recipes_written_out_or_not(report):
    step = STEPS["qoperator"]
    whole = Step(step.technique, {**step.parameters, "per_channel": False, "operators": "all"})
    assert report.row_of(Recipe((whole,)), Target("onnxruntime")) == report.row_of(Recipe((step,)))
    assert report.row_of(Recipe(())).key == report.baseline
    with pytest.raises(SettingError, match=r"has the recipe quantize static \(per channel true\)"):
        report.row_of(Recipe((Step("quantize_static", {"per_channel": True}),)))


def test_text_of_a_file_stays_text(diffs):
    import dataclasses

    diff = diffs["zeros"]
    bad = dataclasses.replace(diff.rows[0].after, name="<img src=x>")
    page = dataclasses.replace(diff, rows=(dataclasses.replace(diff.rows[0], after=bad, before=bad),)).to_html()
    assert "<img" not in page
    assert "&lt;img src=x&gt;" in page


def test_a_diff_is_kept_and_can_be_cancelled(report, diffs):
    stopped = threading.Event()
    stopped.set()
    choices = [report.choice_for(r.key) for r in report.rows if r.candidate.recipe.steps]
    assert choices[0].graph_diff(cancel=stopped) == choices[0].graph_diff()  # kept: nothing is computed
    with pytest.raises(Cancelled):
        choices[0].graph_diff(choices[1], cancel=stopped)


def test_names_are_shown_by_their_ends():
    assert ending("StatefulPartitionedCall/cnn/conv_1/BiasAdd") == "conv_1/BiasAdd"
    assert ending("cnn/relu/Relu;cnn/conv/Conv2D") == "relu/Relu"
    assert ending("a/b/w: 8 × 1 → 4 × 1; takes in Relu x/y/z/Relu") == "b/w: 8 × 1 → 4 × 1; takes in Relu z/Relu"
    assert ending("first") == "first"
