"""Sweeps on a real model: rows, progress, resuming, cancelling, failing."""

import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import deploykit as dk
from deploykit.cli._shared.watch import Watch
from deploykit.core.candidate import Recipe, Step, Target
from deploykit.core.errors import CandidateError, SettingError, StoreError
from deploykit.storage.store import Store

pytestmark = pytest.mark.alone


def test_every_candidate_is_a_measured_row(swept):
    _, report, _ = swept
    assert [r.status for r in report.rows] == ["measured"] * 3
    for row in report.rows:
        measurement = row.measurement
        assert measurement.score.metric == "accuracy"
        assert measurement.score.examples == 144
        assert measurement.confirmation.examples == 96
        assert measurement.size_bytes > measurement.compressed_bytes > 0
        assert measurement.peak_memory_bytes > 0
        assert measurement.latency.launches >= 2
        assert measurement.environment["packages"]["onnxruntime"]
        assert (report.path / row.artifact).exists()


def test_rows_tell_how_long_they_took(swept):
    _, report, _ = swept
    for row in report.rows:
        taken = row.measurement.seconds
        assert set(taken) == {"build", "accuracy", "latency"}
        assert (taken["build"] > 0) == bool(row.candidate.recipe.steps)
        assert min(taken["accuracy"], taken["latency"]) > 0
    assert list(report.to_frame()["seconds"]) == [sum(r.measurement.seconds.values()) for r in report.rows]


def test_the_baseline_is_compared_with_itself(swept):
    _, report, _ = swept
    latency = report.row(report.baseline).measurement.latency
    assert latency.claim == "baseline"
    assert latency.speedup.value == 1
    drop = report.row(report.baseline).measurement.score.drop
    assert (drop.low, drop.value, drop.high) == (0, 0, 0)
    others = [r.measurement.latency for r in report.rows if r.key != report.baseline]
    assert all(o.speedup_same_runtime.value == o.speedup.value for o in others)


def test_progress_counts_up_to_the_end(swept):
    _, _, events = swept
    assert events[-1].phase == "done"
    assert events[-1].done == events[-1].total
    assert {"build", "accuracy", "latency"} <= {e.phase for e in events}
    done = [e.done for e in events]
    assert done == sorted(done)
    assert {k for e in events for k in e.changed} == {r.key for r in swept[1].rows}


def test_a_second_sweep_does_only_what_is_new(swept, onnx_model, images, small_space, tmp_path):
    store = shutil.copytree(swept[0], tmp_path / "copy")
    events = []
    again = dk.sweep(onnx_model, images, small_space, store=store, launches=2, progress=events.append)
    assert events[-1].reused == events[-1].total
    assert again.rows == swept[1].rows
    more = replace(
        small_space, recipes=(*small_space.recipes, Recipe((Step("quantize_static", {"per_channel": True}),)))
    )
    added = dk.sweep(onnx_model, images, more, store=store, launches=2, progress=events.append)
    assert len(added.rows) == 4
    assert added.rows[:3] == swept[1].rows
    assert events[-1].reused >= 6


_DRIVER = """
import os, signal, sys
import numpy as np
import deploykit as dk
from deploykit.core.candidate import Recipe, Step, Target

def stop(progress):
    if progress.phase == "latency" and "round 2" in progress.doing:
        os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    model = dk.load(sys.argv[1])
    rng = np.random.default_rng(0)
    data = dk.Dataset.from_arrays(rng.random((400, 1, 8, 8)).astype(np.float32), rng.integers(0, 3, 400))
    space = dk.Space([Recipe((Step("quantize_dynamic"),))], [Target("onnxruntime")])
    dk.sweep(model, data, space, store=sys.argv[2], launches=3, progress=stop)
"""


def test_a_killed_sweep_resumes_without_repeating(onnx_model, images, tmp_path):
    store = tmp_path / "store"
    script = tmp_path / "driver.py"
    script.write_text(_DRIVER)
    killed = subprocess.run(
        [sys.executable, str(script), onnx_model.path, str(store)], capture_output=True, check=False
    )
    assert killed.returncode == -signal.SIGKILL
    before = {p: p.stat().st_mtime_ns for p in (store / "steps").rglob("*.onnx")}
    opened = Store(store)
    (series,) = {s for (s,) in opened._all("SELECT DISTINCT series FROM launches", ())}
    first = opened.launches(series)[0]
    events = []
    space = dk.Space([Recipe((Step("quantize_dynamic"),))], [Target("onnxruntime")])
    report = dk.sweep(onnx_model, images, space, store=store, launches=3, progress=events.append)
    assert [r.status for r in report.rows] == ["measured"] * 2
    assert {p: p.stat().st_mtime_ns for p in (store / "steps").rglob("*.onnx")} == before
    opened = Store(store)
    assert opened.launches(series)[0] == first
    assert events[-1].reused >= 5


