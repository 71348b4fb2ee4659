"""Passes over the layers of real models, one of which has a layer that cannot bear quantization."""

import json
import threading

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import deploykit as dk
from deploykit.cli.main import main
from deploykit.core.candidate import Recipe, Step, Target
from deploykit.core.errors import SettingError, StoreError
from deploykit.sweeping.questions import grouped
from deploykit.testing import models

pytestmark = [pytest.mark.alone, pytest.mark.long]

ON = Target("onnxruntime")


def fragile_cnn(bias):
    """Three convolutions; the second has one huge weight, on a channel that is always zero.

    In float it has no effect. One scale for all weights of the layer makes all the others zero.
    """
    rng = np.random.default_rng(0)
    weights = {
        "first_w": rng.normal(0, 0.6, (8, 1, 3, 3)), "first_b": rng.normal(0, 0.3, 8),
        "fragile_w": rng.normal(0, 0.3, (8, 8, 3, 3)), "fragile_b": rng.normal(0, 0.3, 8),
        "last_w": rng.normal(0, 0.3, (4, 8, 3, 3)), "last_b": rng.normal(0, 0.3, 4),
        "class_w": rng.normal(0, 0.2, (4 * 64, 3)), "class_b": bias,
    }  # fmt: skip
    weights["first_w"][7], weights["first_b"][7] = 0.0, 0.0
    weights["fragile_w"][0, 7, 0, 0] = 400.0
    nodes, before = [], "image"
    for name in ("first", "fragile", "last"):
        nodes.append(helper.make_node("Conv", [before, f"{name}_w", f"{name}_b"], [name], name, pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Relu", [name], [f"{name}_relu"], f"{name}_relu"))
        before = f"{name}_relu"
    nodes += [
        helper.make_node("Flatten", [before], ["flat"], "flatten"),
        helper.make_node("Gemm", ["flat", "class_w", "class_b"], ["logits"], "class"),
    ]
    graph = helper.make_graph(
        nodes,
        "fragile",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3])],
        [numpy_helper.from_array(w.astype(np.float32), n) for n, w in weights.items()],
    )
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 17)])


@pytest.fixture(scope="module")
def fragile(tmp_path_factory):
    """The model, and data whose labels are its own answers."""
    path = tmp_path_factory.mktemp("fragile") / "fragile.onnx"
    images = np.random.default_rng(1).normal(0, 1, (400, 1, 8, 8)).astype(np.float32)
    logits = np.zeros((1, 3))
    for _ in range(2):  # the second time no class is preferred
        onnx.save(fragile_cnn(-logits.mean(axis=0)), path)
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        (logits,) = session.run(None, {"image": images})
    labels = logits.argmax(axis=1)
    assert np.bincount(labels).min() > 40
    return dk.load(path), dk.Dataset.from_arrays(images, labels)


@pytest.fixture(scope="module")
def measured(fragile, tmp_path_factory):
    """A finished pass: (store, result, progress events)."""
    store, events = tmp_path_factory.mktemp("pass") / "s", []
    return store, dk.sensitivity(*fragile, store=store, progress=events.append), events


def test_the_pass_finds_the_fragile_layer(measured):
    _, found, _ = measured
    assert found.finished
    assert found.target == ON
    assert found.whole.drop.low > 0.2
    worst, *others = found.ranked("layer")
    assert worst.name == "fragile"
    assert {r.name for r in others} == {"first", "last", "class"}
    assert worst.only.fidelity.low > 10 * max(r.only.fidelity.high for r in others)
    assert worst.only.drop.low > 0.2
    assert worst.all_but.drop.high < 0.1
    assert all(r.only.drop.high < 0.1 < r.all_but.drop.low for r in others)
    assert worst.only.others["agreement"].value == pytest.approx(worst.only.drop.value)  # labels are the model's own
    assert [r.name for r in found.ranked("type")] == ["Conv", "Gemm"]


def test_what_it_suggests_recovers_the_accuracy(measured, fragile):
    store, found, _ = measured
    first = found.suggest(3)[0]
    assert first.names == ("fragile",)
    assert first.recovers > 0.8
    assert found.recipes(1) == (Recipe((Step("quantize_static", {"exclude": "fragile"}),)),)
    assert first.recovers == pytest.approx(1 - found.ranked()[0].all_but.fidelity.value / found.whole.fidelity.value)
    assert "leaving out fragile (" in found.summary()
    report = dk.sweep(*fragile, dk.Space(found.recipes(1), [ON]), store=store, launches=0, progress=lambda _: None)
    (row,) = [r for r in report.rows if r.candidate.recipe.steps]
    assert row.measurement.score.drop.high < 0.1
    assert row.measurement.score.drop == found.ranked()[0].all_but.drop
    assert "units" not in row.notes["quantize_static"]


