"""A sweep on frames of videos: what is said of it counts videos."""

import av
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import deploykit as dk
from deploykit.core.resolution import half_width

_VIDEOS = 60


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Videos of two classes, dark and light, of 11 frames each that are nearly the same."""
    folder = tmp_path_factory.mktemp("clips")
    for i in range(_VIDEOS):
        path = folder / ("dark", "light")[i % 2] / f"{i:02}.mkv"
        path.parent.mkdir(exist_ok=True)
        with av.open(str(path), "w") as file:
            stream = file.add_stream("ffv1", rate=10)
            stream.height, stream.width, stream.pix_fmt = 4, 4, "bgr0"
            for k in range(11):
                # Those of one video in five are on the wrong side.
                light = (i % 2 == 1) ^ (i % 10 < 2)
                picture = np.full((4, 4, 3), (150 if light else 60) + k % 3 + i % 7, np.uint8)
                file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            file.mux(stream.encode())
    return dk.Dataset.from_video(folder, per_second=10, preprocess=dk.Preprocess(scale=1 / 255))


def _model(path, level):
    """Light where the mean of all pixels is above a level."""
    weights = np.stack([np.full(48, -20 / 48), np.full(48, 20 / 48)], axis=1).astype(np.float32)
    bias = np.array([20 * level, -20 * level], np.float32)
    nodes = [
        helper.make_node("Flatten", ["x"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weights", "bias"], ["scores"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4, 4, 3])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 2])],
        [numpy_helper.from_array(weights, "weights"), numpy_helper.from_array(bias, "bias")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), path)
    return path


def test_intervals_count_videos_and_it_is_said(data, tmp_path):
    model = dk.load(_model(tmp_path / "model.onnx", 110 / 255))
    given = _model(tmp_path / "other.onnx", 62 / 255)  # many dark videos are taken for light ones
    space = dk.Space([dk.Recipe((dk.Step("existing_file", {"file": str(given)}),))], [dk.Target("onnxruntime")])
    plan = dk.plan(model, data, space)
    split = plan.examples["evaluation"]
    assert plan.evaluation_examples == split
    count = plan.evaluation_groups
    assert count * 11 == split
    assert plan.resolves == pytest.approx(half_width(plan.flips, count))
    assert f"{split:,} evaluation examples of {count} videos resolve" in str(plan)

    report = dk.sweep(model, data, space, store=tmp_path / "runs", launches=0)
    (row,) = [r for r in report.rows if r.candidate.recipe.steps]
    score = row.measurement.score
    groups = report.data.splits["evaluation"].groups
    assert (score.groups, score.examples) == (len(np.unique(groups)), split)
    # All frames of a video are nearly the same, so that it is as if there were one of each.
    choice = report.choice_for(row.key)
    before, after = (c.scores().argmax(axis=1) for c in (report.choice_for(report.baseline), choice))
    labels = report.data.labels()
    change = (after == labels).astype(int) - (before == labels)
    means = np.array([change[groups == name].mean() for name in np.unique(groups)])
    assert score.change.value == pytest.approx(means.mean())
    wide = 2 * means.std(ddof=1) / np.sqrt(count)
    assert score.change.high - score.change.low > 1.5 * wide
    assert f"(paired, 95 % interval resampled by video: {count} videos)" in choice.explain()
    assert f"resampled by video, {count} videos and not {split} frames." in report.to_html()
    (dark, *_) = choice.classes()
    assert dark.name == "dark"
    assert dark.change.low < dark.change.value - 0.1