def test_cancel_keeps_what_is_finished(onnx_model, images, small_space, tmp_path):
    handles = []

    def cancel_in_latency(progress):
        if progress.phase == "latency" and handles:
            handles[0].cancel()

    handles.append(
        dk.start_sweep(onnx_model, images, small_space, store=tmp_path / "s", launches=10, progress=cancel_in_latency)
    )
    report = handles[0].wait()
    assert handles[0].progress.phase == "cancelled"
    assert not report.finished
    assert all(r.measurement.score.value > 0 for r in report.rows)
    finished = dk.sweep(onnx_model, images, small_space, store=tmp_path / "s", launches=2, progress=lambda _p: None)
    assert finished.finished


def test_pause_and_resume(onnx_model, images, small_space, tmp_path):
    handle = dk.start_sweep(onnx_model, images, small_space, store=tmp_path / "s", launches=2)
    handle.pause()
    assert handle.progress.doing == "paused"
    assert handle.running
    handle.resume()
    assert handle.wait().finished


def test_ctrl_c_returns_the_report_so_far(onnx_model, images, small_space, tmp_path):
    def interrupt(progress):
        if progress.phase == "latency" and not sent:
            sent.append(True)
            os.kill(os.getpid(), signal.SIGINT)

    sent = []
    report = dk.sweep(onnx_model, images, small_space, store=tmp_path / "s", launches=10, progress=interrupt)
    assert sent
    assert not report.finished
    assert len(report.rows) == 3


def test_a_failed_candidate_is_a_row_and_the_sweep_goes_on(onnx_model, images, small_space, tmp_path, monkeypatch):
    # The GPU is lost after it was found.
    monkeypatch.setattr("deploykit.sweeping.run.check_devices", lambda _targets: None)
    space = replace(small_space, targets=(Target("onnxruntime"), Target("onnxruntime", device="cuda")))
    report = dk.sweep(onnx_model, images, space, store=tmp_path / "s", launches=2, progress=lambda _p: None)
    failed = [r for r in report.rows if r.status == "failed"]
    assert len(failed) == 3
    for row in failed:
        assert "CUDAExecutionProvider" in row.failure.cause
        assert row.failure.error == "DeviceError"
        assert row.failure.remedy
        assert (report.path / row.failure.log).is_file()
    assert sum(r.status == "measured" for r in report.rows) == 3
    assert "failed: original on ONNX Runtime" in str(report)


def test_a_model_that_cannot_run_ends_the_sweep_with_its_cause(images, small_space, tmp_path):
    """ONNX Runtime lacks the operator: there is nothing to compare with."""
    graph = helper.make_graph(
        [helper.make_node("Sundial", ["image"], ["class"], domain="com.microsoft")],
        "unknown",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, 8, 8])],
        [helper.make_tensor_value_info("class", TensorProto.FLOAT, ["batch", 3])],
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    onnx.save(helper.make_model(graph, ir_version=10, opset_imports=opsets), tmp_path / "unknown.onnx")
    model = dk.load(tmp_path / "unknown.onnx")
    with pytest.raises(CandidateError, match=r"model cannot be used: .*Sundial"):
        dk.sweep(model, images, small_space, store=tmp_path / "s", progress=lambda _p: None)
    report = dk.Report.open(tmp_path / "s")
    assert report.row(report.baseline).failure.error == "UnsupportedModelError"