def test_layers_are_in_the_order_of_the_graph_and_hold_all_weights(measured):
    rows = measured[1].rows
    assert [(r.kind, r.name) for r in rows] == [
        ("type", "Conv"), ("type", "Gemm"), ("layer", "first"), ("layer", "fragile"), ("layer", "last"),
        ("layer", "class"),
    ]  # fmt: skip
    assert [r.weights for r in rows[2:]] == [80, 584, 292, 771]
    assert measured[1].weights == sum(r.weights for r in rows[2:]) == sum(r.weights for r in rows[:2])
    assert rows[0].names == ("first", "fragile", "last")


def test_a_second_call_does_nothing_new_and_a_wider_one_only_what_is_new(measured, fragile):
    store, found, events = measured
    assert events[-1].phase == "done"
    assert events[-1].done == events[-1].total
    before = {p.name for p in (store / "steps").iterdir()}
    again, more = [], []
    second = dk.sensitivity(*fragile, store=store, by="layer", progress=again.append)
    assert again[-1].reused == again[-1].total == again[-1].done
    assert second.rows == found.rows[2:]
    other = dk.sensitivity(*fragile, store=store, limit=2, progress=more.append)
    assert [(r.kind, r.name, r.names) for r in other.rows[2:]] == [
        ("layer", "fragile", ("fragile",)), ("layer", "class", ("class",)), ("others", "2 others", ("first", "last")),
    ]  # fmt: skip
    assert more[-1].total - more[-1].reused == 4  # two build steps, two evaluations
    one = dk.sensitivity(*fragile, store=store, limit=1, progress=lambda _: None)
    assert one.rows == other.rows, "the largest layer is not to blame: the next one is also measured"
    assert {p.name for p in (store / "steps").iterdir()} == before, "a pass leaves rows, no artifacts"


def test_reports_find_the_pass_and_stay_clean(measured, fragile):
    store, found, _ = measured
    report = dk.sweep(*fragile, dk.Space((), [ON]), store=store, launches=0, progress=lambda _: None)
    assert {r.label for r in report.rows} <= {"original", "int8 static (stay float fragile)"}
    assert report.sensitivity("quantize_static").whole == found.whole
    with pytest.raises(StoreError, match="no sensitivity pass for prune_magnitude"):
        report.sensitivity("prune_magnitude")


def test_the_chart_is_plain_rows_and_draws(measured):
    _, found, _ = measured
    points = found.points()
    assert [(p["name"], p["side"]) for p in points[:2]] == [("first", "only this"), ("first", "all but this")]
    assert len(points) == 8
    assert found.points(sort="damage")[0]["name"] == "fragile"
    row = next(r for r in found.rows if r.name == "fragile")
    assert found.points(score="drop")[2]["loss"] == pytest.approx(100 * row.only.drop.value)
    for dark in (False, True):
        drawn = found.chart(dark=dark).to_dict()
        assert drawn["layer"][2]["encoding"]["color"]["scale"]["domain"] == ["Conv", "Gemm"]
    assert found.chart("type", score="drop").to_dict()["layer"]
    with pytest.raises(SettingError, match="accuracy"):
        found.chart(score="accuracy")
    bundle = found._repr_mimebundle_()
    assert bundle["text/html"].count("<img") == 2
    assert "fragile" in bundle["text/plain"]


def test_the_frame_has_both_losses_with_their_ends(measured):
    frame = measured[1].to_frame().set_index(["kind", "name"])
    line = frame.loc["layer", "fragile"]
    assert line["only_drop_low"] < line["only_drop"] < line["only_drop_high"]
    assert line["all_but_fidelity_loss"] < line["only_fidelity_loss"]
    assert line["only_agreement_loss"] == pytest.approx(line["only_drop"])
    assert line["weights_share"] == pytest.approx(584 / 1727)


def test_json_gives_the_same_back(measured):
    _, found, _ = measured
    assert dk.Sensitivity.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_a_cancelled_pass_keeps_what_it_has_and_goes_on(fragile, tmp_path):
    handle = None
    ready = threading.Event()

    def stop(progress):
        if progress.done >= 16:
            ready.wait()
            handle.cancel()

    handle = dk.start_sensitivity(*fragile, store=tmp_path / "s", progress=stop)
    ready.set()
    part = handle.wait()
    assert handle.progress.phase == "cancelled"
    assert not part.finished
    known = sum(d is not None for r in part.rows for d in (r.only, r.all_but))
    assert 0 < known < 12
    events = []
    whole = dk.sensitivity(*fragile, store=tmp_path / "s", progress=events.append)
    assert whole.finished
    assert events[-1].reused > 3
    assert all(r.only and r.all_but for r in whole.rows)