def test_a_model_that_hangs_meets_its_deadline(images, tmp_path):
    """An endless loop in the graph: the child is killed, and the sweep ends instead of waiting for it."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["go_on"]),
            helper.make_node("Identity", ["x"], ["same"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 1, 8, 8]),
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("same", TensorProto.FLOAT, ["batch", 1, 8, 8]),
        ],
    )
    graph = helper.make_graph(
        [helper.make_node("Loop", ["", "always", "image"], ["out"], body=body)],
        "endless",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, 8, 8])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["batch", 1, 8, 8])],
        [helper.make_tensor("always", TensorProto.BOOL, [], [True])],
    )
    model = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 21)])
    onnx.save(model, tmp_path / "endless.onnx")
    space = dk.Space([], [Target("onnxruntime")])
    unlabelled = replace(images, splits={k: replace(v, labels=None) for k, v in images.splits.items()})
    endless = dk.load(tmp_path / "endless.onnx")
    with pytest.raises(CandidateError, match="model cannot be used: Timed out after 2 s"):
        dk.sweep(endless, unlabelled, space, store=tmp_path / "s", timeout=2, progress=lambda _p: None)


def test_byte_identical_candidates_are_measured_once(onnx_model, images, tmp_path):
    """A model without float weights to quantize gives the same file for two settings."""
    recipes = [Recipe((Step("quantize_static", {"operators": o}),)) for o in ("all", "conv_matmul")]
    space = dk.Space(recipes, [Target("onnxruntime")])
    report = dk.sweep(onnx_model, images, space, store=tmp_path / "s", launches=2, progress=lambda _p: None)
    digests = [r.artifact_digest for r in report.rows]
    twins = [r for r in report.rows if r.same_as]
    assert len(twins) == len(digests) - len(set(digests))


def test_a_metric_of_the_user(onnx_model, images, small_space, tmp_path):
    def confidence(outputs, labels):
        return outputs[np.arange(len(labels)), labels]

    report = dk.sweep(
        onnx_model, images, replace(small_space, recipes=()), store=tmp_path / "s", metric=confidence, launches=2,
        progress=lambda _p: None,
    )  # fmt: skip
    assert report.metric == "confidence"
    assert 0 < report.rows[0].measurement.score.value < 1


def test_without_labels_agreement_decides(onnx_model, small_space, tmp_path):
    data = dk.Dataset.from_arrays(np.random.default_rng(0).random((200, 1, 8, 8)).astype(np.float32))
    report = dk.sweep(onnx_model, data, small_space, store=tmp_path / "s", launches=2, progress=lambda _p: None)
    assert report.metric == "agreement"
    assert report.row(report.baseline).measurement.score.value == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"launches": 1}, "at least 2"),
        ({"max_drop": -0.1}, "max_drop must be at least 0"),
        ({"timeout": 0}, "timeout must be more than 0 seconds"),
        ({"memory": -1}, "memory must be at least 0 GB"),
        ({"metric": "acuracy"}, "did you mean 'accuracy'"),
        ({"engine": "moon"}, "local"),
    ],
)
def test_bad_settings(onnx_model, images, small_space, tmp_path, options, said):
    with pytest.raises(SettingError, match=said):
        dk.sweep(onnx_model, images, small_space, store=tmp_path / "s", **options)


def test_two_sweeps_on_one_store(onnx_model, images, small_space, tmp_path):
    opened = Store(tmp_path / "s", create=True)
    with opened.writer(), pytest.raises(StoreError, match="Another sweep is running"):
        dk.sweep(onnx_model, images, small_space, store=tmp_path / "s", progress=lambda _p: None)


def test_an_error_that_ends_a_sweep_is_a_phase_of_its_own(onnx_model, images, small_space, tmp_path, capsys):
    shown = Watch()
    with Store(tmp_path / "s", create=True).writer():
        handle = dk.start_sweep(onnx_model, images, small_space, store=tmp_path / "s", progress=shown)
        with pytest.raises(StoreError) as raised:
            handle.wait()
    assert (handle.progress.phase, handle.progress.doing) == ("failed", str(raised.value))
    assert handle.progress.ended
    assert capsys.readouterr().err.splitlines()[-1].endswith("stopped"), (
        "the command line prints the error once, itself"
    )


def test_build_makes_one_candidate(onnx_model, images, tmp_path):
    built = dk.build(onnx_model, Step("quantize_dynamic"), images)
    assert built.path.exists()
    outputs = built.predict(images.sample(4))
    assert outputs["probabilities"].shape == (4, 3)
    saved = built.save(tmp_path / "small.onnx")
    assert Path(saved).read_bytes() == built.path.read_bytes()


def test_a_build_notes_what_each_of_its_steps_reported(onnx_model, images):
    steps = [Step("clip_weights"), Step("prune_magnitude"), Step("clip_weights"), Step("quantize_dynamic")]
    notes = dk.build(onnx_model, steps, images, target="onnxruntime").notes
    assert list(notes) == ["clip_weights", "prune_magnitude", "clip_weights 2", "quantize_dynamic"]
    assert notes["clip_weights"]["sparsity"] == 0 < notes["clip_weights 2"]["sparsity"]
    assert notes["prune_magnitude"]["sparsity"] == notes["clip_weights 2"]["sparsity"]
    assert notes["quantize_dynamic"]["quantized"]


def test_clean_keeps_what_rows_need(swept, tmp_path):
    store = shutil.copytree(swept[0], tmp_path / "copy")
    (store / "steps" / "leftover.tmp").mkdir()
    (store / "steps" / "leftover.tmp" / "x").write_bytes(b"x" * 1000)
    cleaned = dk.clean(store)
    assert cleaned.freed_bytes >= 1000
    assert "steps/leftover.tmp" in cleaned.removed
    report = dk.Report.open(store)
    assert all((store / r.artifact).exists() for r in report.rows)
    assert report.best().exportable().path.exists()


def test_a_sweep_has_a_report_from_the_first_moment(onnx_model, images, small_space, tmp_path):
    handle = dk.start_sweep(onnx_model, images, small_space, store=tmp_path / "s", launches=0, progress=lambda _p: None)
    report = handle.report
    assert report.model == onnx_model
    assert not report.finished
    assert "No candidate has been measured yet" in str(report)
    assert handle.wait().finished


def test_the_report_of_a_running_sweep_is_what_the_store_holds(swept, onnx_model, images, tmp_path):
    store = shutil.copytree(swept[0], tmp_path / "copy")
    space = dk.Space([Recipe((Step("quantize_static", {"per_channel": True}),))], [Target("onnxruntime")])
    handles, compared = [], []

    def compare(progress):
        if progress.changed and handles:
            rows, stored = handles[0].report.rows, dk.Report.open(store).rows
            compared.append(rows.keys == stored.keys and rows == stored and handles[0].running)

    handle = dk.start_sweep(onnx_model, images, space, store=store, launches=2, progress=compare)
    handles.append(handle)
    first = handle.report
    assert first.row(swept[1].rows[2].key) is handle.report.row(swept[1].rows[2].key)  # decoded once
    assert len(handle.wait().rows) == 4  # also those of the sweep before
    assert compared
    assert all(compared)