@pytest.mark.long
def test_a_sweep_tries_what_the_pass_suggests(fragile, tmp_path):
    space = dk.Space([Recipe((Step("quantize_static"),)), Recipe((Step("quantize_float16"),))], [ON])
    events = []
    report = dk.sweep(
        *fragile, space, store=tmp_path / "s", launches=2, sensitivity=True, max_drop=0.1, racing=False,
        progress=events.append,
    )  # fmt: skip
    excluded = [
        r for r in report.rows if r.candidate.recipe.steps and "exclude" in r.candidate.recipe.steps[0].parameters
    ]
    assert {r.candidate.recipe.steps[0].parameters["exclude"] for r in excluded} >= {"fragile"}
    assert all(r.status == "measured" and r.measurement.latency for r in excluded)
    best = min(excluded, key=lambda r: r.measurement.score.drop.high)
    plain = next(r for r in report.rows if r.label == "int8 static")
    assert best.measurement.score.drop.high < 0.1 < plain.measurement.score.drop.low
    assert events[-1].phase == "done"
    assert events[-1].done == events[-1].total
    assert report.sensitivity().finished
    assert any("sensitivity: " in e.doing for e in events)


def test_techniques_that_cannot_leave_layers_out_are_refused(fragile, zoo, tmp_path):
    with pytest.raises(SettingError, match=r"quantize_float16 applies to whole models.*prune_magnitude"):
        dk.sensitivity(*fragile, "quantize_float16", store=tmp_path / "s")
    int8 = dk.load(zoo("cnn_int8_tflite"))
    images = dk.Dataset.from_arrays(np.random.default_rng(0).integers(-128, 127, (60, 8, 8, 1)).astype(np.int8))
    with pytest.raises(SettingError, match=r"cannot leave out layers of this model.*quantized"):
        dk.sensitivity(int8, images, "prune_magnitude", store=tmp_path / "s")
    with pytest.raises(SettingError, match="'node'"):
        dk.sensitivity(*fragile, by=("node",), store=tmp_path / "s")
    assert not (tmp_path / "s").exists()


def test_one_layer_is_the_whole(tmp_path, onnx_model, images):
    found = dk.sensitivity(onnx_model, images, "quantize_dynamic", store=tmp_path / "s", progress=lambda _: None)
    assert [(r.kind, r.name) for r in found.rows] == [("type", "MatMul"), ("layer", "class")]
    for row in found.rows:
        assert row.only == found.whole
        assert row.all_but.drop.value == row.all_but.drop.high == 0
    assert found.suggest() == ()


@pytest.mark.long
def test_pruning_layer_by_layer_needs_no_training(tmp_path):
    model = dk.load(models.build("cnn_keras", tmp_path))
    rng = np.random.default_rng(0)
    data = dk.Dataset.from_arrays(rng.random((120, 8, 8, 1)).astype(np.float32), rng.integers(0, 3, 120))
    settings = {"sparsity": 0.9, "small_layers": True, "epochs": 3}
    found = dk.sensitivity(
        model, data, "prune_magnitude", parameters=settings, by="layer", store=tmp_path / "s", progress=lambda _: None
    )
    assert [(r.name, r.type, r.weights) for r in found.rows] == [("conv", "Conv2D", 72), ("class", "Dense", 24)]
    conv, dense = found.rows
    assert conv.only.fidelity.value == pytest.approx(dense.all_but.fidelity.value)  # there are only these two
    assert conv.only.fidelity.value != pytest.approx(dense.only.fidelity.value)
    assert all(recipe.steps[0].parameters["epochs"] == 3 for recipe in found.recipes())


def test_units_are_grouped_by_type_and_by_weights():
    units = [["a", "Conv", 10], ["b", "Add", 0], ["c", "Conv", 30], ["d", "Gemm", 20], ["e", "Add", 0]]
    found = [(g.row.kind, g.row.name, g.row.names, g.row.type) for g in grouped(units, ("layer", "type"), 2)]
    assert found == [
        ("type", "Conv", ("a", "c"), "Conv"), ("type", "Add", ("b", "e"), "Add"), ("type", "Gemm", ("d",), "Gemm"),
        ("layer", "c", ("c",), "Conv"), ("layer", "d", ("d",), "Gemm"), ("others", "3 others", ("a", "b", "e"), ""),
    ]  # fmt: skip
    assert [g.row.name for g in grouped(units, ("layer",), 4)] == ["a", "b", "c", "d", "e"]  # no group of one


def test_the_command_line(fragile, measured, tmp_path, capsys):
    model, _ = fragile
    np.savez(tmp_path / "data.npz", x=np.random.default_rng(2).normal(0, 1, (120, 1, 8, 8)).astype(np.float32),
             y=np.random.default_rng(2).integers(0, 3, 120))  # fmt: skip
    arguments = ["sensitivity", model.path, "--data", str(tmp_path / "data.npz"), "--store", str(tmp_path / "s")]
    assert main([*arguments, "--recipes", str(tmp_path / "space.json")]) == 0
    out = capsys.readouterr().out
    assert "all but: accuracy" in out
    assert "leaving out fragile" in out
    assert dk.Space.from_file(tmp_path / "space.json").recipes[0].steps[0].parameters == {"exclude": "fragile"}
    assert main([*arguments, "--set", "per_channel=true", "--by", "type", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["parameters"] == {"per_channel": True}
    assert {r["kind"] for r in found["rows"]} == {"type"}
